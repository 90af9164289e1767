"""The chat: it composes launch, conversation, question and instruments, and passes on what they tell.

It opens with its prompt alone, within the time that the terminal takes to look up; `complete` brings all else.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING

from textual import events, on
from textual.app import ComposeResult
from textual.screen import Screen

from r1tui.errors import R1tuiError
from r1tui.tui import messages
from r1tui.tui.beneath import Beneath
from r1tui.tui.commands import bindings_of
from r1tui.tui.guarded import Guarded
from r1tui.tui.widgets.composer import Composer
from r1tui.tui.widgets.instruments import VAST_COLUMNS, WIDE_COLUMNS, WIDE_PANEL_COLUMNS, Instruments

if TYPE_CHECKING:
    from r1tui.catalog.variants import Variant
    from r1tui.chat.conversation import Conversation
    from r1tui.tui.services.shared import Services
    from r1tui.tui.widgets.selection import Selection
    from r1tui.tui.widgets.transcript import Transcript


class ChatScreen(Guarded, Beneath, Screen[None]):
    """Its controllers own what is going on, its widgets show it."""

    DEFAULT_CSS = f"""
    ChatScreen {{
        overflow: hidden;
        Instruments {{ dock: right; padding: 0 1 1 1; }}
        &.-vast Instruments {{ width: {WIDE_PANEL_COLUMNS}; }}
        &.-narrow Instruments, &.-no-panel Instruments {{
            dock: top; width: 1fr; height: 1; border: none; padding: 0 1;
        }}
        Stages {{ display: none; max-height: 70%; }}
        &.-launching Stages {{ display: block; border-bottom: solid $border-blurred; }}
        Greeting {{ display: none; }}
        Greeting.-empty {{ display: block; }}
        Transcript.-empty {{ height: 1; }}
        &.-bare {{ align-vertical: bottom; }}
        &.-bare Composer {{ margin-bottom: 1; }}
    }}
    """
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (WIDE_COLUMNS, "-wide"), (VAST_COLUMNS, "-vast")]
    BINDINGS = bindings_of("chat")

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        super().__init__(classes="-bare")
        self.instruments = Instruments(clock=clock)
        self.composer = Composer()
        self.opened = asyncio.Event()
        """Set when the prompt is on the screen."""
        self.is_complete = False
        """True if all is there."""

    @property
    def conversation(self) -> Conversation:
        """The shown conversation."""
        return self.conversations.shown

    @property
    def next_step(self) -> str | None:
        """The id of the command without which nothing can be asked; None where a model is ready, or comes up."""
        return None if self.models.ready or self.models.launching else "chat.variants"

    def compose(self) -> ComposeResult:
        yield self.instruments
        yield self.composer

    def on_mount(self) -> None:
        self.call_after_refresh(self.opened.set)

    async def complete(self, services: Services, wanted: Variant | None, *, insists: bool) -> None:
        """Mount everything else, and begin, with the `wanted` model if there is one."""
        from r1tui.tui.screens.chat_parts import ChatParts  # noqa: PLC0415  after the first screen

        self.parts = parts = ChatParts(self, self.instruments, self.composer, services)
        self.answers, self.conversations, self.models = parts.answers, parts.conversations, parts.models
        self.view, self.widgets = parts.view, parts.widgets
        with self.app.batch_update():
            self.remove_class("-bare")
            await self.mount(*self.widgets.deferred, before=self.composer)
        await self.conversations.open_last()
        count, hear = services.session.server.count_tokens, services.unsaved.hear_of_prompt
        self.composer.begin(services.paths.prompt, count, self.view.context_left, hear)
        self.is_complete = True
        services.unsaved.show()
        self.refresh_bindings()
        await self.models.begin(wanted, insists=insists)

    def refresh_bindings(self) -> None:
        """Look again which keys do something, and whether the conversation is empty."""
        super().refresh_bindings()
        if self.is_complete:  # by classes of their own: one of the screen costs a look at the styles of everything
            for widget in (self.widgets.greeting, self.widgets.transcript):
                widget.set_class(not (self.conversation.exchanges or self.widgets.transcript.waits), "-empty")

    @on(messages.AnswerWaits)
    def _answer_waits(self, message: messages.AnswerWaits) -> None:
        self.view.tell(message.why)

    @on(messages.ModelsOffered)
    def _models_offered(self, message: messages.ModelsOffered) -> None:
        self.parts.openers.offer(message.names)

    @on(messages.LaunchEnded)
    def _launch_ended(self, message: messages.LaunchEnded) -> None:
        self.models.launch_ended(ready=message.ready)
        self.answers.send_waiting(came_up=message.ready)

    @on(messages.StageReported)
    def _stage_reported(self, message: messages.StageReported) -> None:
        self.models.take_stage(message.event)
        self.answers.waiting.take_stage(message.event)

    @on(messages.ServerChanged)
    def _server_changed(self, message: messages.ServerChanged) -> None:
        self.models.take_status(message.status)
        self.instruments.update_context_size(message.context_size)
        self.composer.weigh()

    @on(messages.Sampled)
    def _sampled(self, message: messages.Sampled) -> None:
        self.instruments.update_sample(message.sample)

    @on(messages.AnswerReceived)
    def _answer_received(self, message: messages.AnswerReceived) -> None:
        self.view.show_answer(message.conversation, message.events)

    @on(messages.AnswerEnded)
    def _answer_ended(self, message: messages.AnswerEnded) -> None:
        self.view.show_end(has_last_word=message.has_last_word)
        self.conversations.answer_ended(message.conversation)
        self.composer.weigh()
        self.refresh_bindings()

    def on_composer_submitted(self, message: Composer.Submitted) -> None:
        """Ask."""
        self.answers.submit(message.text, message.typed, message.instead_of)

    def on_transcript_character_typed(self, message: Transcript.CharacterTyped) -> None:
        """Put a character that is typed while reading into the prompt."""
        self.composer.prompt.focus().insert(message.character)

    def on_paste(self, event: events.Paste) -> None:
        """Put what is pasted while reading into the prompt."""
        event.stop()
        self.composer.prompt.focus().paste(event.text)

    def on_transcript_shown(self) -> None:
        """Another conversation is shown: leave what is of the one before."""
        self.widgets.selection.keep_to_shown()
        self.composer.leave_edit_unless_of(self.conversation.exchanges)
        self.refresh_bindings()

    def on_selection_changed(self) -> None:
        """Other exchanges are shown: save which."""
        self.composer.leave_edit_unless_of(self.conversation.exchanges)
        self.instruments.show_context(self.conversation.context_tokens)
        self.conversations.save_shown()

    def on_selection_question_chosen(self, message: Selection.QuestionChosen) -> None:
        """The prompt has the question, or it is asked again."""
        if self.answers.can_ask():
            self.widgets.selection.action_leave()
            if message.what == "edit":
                self.view.edit(message.exchange)
            else:
                self.view.warn_of_the_same()
                self.answers.ask_anew(message.exchange)

    def on_selection_figures_wanted(self, message: Selection.FiguresWanted) -> None:
        """Show all that is known of an answer."""
        self.parts.openers.show_figures(message.exchange)

    def on_selection_saving(self, message: Selection.Saving) -> None:
        """Save it where the user wants it."""
        self.parts.openers.save(message.text, message.name)

    def show_unsaved(self, text: str) -> None:
        """Show what is not saved for as long as that is so; an empty text hides the line."""
        if self.is_complete:
            self.widgets.unsaved.say(text)

    def work_failed(self, name: str, error: R1tuiError) -> None:
        super().work_failed(name, error)
        self.models.work_failed(name, error)

    async def action_do(self, part: str, what: str | int) -> None:
        done = self.parts.keyed[part].do(what)
        if inspect.isawaitable(done):
            await done

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Keys show where they do something."""
        if action == "do":
            return self.is_complete and self.parts.keyed[str(parameters[0])].can(parameters[1])
        return super().check_action(action, parameters)
