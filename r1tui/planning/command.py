"""llama-server's command for a plan."""

from pathlib import Path

import msgspec

from r1tui.catalog.variants import Variant
from r1tui.config import Config
from r1tui.engine.find import Engine
from r1tui.gguf import Header
from r1tui.plan import Plan
from r1tui.planning.overrides import without_rules
from r1tui.server.command import Tcp, compose
from r1tui.server.sampling import sampling_for
from r1tui.system.paths import Paths


def server_argv(
    engine: Engine | None,
    variant: Variant,
    model: Path,
    plan: Plan,
    config: Config,
    *,
    paths: Paths,
    header: Header | None = None,
    tcp: Tcp | None = None,
) -> list[str]:
    """llama-server's whole command for a plan; before there is an engine, only what the plan itself wants.

    The model's `header` says what the file has of its own about sampling.
    """
    if engine is None:
        return ["llama-server", "--model", str(model), *plan.arguments(None)]
    own, settings = without_rules(variant.extra_args, variant.name), config.server
    settings = msgspec.structs.replace(settings, extra_args=without_rules(settings.extra_args, "server.extra_args"))
    return compose(
        engine.server,
        engine.capabilities,
        model,
        plan.arguments(engine.capabilities),
        server=settings,
        sampling=sampling_for(config.sampling, variant, header).passed,
        socket=paths.server_socket,
        tcp=tcp,
        prompt_cache=paths.kept_prompts if config.server.kv_cache_gib else None,
        extra_args=own,
    )
