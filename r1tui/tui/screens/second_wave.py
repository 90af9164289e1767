"""What the chat and the application need after the first screen, imported together then."""

from __future__ import annotations

from typing import TYPE_CHECKING

from r1tui.machine.hardware import memory_available_bytes, memory_total_bytes, usable_logical_cpus
from r1tui.machine.telemetry import Limits, Sampler
from r1tui.server.prompt_cache import PromptCacheFolder
from r1tui.supervisor.recorded import has_record
from r1tui.tui.monitor import ServerMonitor
from r1tui.tui.palette import ActionsProvider
from r1tui.tui.saver import Saver
from r1tui.tui.screens.chat_parts import parts_of
from r1tui.tui.services.local_models import LocalModels
from r1tui.tui.services.shared import Services
from r1tui.tui.services.unsaved import UnsavedWork, where_the_last_went
from r1tui.tui.session import Session

if TYPE_CHECKING:
    from collections.abc import Callable

    from textual.message import Message

    from r1tui.config import Config
    from r1tui.errors import R1tuiError
    from r1tui.server.endpoint import Endpoint
    from r1tui.system.paths import Paths

SAMPLE_S = 1.0


class SecondWave:
    """It by its names, and what is made of it."""

    actions_provider = ActionsProvider
    chat_parts = staticmethod(parts_of)
    local_models = LocalModels
    unsaved = UnsavedWork
    where_the_last_went = staticmethod(where_the_last_went)

    @staticmethod
    def services(
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
        """One of each, for the event loop that runs; `post` takes their messages, `tell` an error to the user."""
        managed = attach is None
        monitor = ServerMonitor(paths, post, managed=managed)
        session = Session(paths, config, post, monitor, config_file=config_file, attach=attach, model_name=model_name)
        saver = Saver(
            paths.conversations,
            str(attach or ""),
            lambda answer_id: has_record(paths, answer_id, managed=managed),
            tell,
            purged=PromptCacheFolder(paths.kept_prompts).drop_of,
            unsaved=unsaved.hear_of_words,
        )
        unsaved.saver = saver
        return Services(paths, config, config_file, monitor, session, saver, unsaved)

    @staticmethod
    def sampler(monitor: ServerMonitor) -> Sampler:
        """What looks at the machine, and at the server's process."""
        limits = Limits(usable_logical_cpus(), memory_total_bytes(), memory_available_bytes)
        return Sampler(lambda: monitor.status.pid, SAMPLE_S, limits=limits)
