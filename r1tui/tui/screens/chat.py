"""The seat: launch, conversation, question, instruments.

It opens with its prompt alone, within the time that the terminal takes to look up; `furnish` brings all else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from time import monotonic
from typing import TYPE_CHECKING, Any

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding

from r1tui.chat.conversation import Conversation
from r1tui.chat.special_tokens import defuse
from r1tui.events import Failed, Finished, StageFailed, Timings
from r1tui.tui.messages import (
    AnswerEnded,
    AnswerReceived,
    AnswerWaits,
    LaunchEnded,
    Sampled,
    ServerChanged,
    StageReported,
)
from r1tui.tui.news import server_news
from r1tui.tui.screens.models_base import ModelsBase
from r1tui.tui.widgets.instruments import Instruments
from r1tui.tui.widgets.prompt import Prompt

if TYPE_CHECKING:
    from textual.worker import Worker

    from r1tui.catalog import Variant
    from r1tui.keeper.state import Status
    from r1tui.tui.furniture import Furniture
    from r1tui.tui.widgets.transcript import Transcript


class ChatScreen(ModelsBase):
    """Owns the conversation and what is shown of the server; its session does the work."""

    DEFAULT_CSS = """
    ChatScreen {
        overflow: hidden;
        Instruments { dock: right; margin-bottom: 1; }
        &.-narrow Instruments, &.-no-panel Instruments { dock: top; width: 1fr; height: 1; border: none; margin: 0; }
        Stages { display: none; max-height: 70%; }
        &.-launching Stages { display: block; }
        &.-bare { align-vertical: bottom; }
        &.-bare Prompt { margin-bottom: 1; }
    }
    """
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (100, "-wide")]
    BINDINGS = [
        Binding("escape", "stop", "Stop", id="chat.stop"),
        Binding("ctrl+c", "interrupt", "Interrupt", id="chat.interrupt", show=False, priority=True),
        Binding("ctrl+t", "thinking", "Thinking", id="chat.thinking", priority=True),
        Binding("f2", "variants", "Models", id="chat.variants", priority=True),
        Binding("f3", "step(-1)", "Previous", id="chat.previous", show=False, priority=True),
        Binding("f4", "step(1)", "Next", id="chat.next", show=False, priority=True),
        Binding("f5", "panel", "Panel", id="chat.panel", show=False, priority=True),
        Binding("f6", "log", "Log", id="chat.log", priority=True),
        Binding("f7", "download", "Download", id="chat.download", show=False, priority=True),
        Binding("ctrl+r", "start", "Start", id="chat.start", priority=True),
        Binding("f8", "again", "Ask again", id="chat.again", priority=True),
        Binding("f9", "back", "Bring back", id="chat.back", priority=True),
        Binding("ctrl+n", "new", "New chat", id="chat.new", priority=True),
        *(
            Binding(f"alt+{n}", f"number({n})", f"Model {n}", id=f"chat.model{n}", show=False, priority=True)
            for n in range(1, 10)
        ),
    ]

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        super().__init__(classes="-bare")
        self._clock = clock
        self.instruments = Instruments(clock=clock)
        self.opened = asyncio.Event()
        """Set when the prompt is on the screen."""
        self.furnished = False
        """Whether all is there."""
        self.furniture: Furniture
        self.conversation: Conversation
        self.status: Status | None = None
        """What is true of the server, as far as was told."""
        self.ready = False
        """Whether a question would be answered."""
        self._launching: Worker[None] | None = None
        self._last_variant: Variant | None = None
        self._failure: StageFailed | None = None
        """Why the last launch failed."""
        self._replaced: Variant | None = None
        """The model that ran before the one that is, or was, being brought up."""

    @property
    def launching(self) -> bool:
        """Whether a model is being brought up."""
        return self._launching is not None

    @property
    def server_pid(self) -> int | None:
        """llama-server's process, as far as it is known."""
        return self.status.pid if self.status else None

    def compose(self) -> ComposeResult:
        yield self.instruments
        yield Prompt()

    def on_mount(self) -> None:
        self.call_after_refresh(self.opened.set)

    async def furnish(self) -> None:
        """Bring all that is not there yet, and begin."""
        from r1tui.tui.furniture import Furniture  # noqa: PLC0415  after the first screen

        self.furniture = new = Furniture(self._clock)
        with self.app.batch_update():
            self.remove_class("-bare")
            await self.mount(new.stages, new.transcript, before=self.query_one(Prompt))
            await self.mount(new.footer)
        self._open_last()
        self.furnished = True
        self.refresh_bindings()
        self._begin()

    def _open_last(self) -> None:
        """Be where the last r1tui was; an answer that was running then is read on."""
        from r1tui.keeper.state import new_conversation_id  # noqa: PLC0415

        last = None if self.r1.session.attached else self.r1.saved.last()
        self.conversation = last or Conversation(new_conversation_id())
        self.furniture.transcript.show(self.conversation)
        if self.conversation.running:
            turn = self.conversation.turns[-1]
            self._receive(self.r1.session.read_on(turn.answer_id, inside_thinking=turn.inside_thinking))

    def _begin(self) -> None:
        """Be in the chat at once where a server runs; else bring up the wanted model, or let the user choose one."""
        session, wanted = self.r1.session, self.r1.wanted
        if session.attached:
            self.ready = True
            self.run_worker(session.look_at_attached(), exit_on_error=False)
            return
        self.run_worker(session.watch(), group="watch", exit_on_error=False)
        now = session.status()
        if now.running and (wanted is None or now.variant == wanted.name or not self.r1.insists):
            self._show_status(now)
        elif wanted is not None and now.running:
            self._show_status(now)
            self._switch(wanted, unasked=False)
        elif wanted is not None:
            self._launch(wanted, replace=False)
        elif self._downloading() is not None:
            self.action_download()
        else:
            self.action_variants()

    @on(StageReported)
    def _stage_reported(self, message: StageReported) -> None:
        self.furniture.stages.apply(message.event)
        if isinstance(message.event, StageFailed):
            self._failure = message.event

    @on(LaunchEnded)
    def _launch_ended(self, message: LaunchEnded) -> None:
        if self._launching is not None and not self._launching.is_finished:
            return  # of a launch that another has replaced
        self._launching = None
        self._show_status(self.r1.session.status())
        if message.ready:
            self.remove_class("-launching")
            self._replaced = None
            self.query_one(Prompt).focus()
        elif self.ready and self._failure is not None:  # what ran goes on
            self.notify(
                f"{self._failure.cause} {self._failure.remedy}", title="The model stays", severity="error", markup=False
            )
        elif self._replaced is not None:
            self.notify(f"F9 brings {self._replaced.name} back.", markup=False)
        self.refresh_bindings()

    @on(ServerChanged)
    def _server_changed(self, message: ServerChanged) -> None:
        attached = self.r1.session.attached
        self._show_status(message.status if attached else self.r1.session.status())  # what was posted may be past
        self.instruments.update_context_size(message.context_size)

    @on(AnswerReceived)
    def _answer_received(self, message: AnswerReceived) -> None:
        if not self.conversation.turns:
            return
        answer = self.conversation.turns[-1].answer
        counters: Timings | Finished | None = None
        for event in message.events:
            answer.apply(event)
            if isinstance(event, Timings | Finished):
                counters = event
        if counters is not None:  # the last of them is true of all
            self.instruments.update_timings(counters)
        self.furniture.transcript.touch()

    @on(AnswerWaits)
    def _answer_waits(self, message: AnswerWaits) -> None:
        self.notify(message.why, markup=False)

    @on(AnswerEnded)
    def _answer_ended(self) -> None:
        if not self.conversation.turns:
            return  # a new chat has begun meanwhile
        answer = self.conversation.turns[-1].answer
        if answer.running:
            answer.apply(Failed("The answer broke off.", "Ask again; `r1tui logs` may show why."))
        self.run_worker(self.r1.save(self.conversation), group="save", exit_on_error=False)
        self.furniture.transcript.touch()
        if answer.finished is None:
            self.instruments.update_timings(None)
        self.refresh_bindings()

    @on(Sampled)
    def _sampled(self, message: Sampled) -> None:
        self.instruments.update_sample(message.sample)
        if not self.r1.session.attached:
            self._show_status(self.r1.session.status())  # its uptime goes on

    def on_transcript_typed(self, message: Transcript.Typed) -> None:
        """What is typed while reading belongs into the prompt."""
        self.query_one(Prompt).focus().insert(message.character)

    @on(Prompt.Submitted)
    def _submitted(self, message: Prompt.Submitted) -> None:
        """Ask, if somebody can answer; else the text is in the prompt again."""
        turns = self.conversation.turns
        if self.r1.session.answering or (turns and turns[-1].answer.running):  # the second: asked, and not begun yet
            self._refuse(message.text, "The last answer is still coming. Esc stops it.")
            return
        if not self.ready:
            self._refuse(message.text, "No model is ready yet; your question waits here. F2 lists the models.")
            return
        question, found = defuse(message.text.strip())
        if found:
            self.notify(f"Control tokens were made harmless: {' '.join(found)}", markup=False)
        self._ask(question)

    def _ask(self, question: str) -> None:
        from r1tui.keeper.state import new_conversation_id  # noqa: PLC0415

        turn = self.conversation.ask(question, new_conversation_id())
        self.furniture.transcript.action_to_end()

        async def begins(inside_thinking: bool) -> None:
            turn.inside_thinking = inside_thinking
            await self.r1.save(self.conversation)

        self._receive(self.r1.session.answer(self.conversation.messages(), turn.answer_id, begins))

    def _receive(self, work: Coroutine[Any, Any, None]) -> None:
        self.run_worker(work, group="answer", exclusive=True, exit_on_error=False)
        self.refresh_bindings()

    def _refuse(self, text: str, why: str) -> None:
        self.query_one(Prompt).give_back(text)
        self.notify(why, markup=False)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Keys show where they do something."""
        match action:
            case _ if not self.furnished:
                return False
            case "stop":
                return self.r1.session.answering or self._launching is not None
            case "start":
                waits = self.status is not None and self.status.waits_for_start
                return waits or not (self.launching or self.ready or self._last_variant is None)
            case "again":
                turns = self.conversation.turns
                return not self.r1.session.answering and bool(turns) and turns[-1].answer.state in ("failed", "stopped")
            case "back":
                return self._launching is None and not self.ready and self._replaced is not None
            case "variants" | "step" | "number" | "log" | "download":
                return not self.r1.session.attached
            case _:
                return True

    async def action_stop(self) -> None:
        """Stop the answer, and keep what came; or cancel the launch, which goes on where it was next time."""
        if self.r1.session.answering:
            self._stop_answer()
        else:
            self._cancel_launch()

    def _stop_answer(self) -> None:  # beside the keys: a server that hangs keeps its caller waiting
        self.run_worker(self.r1.session.stop_answer(), group="stop", exclusive=True, exit_on_error=False)

    async def action_interrupt(self) -> None:
        """Stop the answer, never the server; with nothing to stop, copy what is selected."""
        if self.r1.session.answering:
            self._stop_answer()
        elif self.get_selected_text():
            self.action_copy_text()
        else:
            self.notify("Ctrl+Q leaves r1tui.", markup=False)

    def action_thinking(self) -> None:
        """Open or close the thinking."""
        self.furniture.transcript.toggle_thinking()

    def action_panel(self) -> None:
        """Hide or show the instruments."""
        self.toggle_class("-no-panel")

    def action_new(self) -> None:
        """Begin another conversation."""
        if self.r1.session.answering:
            self.notify("The answer is still coming. Esc stops it.", markup=False)
            return
        from r1tui.keeper.state import new_conversation_id  # noqa: PLC0415

        self.conversation = Conversation(new_conversation_id())
        self.furniture.transcript.show(self.conversation)
        self.instruments.update_timings(None)
        self.query_one(Prompt).focus()
        self.run_worker(self.r1.save(self.conversation), group="save", exit_on_error=False)

    def action_again(self) -> None:
        """Ask the last question again, in place of the answer that failed or was stopped."""
        if not self.ready:
            self.notify("No model is ready yet.", markup=False)
            return
        question = self.conversation.turns.pop().question
        self.furniture.transcript.show(self.conversation)
        self._ask(question)

    def action_back(self) -> None:
        """Bring the model back that ran before a switch that failed."""
        if self._replaced is not None:
            self._launch(self._replaced, replace=self.r1.session.status().running)

    def action_log(self) -> None:
        """Show the log of what goes on: the engine's build, else the server."""
        from r1tui.tui.screens.log import LogScreen  # noqa: PLC0415

        paths = self.r1.paths
        building = self._launching is not None and self.furniture.stages.running("engine")
        self.app.push_screen(LogScreen(paths.logs / "build.log" if building else paths.server_log))

    def _cancel_launch(self) -> None:
        if self.r1.session.following:
            from r1tui.tui.screens.ask import stop_or_wait  # noqa: PLC0415

            self.app.push_screen(stop_or_wait(), lambda choice: self._give_up() if choice else None)
        else:
            self._give_up()

    def _give_up(self) -> None:
        if self._launching is not None:
            self.r1.session.give_up()
            self._launching.cancel()

    def action_start(self) -> None:
        """Bring the last model up again, or end a server that hangs and start it again."""
        if self.status is not None and self.status.waits_for_start:
            self.run_worker(self.r1.session.restart_server(), group="restart", exit_on_error=False)
        elif self._last_variant is not None and self._launching is None and not self.ready:
            self._launch(self._last_variant, replace=False)

    def _launch(self, variant: Variant, *, replace: bool) -> None:
        if replace and self.ready and self.status is not None:
            self._replaced = self.r1.variant_named(self.status)
        self._last_variant = variant
        self._show_stages(self._stop_and_launch(variant, replace=replace))

    def _show_stages(self, work: Coroutine[Any, Any, None]) -> None:
        self.add_class("-launching")
        self.furniture.stages.reset()
        self._launching = self.run_worker(work, group="launch", exclusive=True, exit_on_error=False)
        self.refresh_bindings()

    async def _stop_and_launch(self, variant: Variant, *, replace: bool) -> None:
        await self.r1.session.stop_answer()
        await self.r1.session.launch(variant, replace=replace)

    def _show_status(self, status: Status) -> None:
        before, self.status = self.status, status
        self.ready = status.state in ("ready", "sleeping")
        if status.variant and self._last_variant is None and self.ready and not self.r1.session.attached:
            self._last_variant = self.r1.variant_named(status)
        self.instruments.update_server(status)
        if self.ready and not self.launching:
            self.remove_class("-launching")
        if before is None or (before.state, before.hangs) != (status.state, status.hangs):
            self.refresh_bindings()  # it builds the footer anew
            if not self.launching and (news := server_news(before, status)) is not None:
                self.notify(news.text, title=news.title, severity=news.severity, markup=False)
        if status.comes_up and not self.launching:
            self._show_stages(self.r1.session.follow(status))
