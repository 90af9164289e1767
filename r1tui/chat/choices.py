"""How each model's tokens are chosen, where the user has said otherwise than the config: kept between starts."""

from pathlib import Path
from typing import Any

import msgspec

from r1tui.config import RANDOM_SEED, SamplingSettings
from r1tui.errors import os_error
from r1tui.system.files import read_json, write_json
from r1tui.system.locks import locked
from r1tui.system.paths import private_folder

Chosen = dict[str, Any]
"""The settings that differ from the config's, by their names there."""


class SamplingChoices:
    """The choices of a file, one for each model. Reading and writing it takes time that a screen does not have."""

    def __init__(self, path: Path, default: SamplingSettings) -> None:
        self._path = path
        self.default = default
        """Values of the config."""
        self._now: dict[str, Chosen] = {}

    def of(self, model: str) -> SamplingSettings:
        """Sampling for the model: chosen here or earlier by another r1tui, else from the config."""
        try:
            chosen = self._now[model] if model in self._now else self._read().get(model, {})
            if chosen.get("seed", 0) is None:  # an older r1tui's word for what is -1 now; this one writes no null
                chosen = {**chosen, "seed": RANDOM_SEED}
            return msgspec.convert(msgspec.structs.asdict(self.default) | chosen, SamplingSettings)
        except (OSError, msgspec.DecodeError):  # of another version, or written by hand
            return self.default

    def choose(self, model: str, wanted: SamplingSettings) -> None:
        """Use these settings from now on; `write` saves them."""
        default = msgspec.structs.asdict(self.default)
        chosen = msgspec.structs.asdict(wanted)
        self._now[model] = {key: value for key, value in chosen.items() if value != default[key]}

    def write(self, model: str) -> None:
        """Save the model's choices. Raises R1tuiError."""
        try:
            private_folder(self._path.parent)
            with locked(self._path.with_suffix(".lock"), "The sampling settings", waiting=lambda _: None):
                every = self._read()
                every.pop(model, None)
                if chosen := self._now.get(model):
                    every[model] = chosen
                write_json(self._path, every)
        except OSError as error:
            raise os_error(error, self._path) from error

    def _read(self) -> dict[str, Chosen]:
        return read_json(self._path, dict[str, Chosen]) or {}
