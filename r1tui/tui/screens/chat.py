"""The seat: launch, conversation, question, instruments.

It opens with its prompt alone, within the time that the terminal takes to look up; `furnish` brings all else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from textual import events, on
from textual.app import ComposeResult

from r1tui.chat.attachments import as_asked
from r1tui.errors import R1tuiError
from r1tui.text import plain
from r1tui.tui.commands import bindings_of
from r1tui.tui.messages import (
    AnswerEnded,
    AnswerReceived,
    AnswerWaits,
    LaunchEnded,
    ModelsOffered,
    Sampled,
    ServerChanged,
    StageReported,
)
from r1tui.tui.remedies import in_keys
from r1tui.tui.screens.conversations_base import ConversationsBase
from r1tui.tui.screens.later import dialogs
from r1tui.tui.widgets.composer import Composer

if TYPE_CHECKING:
    from r1tui.catalog.variants import Variant
    from r1tui.chat.context_budget import ContextBudget
    from r1tui.chat.typed import Typed
    from r1tui.tui.controllers.answers import Question
    from r1tui.tui.screens.second_wave import SecondWave
    from r1tui.tui.services.shared import Services
    from r1tui.tui.widgets.selection import Selection
    from r1tui.tui.widgets.transcript import Transcript


class ChatScreen(ConversationsBase):
    """All that the chat is: models, conversations, answers, what is done with what was said, and the input."""

    DEFAULT_CSS = """
    ChatScreen {
        overflow: hidden;
        Instruments { dock: right; padding: 0 1 1 1; }
        &.-vast Instruments { width: 70; }
        &.-narrow Instruments, &.-no-panel Instruments { dock: top; width: 1fr; height: 1; border: none; padding: 0 1; }
        Stages { display: none; max-height: 70%; }
        &.-launching Stages { display: block; }
        Greeting { display: none; }
        &.-empty Greeting { display: block; }
        &.-empty Transcript { height: 1; }
        &.-bare { align-vertical: bottom; }
        &.-bare Composer { margin-bottom: 1; }
    }
    """
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (100, "-wide"), (180, "-vast")]
    BINDINGS = bindings_of("chat")

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        super().__init__(clock)
        self.opened = asyncio.Event()
        """Set when the prompt is on the screen."""

    @property
    def running_model(self) -> str | None:
        """The name of the model that would answer; None where none does."""
        return self.models.running_model

    def compose(self) -> ComposeResult:
        yield self.instruments
        yield self.composer

    def on_mount(self) -> None:
        self.call_after_refresh(self.opened.set)

    async def furnish(
        self, wave: type[SecondWave], services: Services, wanted: Variant | None, *, insists: bool
    ) -> None:
        """Bring all that is not there yet, and begin, with the `wanted` model where there is one."""
        self.services, session = services, services.session
        self.answers = wave.answers(session.chat, services.saved, self)
        self.port = wave.model_port(self, services)
        local = wave.local_models(lambda: services.catalog, services.paths, services.config)
        self.models = wave.models(
            session.launcher, services.monitor, session.chat, local, self.port, attached=session.attached
        )
        self.furniture = new = wave.furniture(self.instruments.figures, self._clock, self.answers.may_change)
        with self.app.batch_update():
            self.remove_class("-bare")
            self.composer.invite()
            await self.mount(new.stages, new.greeting, new.transcript, new.unsaved, new.selection, before=self.composer)
            await self.mount(new.footer)
        await self._open_last()
        count, hear = session.server.count_tokens, services.unsaved.hear_of_prompt
        self.composer.begin(services.paths.prompt, count, self._context_left, hear)
        self.furnished = True
        services.unsaved.show()
        self.refresh_bindings()
        self._watch()
        if not session.attached:
            await self.models.begin(wanted, insists=insists)

    def _watch(self) -> None:
        session = self.services.session
        if session.attached:
            self.run_worker(session.look_at_attached(), name="Asking the server")
        else:
            self.run_worker(session.watch(), group="watch", name="Watching the server")

    def refresh_bindings(self) -> None:
        """What keys do has changed, and with it, it may be, whether anything has been asked."""
        super().refresh_bindings()
        if self.furnished and self.has_class("-empty") == bool(self.conversation.exchanges):
            self.toggle_class("-empty")
            self.furniture.greeting.hints = self._hints()

    def _hints(self) -> list[tuple[str, str]]:
        """Three things to begin with, and their keys."""
        first = (
            ("chat.conversations", "earlier chats")
            if self.services.session.attached
            else ("chat.variants", "the models")
        )
        does = [("chat.prompts", "prompts to try"), first, ("app.keys", "all keys")]
        return [(in_keys(f"<{name}>", self.app), words) for name, words in does]

    @on(Composer.Submitted)
    def _submitted(self, message: Composer.Submitted) -> None:
        self.answers.submit(message.text, message.typed, message.instead_of)

    @on(AnswerReceived)
    def _answer_received(self, message: AnswerReceived) -> None:
        is_shown = message.conversation is self.conversation
        self.instruments.update_answer(message.events, shown=is_shown)
        if is_shown:
            self.furniture.transcript.touch()

    @on(AnswerWaits)
    def _answer_waits(self, message: AnswerWaits) -> None:
        self.tell(message.why)

    @on(AnswerEnded)
    def _answer_ended(self, message: AnswerEnded) -> None:
        saving = self._save_and_leave(message.conversation)
        self.run_worker(saving, group="save", name="Saving the conversation")
        self.furniture.transcript.touch()
        if not message.has_last_word:
            self.instruments.update_answer(None)
        self.answers.read_on()
        self.composer.weigh()
        self.refresh_bindings()

    def on_transcript_typed(self, message: Transcript.Typed) -> None:
        """What is typed while reading belongs into the prompt."""
        self.composer.prompt.focus().insert(message.character)

    def on_paste(self, event: events.Paste) -> None:
        """What is pasted while reading belongs into the prompt."""
        event.stop()
        self.composer.prompt.focus().paste(event.text)

    def _context_left(self) -> int | None:
        """Tokens that the next question and its answer have, as far as it is known."""
        size = self.instruments.context_size
        return None if size is None else max(size - (self.conversation.context_tokens or 0), 0)

    async def choose_in_little_room(self, room: ContextBudget, *, goes_on: bool) -> str | None:
        """What the user wants done where an answer has little room: `send`, `new` for a new conversation, or None."""
        return await self.app.push_screen_wait(dialogs().little_room(room, goes_on=goes_on))

    def note_asked(self, typed: Typed | None) -> None:
        """What was typed is asked, at the end of the conversation that is shown."""
        if typed is not None:
            self.composer.was_asked(typed)
        self.composer.leave_edit_unless_of(self.conversation.exchanges)
        self.furniture.selection.leave_lost_mark()
        self.furniture.transcript.to_end()
        self.instruments.asked()

    def give_back(self, question: Question, *, was_asked: bool = False) -> None:
        """Have the question in the prompt again, as the edit of an exchange where it was one."""
        if was_asked:
            if question.typed is not None:
                self.composer.refused(question.typed)
            self.furniture.transcript.show(self.conversation)
            self.instruments.show_context(self.conversation.context_tokens)
        turns, typed = self.conversation.exchanges, question.typed or as_asked(question.text)
        if question.instead_of in turns:
            self.composer.begin_edit(question.instead_of, turns.index(question.instead_of) + 1, typed)
        else:
            self.composer.give_back(typed)

    def on_transcript_shown(self) -> None:
        """Another conversation is shown: leave what is of the one before."""
        self.furniture.selection.keep_to_shown()
        self.composer.leave_edit_unless_of(self.conversation.exchanges)
        self.refresh_bindings()

    def on_selection_changed(self) -> None:
        """Other exchanges are shown: save which."""
        self.composer.leave_edit_unless_of(self.conversation.exchanges)
        self.instruments.show_context(self.conversation.context_tokens)
        self._save_shown()

    def on_selection_chosen(self, message: Selection.Chosen) -> None:
        """The prompt has the question, or it is asked again."""
        if not self.answers.can_ask():
            return
        self.furniture.selection.action_leave()
        if message.what == "edit":
            self.composer.begin_edit(message.turn, self.conversation.exchanges.index(message.turn) + 1)
        else:
            self.run_worker(self._warn_of_the_same(), name="Reading the settings")
            self.answers.ask_anew(message.turn)

    def on_selection_saving(self, message: Selection.Saving) -> None:
        """Ask where the text goes, and save it there."""

        def saved(path: Path | None) -> None:
            if path is not None:
                self.tell(f"Saved as {plain(str(path))}.")

        self.app.push_screen(dialogs().save(message.text, message.name), saved)

    async def _warn_of_the_same(self) -> None:
        if await self.services.session.is_deterministic():
            self.tell("At temperature 0 the same answer comes again.")

    @on(Sampled)
    def _sampled(self, message: Sampled) -> None:
        self.instruments.update_sample(message.sample)

    @on(ServerChanged)
    def _server_changed(self, message: ServerChanged) -> None:
        self.models.take_status(message.status)
        self.instruments.update_context_size(message.context_size)
        self.composer.weigh()

    def action_composer(self, what: str) -> None:
        """Do something with what is typed."""
        self.composer.do(what)

    def action_prompts(self) -> None:
        """Choose one of the config's prompts."""

        def chosen(text: str | None) -> None:
            self.composer.prompt.focus()
            if text is not None:
                self.composer.prompt.paste(text, is_own=True)

        self.app.push_screen(dialogs().prompts(self.services.config.prompts), chosen)

    def action_sampling(self) -> None:
        """Say how the next answer's tokens are chosen: temperature, seed, limits and the like."""
        lent = self.services
        self.app.push_screen(dialogs().sampling(lent.session, Path(lent.config_file or lent.paths.config_file)))

    @on(StageReported)
    def _stage_reported(self, message: StageReported) -> None:
        self.models.take_stage(message.event)

    @on(LaunchEnded)
    def _launch_ended(self, message: LaunchEnded) -> None:
        self.models.launch_ended(ready=message.ready)

    @on(ModelsOffered)
    def _models_offered(self, message: ModelsOffered) -> None:
        self.port.offer(message.names)

    def work_failed(self, name: str, error: R1tuiError) -> None:
        super().work_failed(name, error)
        self.models.work_failed(name, error)

    def action_models(self, what: str | int) -> None:
        """Do something about models, or switch to the one with this number in the list."""
        self.models.do(what)

    def action_variants(self) -> None:
        """Choose a model."""
        self.port.show_models()

    def action_log(self) -> None:
        """Show the log of what goes on: the engine's build, else the server."""
        self.port.show_log()

    def show_unsaved(self, text: str) -> None:
        """Say for as long as that is so what is not saved; without text, nothing."""
        if self.furnished:
            self.furniture.unsaved.say(text)

    def set_pace(self, refresh_hz: float, *, slow_link: bool) -> None:
        """Draw so often."""
        self.furniture.transcript.set_pace(refresh_hz, wide_jumps=slow_link)
        self.instruments.slow_down(5.0 if slow_link else 1.0)

    async def action_stop(self) -> None:
        """Stop the answer, and keep what came; or cancel the launch, which goes on where it was next time."""
        if self.composer.edited is not None:
            self.composer.leave_edit()
        elif self.answers.can_stop:
            self.answers.stop()
        else:
            self.models.cancel()

    async def action_interrupt(self) -> None:
        """Stop the answer, never the server; with nothing to stop, copy what is selected."""
        if self.answers.can_stop:
            self.answers.stop()
        elif self.get_selected_text():
            self.action_copy_text()
        else:
            self.tell("<app.quit> leaves r1tui.")

    def action_thinking(self) -> None:
        """Open or close the thinking."""
        self.furniture.transcript.toggle_thinking()

    def action_answers(self, what: str) -> None:
        """Do something with the last answer."""
        self.answers.do(what)

    async def action_selection(self, what: str) -> None:
        """Mark something, or do something with it."""
        await self.furniture.selection.do(what)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Keys show where they do something."""
        if not self.furnished:
            return False
        match action:
            case "stop":  # the list of files and the selection, which have the same key, come first
                something = self.composer.edited is not None or self.answers.can_stop or self.models.launching
                return something and not (self.composer.prompt.is_completing or self.furniture.selection.display)
            case "models":
                return self.models.can(parameters[0])
            case "log":
                return not self.services.session.attached
            case "thinking":
                return any(turn.answer.has_thoughts for turn in self.conversation.exchanges)
            case "answers":
                return self.answers.can(str(*parameters))
            case "selection":
                return self.furniture.selection.can(str(*parameters))
            case _:
                return super().check_action(action, parameters)

    def action_panel(self) -> None:
        """Hide or show the instruments."""
        self.toggle_class("-no-panel")

    def action_whole_panel(self) -> None:
        """Show the instruments on the whole screen, with all that is known."""
        self.app.push_screen(dialogs().panel(self.instruments.figures))
