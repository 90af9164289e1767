"""What screens and controllers get from the application, which they do not know; imported after the first screen."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from textual.message import Message

from r1tui.catalog.variants import Catalog
from r1tui.config import Config
from r1tui.errors import R1tuiError
from r1tui.machine.hardware import memory_available_bytes, memory_total_bytes, usable_logical_cpus
from r1tui.machine.telemetry import Limits, Sampler
from r1tui.messages import Status
from r1tui.server.endpoint import Endpoint
from r1tui.server.prompt_cache import PromptCacheFolder
from r1tui.supervisor.client import has_record
from r1tui.system.paths import Paths
from r1tui.tui.services.local_models import LocalModels
from r1tui.tui.services.saver import Saver
from r1tui.tui.services.server import ServerMonitor
from r1tui.tui.services.session import Session
from r1tui.tui.services.unsaved import UnsavedWork

if TYPE_CHECKING:
    from r1tui.listing.overview import ModelEntry

SAMPLE_S = 1.0


@dataclass(frozen=True)
class Services:
    """The services, one of each."""

    paths: Paths
    config: Config
    config_file: str | None
    """Path of the config, if not the usual one."""
    monitor: ServerMonitor
    """The server's status."""
    session: Session
    """The way to the server."""
    saved: Saver
    """The conversations on disk."""
    unsaved: UnsavedWork
    """The work that is not on disk although it should be."""
    models: LocalModels
    """The models that there are."""

    @property
    def for_models(self) -> tuple[Catalog, Config, Paths, Callable[[], Status], "dict[str, ModelEntry]"]:
        """Values that the list of models needs."""
        return self.models.catalog, self.config, self.paths, self.monitor.refresh, self.models.listed

    def make_sampler(self) -> Sampler:
        """Measures the machine, and the server's process."""
        limits = Limits(usable_logical_cpus(), memory_total_bytes(), memory_available_bytes)
        return Sampler(lambda: self.monitor.status.pid, SAMPLE_S, limits=limits)


def make_services(
    paths: Paths,
    config: Config,
    unsaved: UnsavedWork,
    *,
    post: Callable[[Message], object],
    tell: Callable[[R1tuiError], None],
    config_file: str | None = None,
    attach: Endpoint | None = None,
    model_name: str = "",
) -> Services:
    """Services for the event loop that runs; `post` takes their messages, `tell` an error to the user."""
    managed = attach is None
    monitor = ServerMonitor(paths, post, managed=managed)
    session = Session(paths, config, post, monitor, config_file=config_file, attach=attach, model_name=model_name)
    saver = unsaved.saver = Saver(
        paths.conversations,
        str(attach or ""),
        lambda answer_id: has_record(paths, answer_id, managed=managed),
        tell,
        purged=PromptCacheFolder(paths.kept_prompts).drop_of,
        unsaved=unsaved.hear_of_words,
    )
    return Services(paths, config, config_file, monitor, session, saver, unsaved, LocalModels(paths, config))
