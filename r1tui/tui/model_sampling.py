"""How the tokens of the model that runs are chosen, as far as the user has not said otherwise on the screen."""

from contextlib import suppress
from pathlib import Path

import msgspec

from r1tui.catalog.variants import load_catalog
from r1tui.config import Config, SamplingSettings
from r1tui.errors import R1tuiError, UsageError
from r1tui.gguf import GgufError, read_header
from r1tui.messages import Status
from r1tui.server.command import SAMPLING_FLAGS, parse_options
from r1tui.server.sampling import Sampling, sampling_for


def sampling_of_running(status: Status, config: Config) -> Sampling:
    """The values of the managed server's model. Reads the file's header: not on an event loop."""
    variant = header = None
    with suppress(R1tuiError):
        variant = load_catalog(config).find(status.variant) if status.variant else None
    with suppress(GgufError, R1tuiError, OSError):
        header = read_header(Path(status.model)) if status.model else None
    found = sampling_for(config.sampling, variant, header)
    for key, value in _started_with(status.argv or []).items():
        if getattr(config.sampling, key) is None and value != found.sources[key][0]:
            found.sources[key] = (value, "extra_args")
    return found


def _started_with(argv: list[str]) -> dict[str, float]:
    """What a server's command line says of sampling, by our settings' names."""
    with suppress(UsageError):
        said = {one.subject: one.values[0] for one in parse_options(argv[1:], "argv") if one.values}
        return {key: number for key, flag in SAMPLING_FLAGS.items() if (number := _number(said.get(flag))) is not None}
    return {}


def _number(text: str | None) -> float | None:
    for kind in (int, float):
        with suppress(ValueError, TypeError):
            return kind(text or "")
    return None


def sampling_of_stranger(config: SamplingSettings) -> Sampling:
    """The values of somebody else's server, of which nothing is known but what the config says."""
    said = msgspec.structs.asdict(config)
    return Sampling(config, {key: (value, "config") for key, value in said.items() if value is not None})
