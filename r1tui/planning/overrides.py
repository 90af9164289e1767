"""The -ot rules that place tensors by hand: read out of the settings and out of arguments."""

import re
from collections.abc import Sequence
from dataclasses import replace

from r1tui.catalog.variants import Variant
from r1tui.config import Config
from r1tui.errors import UsageError
from r1tui.plan import PlanRequest
from r1tui.planning.kept import AUTO, ModelSettings
from r1tui.server.command import Option, parse_options


def for_variant(
    request: PlanRequest,
    config: Config,
    variant: Variant,
    kept: ModelSettings,
    given: ModelSettings = AUTO,
) -> PlanRequest:
    """The request with the model's settings, those `given` by flags before those `kept` for it, and with the -ot rules
    that the variant's arguments, the server's or the plan's settings have.

    Raises UsageError for what is no rule, and for a device that is not there.
    """
    rules = (
        *override_rules(variant.extra_args, f"variants.{variant.name}.extra_args"),
        *override_rules(config.server.extra_args, "server.extra_args"),
        *override_rules([f"-ot={rule}" for rule in config.plan.override_tensors], "plan.override_tensors"),
    )
    names = [device.name for device in request.devices]
    for pattern, where in rules:
        if where.partition("[")[0] not in names and not where.startswith("CPU"):
            raise UsageError(f"-ot {pattern}={where}: unknown device.", f"Devices: {', '.join([*names, 'CPU'])}.")
    arguments = (*variant.extra_args, *config.server.extra_args)
    changes = [one for one in parse_options(arguments, "extra_args") if one.subject in PLANNED]
    return replace(
        given.over(kept).apply_to(request),
        overrides=rules,
        changed_by=tuple(" ".join((one.flag, *one.values)) for one in changes),
        kept=kept.without(*given.chosen).words(),
    )


PLANNED = frozenset({
    "--ctx-size", "--parallel", "--cache-type-k", "--cache-type-v", "--flash-attn", "--ubatch-size", "--n-gpu-layers",
    "--n-cpu-moe", "--cpu-moe", "--tensor-split", "--split-mode", "--kv-offload", "--fit", "load-mode", "--mmproj",
    "--model-draft", "-md",
})  # fmt: skip
"""What arguments for llama-server are about that take memory or move it: the plan's own, and more models."""


def override_rules(arguments: Sequence[str], origin: str) -> tuple[tuple[str, str], ...]:
    """The -ot rules among llama-server's arguments as (regular expression, device); raises UsageError for a bad one."""
    rules: list[tuple[str, str]] = []
    for option in parse_options(arguments, origin):
        if not _places_tensors(option):
            continue
        for rule in ",".join(option.values).split(","):
            pattern, equals, where = rule.rpartition("=")
            try:
                re.compile(pattern)
            except re.error as error:
                raise UsageError(
                    f"{origin}: -ot {rule!r}: {error}.", "Write REGEX=DEVICE, such as exps=CPU."
                ) from error
            if not (equals and pattern and where):
                raise UsageError(f"{origin}: -ot {rule!r} is not a rule.", "Write REGEX=DEVICE, such as exps=CPU.")
            rules.append((pattern, where))
    return tuple(rules)


def _places_tensors(option: Option) -> bool:
    return option.flag in ("-ot", "--override-tensor")


def without_rules(arguments: Sequence[str], origin: str) -> list[str]:
    """The arguments but for their -ot rules, which the plan passes on: they must come before --n-cpu-moe to count."""
    return [
        word
        for option in parse_options(arguments, origin)
        if not _places_tensors(option)
        for word in (option.flag, *option.values)
    ]
