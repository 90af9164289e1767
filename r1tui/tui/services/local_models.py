"""The models of the catalog as they are on this machine's disk."""

from __future__ import annotations

from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING

from r1tui.catalog.variants import Catalog, Variant, load_catalog
from r1tui.config import Config
from r1tui.errors import R1tuiError
from r1tui.messages import Status
from r1tui.system.paths import Paths

if TYPE_CHECKING:
    from r1tui.listing.overview import ModelEntry
    from r1tui.tui.services.trials import Trials


class LocalModels:
    """Finds models; all but `running` read the disk, with the hub's modules, imported then."""

    def __init__(self, paths: Paths, config: Config) -> None:
        self._paths = paths
        self._config = config
        self.listed: dict[str, ModelEntry] = {}
        """Entries of the list of models by name; kept from list to list."""

    @cached_property
    def catalog(self) -> Catalog:
        """The models that there are."""
        return load_catalog(self._config)

    def numbered(self, number: int) -> Variant | None:
        """The model with this number in the list, from 1 on: only those on this machine have one."""
        from r1tui.listing.overview import models_here  # noqa: PLC0415

        here = models_here(self.catalog, self._config, self._paths)
        return here[number - 1] if number <= len(here) else None

    def running(self, status: Status) -> Variant | None:
        """The model that the server was started with; the disk is not asked, it may hang."""
        return self.catalog.running(status)

    def is_here(self, variant: Variant) -> bool:
        """True when all of it is on this machine."""
        from r1tui.hub.local.found import find_model  # noqa: PLC0415

        return find_model(variant, self._paths, self._config) is not None

    def check_room(self, variant: Variant) -> None:
        """Raise R1tuiError when the model is not here and no disk has room for it."""
        from r1tui.hub.download.staging import check_room_for  # noqa: PLC0415

        check_room_for(variant, self._paths, self._config)

    def trials(self, variant: Variant) -> Trials:
        """The model's settings, kept and tried."""
        from r1tui.tui.services.trials import Trials  # noqa: PLC0415

        return Trials(variant, self._config, self._paths)

    def neighbour(self, current: str | None, step: int) -> Variant | None:
        """The model on disk that is `step` places after the current one, or after the list's end, if any."""
        here = [one for one in self.catalog if self.is_here(one)]
        if len(here) < 2:
            return None
        names = [one.name for one in here]
        index = names.index(current) if current in names else min(-step, 0)
        return here[(index + step) % len(here)]

    def downloading(self, last: Variant | None) -> Variant | None:
        """The model that is being downloaded, or the last one where its download is unfinished."""
        from r1tui.hub.download.staging import unfinished  # noqa: PLC0415

        for name in self.downloads():
            with suppress(R1tuiError):
                return self.catalog.find(name)
        return last if last is not None and unfinished(last, self._paths, self._config) else None

    def downloads(self) -> list[str]:
        """The names of models that are being downloaded."""
        from r1tui.hub.download.staging import running_downloads  # noqa: PLC0415

        return running_downloads(self._paths)
