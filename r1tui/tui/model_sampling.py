"""How the tokens of the model that runs are chosen, as far as the user has not said otherwise on the screen."""

from contextlib import suppress
from pathlib import Path

import msgspec

from r1tui.catalog import load_catalog
from r1tui.config import Config, SamplingSettings
from r1tui.errors import R1tuiError
from r1tui.gguf import GgufError, read_header
from r1tui.keeper.state import Status
from r1tui.server.sampling import Sampling, sampling_for


def sampling_of_running(status: Status, config: Config) -> Sampling:
    """The values of the managed server's model. Reads the file's header: not on an event loop."""
    variant = header = None
    with suppress(R1tuiError):
        variant = load_catalog(config).find(status.variant) if status.variant else None
    with suppress(GgufError, R1tuiError, OSError):
        header = read_header(Path(status.model)) if status.model else None
    return sampling_for(config.sampling, variant, header)


def sampling_of_stranger(config: SamplingSettings) -> Sampling:
    """The values of somebody else's server, of which nothing is known but what the config says."""
    said = msgspec.structs.asdict(config)
    return Sampling(config, {key: (value, "config") for key, value in said.items() if value is not None})
