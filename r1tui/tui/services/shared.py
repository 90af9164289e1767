"""What screens and controllers get from the application, which they do not know."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from r1tui.catalog.variants import Catalog, load_catalog

if TYPE_CHECKING:
    from r1tui.config import Config
    from r1tui.system.paths import Paths
    from r1tui.tui.monitor import ServerMonitor
    from r1tui.tui.saver import Saver
    from r1tui.tui.services.unsaved import UnsavedWork
    from r1tui.tui.session import Session


@dataclass(frozen=True)
class Services:
    """One of each, made after the first screen."""

    paths: Paths
    config: Config
    config_file: str | None
    """Where the config was read from, if not from its usual place."""
    monitor: ServerMonitor
    """The server's status."""
    session: Session
    """The way to the server."""
    saved: Saver
    """The conversations on disk."""
    unsaved: UnsavedWork
    """What should be on disk and is not."""

    @cached_property
    def catalog(self) -> Catalog:
        """The models that there are."""
        return load_catalog(self.config)
