"""The files of models on this machine's disk: what of a model is here, and what is on its way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from r1tui.hub.download.staging import running_downloads, unfinished
from r1tui.hub.local.found import find_model

if TYPE_CHECKING:
    from r1tui.catalog.variants import Variant
    from r1tui.config import Config
    from r1tui.system.paths import Paths


@dataclass(frozen=True)
class ModelFiles:
    """Looks at the disk."""

    paths: Paths
    config: Config

    def is_here(self, variant: Variant) -> bool:
        """Whether all of it is here."""
        return find_model(variant, self.paths, self.config) is not None

    def is_unfinished(self, variant: Variant) -> bool:
        """Whether a part of it is here."""
        return bool(unfinished(variant, self.paths, self.config))

    def downloads(self) -> list[str]:
        """The names of models that are being downloaded."""
        return running_downloads(self.paths)
