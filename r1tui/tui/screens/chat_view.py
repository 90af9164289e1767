"""The widgets of the chat, and what the controllers show and ask with them."""

from collections.abc import Callable
from typing import cast

from textual.screen import Screen
from textual.widget import Widget

from r1tui.catalog.variants import Variant
from r1tui.chat.attachments import as_asked
from r1tui.chat.conversation import Conversation, Exchange
from r1tui.chat.typed import Typed
from r1tui.errors import R1tuiError
from r1tui.events import Progress, StageEvent, StreamEvent
from r1tui.messages import Status
from r1tui.tui.controllers.conversations import ConversationController
from r1tui.tui.controllers.models import ModelController
from r1tui.tui.controllers.view import Question
from r1tui.tui.guarded import show_error
from r1tui.tui.notices import Severity
from r1tui.tui.noticing import NoticingApp
from r1tui.tui.questions import Decision
from r1tui.tui.remedies import with_keys
from r1tui.tui.screens import later
from r1tui.tui.services.shared import Services
from r1tui.tui.widgets.composer import Composer
from r1tui.tui.widgets.greeting import Greeting
from r1tui.tui.widgets.instruments import Instruments
from r1tui.tui.widgets.key_line import KeyLine
from r1tui.tui.widgets.selection import Selection
from r1tui.tui.widgets.stages import Stages
from r1tui.tui.widgets.transcript import Transcript
from r1tui.tui.widgets.unsaved_line import UnsavedLine


class ChatWidgets:
    """The widgets of the chat; all but instruments and composer are `deferred`, mounted after the first screen."""

    def __init__(
        self,
        instruments: Instruments,
        composer: Composer,
        may_change: Callable[[], bool],
        *,
        attached: bool,
        thinking_lines: int,
    ) -> None:
        """`may_change` says whether another path of the conversation may be shown."""
        self.instruments = instruments
        self.composer = composer
        self.greeting = Greeting(instruments.figures, attached=attached)
        self.stages = Stages(clock=instruments.figures.clock)
        self.transcript = Transcript(thinking_lines=thinking_lines)
        self.unsaved = UnsavedLine()
        self.selection = Selection(self.transcript, may_change)

    @property
    def deferred(self) -> tuple[Widget, ...]:
        """The widgets to mount above the prompt, in order, and the line of keys."""
        return self.stages, self.greeting, self.transcript, self.unsaved, self.selection, KeyLine()

    def set_pace(self, refresh_hz: float, *, slow_link: bool) -> None:
        """Set how often the transcript and the instruments draw."""
        self.transcript.set_pace(refresh_hz, wide_jumps=slow_link)
        self.instruments.slow_down(5.0 if slow_link else 1.0)


class ChatView:
    """Shows and asks for the controllers, on the chat screen."""

    widgets: ChatWidgets
    conversations: ConversationController
    models: ModelController
    """Whoever makes these with its help gives them to this."""

    def __init__(self, screen: Screen[None], services: Services) -> None:
        self._screen = screen
        self._app = cast("NoticingApp", screen.app)
        self._services = services
        self.run_worker = screen.run_worker
        self.post_message = screen.post_message
        self.refresh_bindings = screen.refresh_bindings

    @property
    def conversation(self) -> Conversation:
        """The shown conversation."""
        return self.conversations.shown

    @property
    def running_model(self) -> str | None:
        """The name of the model that would answer; None where none does."""
        return self.models.running_model

    @property
    def coming_model(self) -> str | None:
        """The name of the model that a question must wait for; None where none comes up, or one that is ready can
        answer while the other, or the engine, is being fetched."""
        fetches = self.widgets.stages.running("engine") or self.widgets.stages.running("model")
        return None if self.models.ready and fetches else self.models.coming

    @property
    def chosen_model(self) -> str | None:
        """The name of the model that the user had brought up last."""
        return self.models.last.name if self.models.last is not None else None

    def tell(self, text: str, *, title: str = "", severity: Severity = "information", topic: str = "") -> None:
        """Show the user a notice; an error until it is dismissed, or the `topic` is over."""
        self._app.notify(text, title=title, severity=severity, topic=topic)

    @property
    def has_notice(self) -> bool:
        """True if one is shown."""
        return bool(self._app.notices.waiting)

    def dismiss_notice(self) -> None:
        """End the newest notice."""
        self._app.action_dismiss_notice()

    def end_notice(self, topic: str) -> None:
        """What notices of this topic tell of is over."""
        self._app.end_notice(topic)

    def show_error(self, error: R1tuiError) -> None:
        """Show the user what went wrong."""
        show_error(self._screen.app, error)

    async def decide(self, decision: Decision) -> str | None:
        """The answer that the user chooses; None for none of them."""
        screen = later.dialogs.AskScreen(decision.text, decision.choices)
        return await self._screen.app.push_screen_wait(screen)

    def show(self, conversation: Conversation, *, answer_comes: bool) -> None:
        """Show this conversation as it is now; no figures of an answer where none comes, shown or not."""
        self.widgets.transcript.show(conversation)
        if not answer_comes:
            self.widgets.instruments.update_answer(None)
        self.widgets.instruments.show_context(conversation.context_tokens)

    def show_passage(self, exchange: Exchange, passage: str) -> None:
        """Show this passage of the shown conversation, with what a search has found in it."""
        self.widgets.transcript.show_passage(exchange, passage)
        self.widgets.instruments.show_context(self.conversation.context_tokens)
        self.refresh_bindings()

    def show_answer(self, conversation: Conversation, events: list[StreamEvent]) -> None:
        """More of an answer has come."""
        is_shown = conversation is self.conversation
        self.widgets.instruments.update_answer(events, shown=is_shown)
        if is_shown:
            self.widgets.transcript.touch()

    def show_end(self, *, has_last_word: bool) -> None:
        """The answer is over; without a last word of the server its figures are, too."""
        self.widgets.transcript.touch()
        if not has_last_word:
            self.widgets.instruments.update_answer(None)

    def begin_new(self) -> None:
        """Show an empty conversation."""
        self.conversations.begin_new()

    def context_left(self) -> int | None:
        """Tokens that the next question and its answer have, as far as it is known."""
        size = self.widgets.instruments.context_size
        return None if size is None else max(size - (self.conversation.context_tokens or 0), 0)

    def show_waiting(self, exchange: Exchange | None) -> None:
        """Show the question that waits for its model; None: none does any more."""
        self.widgets.transcript.show_waiting(exchange)
        self.refresh_bindings()

    def note_asked(self, typed: Typed | None) -> None:
        """Note that the typed text was asked, at the end of the shown conversation."""
        if typed is not None:
            self.widgets.composer.was_asked(typed)
        self.widgets.composer.leave_edit_unless_of(self.conversation.exchanges)
        self.widgets.selection.leave_lost_mark()
        self.widgets.transcript.show_waiting(None)
        self.widgets.transcript.to_end()
        self.widgets.instruments.asked()

    def give_back(self, question: Question, *, was_asked: bool = False) -> None:
        """Return the question to the prompt, as the edit of an exchange if it was one."""
        if was_asked:
            if question.typed is not None:
                self.widgets.composer.refused(question.typed)
            self.show(self.conversation, answer_comes=True)
        typed = question.typed or as_asked(question.text)
        if question.instead_of in self.conversation.exchanges:
            self.edit(question.instead_of, typed)
        else:
            self.widgets.composer.give_back(typed)

    def edit(self, exchange: Exchange, typed: Typed | None = None) -> None:
        """Have the question of this exchange in the prompt, or what has become of it."""
        self.widgets.composer.begin_edit(exchange, self.conversation.exchanges.index(exchange) + 1, typed)

    def warn_of_the_same(self) -> None:
        """A question is asked again: say where the same answer is to be expected."""
        self.run_worker(self._warn_of_the_same(), name="Reading the settings")

    async def _warn_of_the_same(self) -> None:
        if await self._services.session.is_deterministic():
            self.tell("At temperature 0 the answer stays the same.")

    def show_status(self, status: Status) -> None:
        """The server's status is another one."""
        self.widgets.instruments.update_server(status, launching=self.models.launching)
        self.widgets.greeting.touch()

    def show_title(self, title: str) -> None:
        """The model that runs has this name for people; none where nothing runs."""
        self.widgets.greeting.title = title

    def show_launch(self) -> None:
        """A launch begins: none of its stages has been reported."""
        self._screen.add_class("-launching")
        self.widgets.stages.reset()

    def show_stage(self, event: StageEvent) -> None:
        """A stage of a launch has made progress."""
        self.widgets.stages.apply(with_keys(event, self._screen.app))
        if isinstance(event, Progress) and event.stage == "server":
            self.widgets.instruments.update_load(event)

    def hide_launch(self, *, focus: bool) -> None:
        """No launch is of interest any more; with `focus` the user may ask now."""
        self._screen.remove_class("-launching")
        if focus:
            self.widgets.composer.prompt.focus()

    def show_download(self, variant: Variant, *, begin: bool) -> None:
        """Show its download, which is yet to `begin`, or goes on."""
        services = self._services
        screen = later.download.DownloadScreen(
            variant,
            services.paths,
            services.config,
            config_file=services.config_file,
            begin=begin,
            before_stop=self.models.cancel,
        )
        self._screen.app.push_screen(screen, self.models.switch)

    def show_welcome(self) -> None:
        """Let the user choose a first model."""
        screen = later.models.WelcomeScreen(*self._services.for_models)

        def chosen(variant: Variant | None) -> None:
            self.models.switch(variant, known_size=variant is not None and variant.name == screen.recommended)

        self._screen.app.push_screen(screen, chosen)
