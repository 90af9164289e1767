"""Answers without a screen: a server that runs, the client that asks it, and a view that only remembers."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from textual.message import Message

from r1tui.catalog.variants import Variant
from r1tui.chat.conversation import Conversation, Exchange
from r1tui.chat.typed import Typed
from r1tui.config import Config, SamplingSettings
from r1tui.errors import R1tuiError
from r1tui.events import Content, Reasoning, StageEvent, StageFailed, StreamEvent
from r1tui.messages import Status
from r1tui.supervisor import client as supervisor
from r1tui.system.paths import Paths
from r1tui.tui.controllers.view import Question
from r1tui.tui.questions import Decision
from r1tui.tui.services.chat_client import ChatClient
from r1tui.tui.services.server import ServerMonitor
from r1tui.tui.services.session import Session
from tests.supervisor_rig import spec_for, start_ready

PATIENCE_S = 90.0


@asynccontextmanager
async def served(server: Path, model: Path, paths: Paths, *, context_tokens: int = 4096) -> AsyncIterator[None]:
    """The managed server with this model."""
    spec = spec_for(server, model, paths, "--ctx-size", str(context_tokens))
    await asyncio.to_thread(start_ready, spec, paths)
    try:
        yield
    finally:
        await asyncio.to_thread(supervisor.stop, paths)


def client_of(paths: Paths, told: list[Message], **sampling: float) -> ChatClient:
    """A client of the managed server."""
    monitor = ServerMonitor(paths, told.append)
    return Session(paths, Config(sampling=SamplingSettings(**sampling)), told.append, monitor).chat  # type: ignore[arg-type]


def text_of(events: list[StreamEvent]) -> str:
    """What was thought and said."""
    return "".join(event.text for event in events if isinstance(event, Reasoning | Content))


async def until(fact: Callable[[], Any]) -> None:
    """Wait until this is so."""
    async with asyncio.timeout(PATIENCE_S):
        while not fact():  # noqa: ASYNC110  it is no event of ours
            await asyncio.sleep(0.01)


class Work:
    """A task as a controller knows its worker."""

    def __init__(self, task: asyncio.Task[None]) -> None:
        self._task = task
        self.cancel = task.cancel

    @property
    def is_finished(self) -> bool:
        return self._task.done()


class View:
    """Where all would be shown: what it is told stays here."""

    def __init__(self) -> None:
        self.conversation = Conversation("c")
        self.running_model: str | None = "tiny"
        self.coming_model: str | None = None
        self.chosen_model: str | None = None
        self.waits: list[Exchange | None] = []
        """The questions that were shown as waiting, one after the other."""
        self.said: list[str] = []
        self.severities: list[str] = []
        """Of what was said; empty where none was named."""
        self.posted: list[Message] = []
        self.given_back: list[Question] = []
        self.asked: list[Typed | None] = []
        self.refused: list[Typed | None] = []
        self.choice: str | None = None
        """What the user decides."""
        self.asked_of: list[str] = []
        """The questions that the user had to decide."""
        self.shown: list[str] = []
        self.failed: list[StageFailed] = []
        self.title = ""
        self.work: set[asyncio.Task[None]] = set()

    def run_worker(
        self, work: Coroutine[Any, Any, None], *, name: str, group: str = "default", exclusive: bool = False
    ) -> Any:
        if group == "watch":  # it never ends; who needs it watches
            work.close()
            return None
        task = asyncio.create_task(work, name=name)
        self.work.add(task)
        task.add_done_callback(self.work.discard)
        return Work(task)

    def tell(self, text: str, *, title: str = "", severity: str = "", topic: str = "") -> None:
        self.said.append(title or text)
        self.severities.append(severity)

    def end_notice(self, topic: str) -> None:
        """Nothing is shown."""

    def post_message(self, message: Message) -> object:
        self.posted.append(message)
        return True

    def show_error(self, error: R1tuiError) -> None:
        self.said.append(error.cause)

    def show(self, conversation: Conversation, *, answer_comes: bool) -> None:
        self.conversation = conversation

    def show_passage(self, exchange: Exchange, passage: str) -> None:
        self.said.append(f"{exchange.question}: {passage}")

    def refresh_bindings(self) -> None:
        """No keys are shown."""

    async def decide(self, decision: Decision) -> str | None:
        self.asked_of.append(decision.text)
        return self.choice

    def begin_new(self) -> None:
        self.conversation = Conversation("new")

    def show_waiting(self, exchange: Exchange | None) -> None:
        self.waits.append(exchange)

    def note_asked(self, typed: Typed | None) -> None:
        self.asked.append(typed)

    def give_back(self, question: Question, *, was_asked: bool = False) -> None:
        self.given_back.append(question)
        if was_asked:
            self.refused.append(question.typed)

    def show_status(self, status: Status) -> None:
        """No instruments are shown."""

    def show_title(self, title: str) -> None:
        self.title = title

    def show_launch(self) -> None:
        self.shown.append("launch")

    def show_stage(self, event: StageEvent) -> None:
        if isinstance(event, StageFailed):
            self.failed.append(event)

    def hide_launch(self, *, focus: bool) -> None:
        """No stages are shown."""

    def show_download(self, variant: Variant, *, begin: bool) -> None:
        self.shown.append(f"download {variant.name} {begin}")

    def show_welcome(self) -> None:
        self.shown.append("welcome")
