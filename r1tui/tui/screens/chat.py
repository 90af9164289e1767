"""The seat: launch, conversation, question, instruments."""

from collections.abc import Callable
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, cast

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal, Vertical
from textual.screen import Screen
from textual.widgets import Footer
from textual.worker import Worker

from r1tui.catalog import Variant
from r1tui.chat.conversation import Conversation
from r1tui.chat.special_tokens import defuse
from r1tui.errors import R1tuiError
from r1tui.events import Finished, Timings
from r1tui.keeper.state import Status, new_conversation_id
from r1tui.tui.messages import AnswerEnded, AnswerReceived, LaunchEnded, Sampled, ServerChanged, StageReported
from r1tui.tui.screens.ask import AskScreen, Choice
from r1tui.tui.screens.log import LogScreen
from r1tui.tui.widgets.instruments import Instruments
from r1tui.tui.widgets.prompt import Prompt
from r1tui.tui.widgets.stages import Stages
from r1tui.tui.widgets.transcript import Transcript

if TYPE_CHECKING:
    from r1tui.tui.app import R1App

ASK_BEFORE_FETCHING_GIB = 1.0


class ChatScreen(Screen[None]):
    """Owns the conversation and what is shown of the server; its session does the work."""

    DEFAULT_CSS = """
    ChatScreen {
        #body { height: 1fr; }
        #talk { width: 1fr; }
        #panel { width: 38; }
        #line { display: none; }
        Stages { display: none; }
        &.-launching Stages { display: block; }
        &.-narrow #panel, &.-no-panel #panel { display: none; }
        &.-narrow #line, &.-no-panel #line { display: block; }
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
        Binding("f5", "panel", "Panel", id="chat.panel", priority=True),
        Binding("f6", "log", "Log", id="chat.log", priority=True),
        Binding("f7", "download", "Download", id="chat.download", priority=True),
        Binding("ctrl+r", "start", "Start", id="chat.start", priority=True),
        Binding("ctrl+n", "new", "New chat", id="chat.new", priority=True),
        *(
            Binding(f"alt+{n}", f"number({n})", f"Model {n}", id=f"chat.model{n}", show=False, priority=True)
            for n in range(1, 10)
        ),
    ]

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        super().__init__()
        self._clock = clock
        self.conversation = Conversation(new_conversation_id())
        self.status: Status | None = None
        """What is true of the managed server, as far as was told."""
        self.ready = False
        """Whether a question would be answered."""
        self._launching: Worker[None] | None = None
        self._last_variant: Variant | None = None

    @property
    def r1(self) -> "R1App":
        """The application, with its type."""
        return cast("R1App", self.app)

    @property
    def launching(self) -> bool:
        """Whether a model is being brought up."""
        return self._launching is not None

    @property
    def server_pid(self) -> int | None:
        """llama-server's process, as far as it is known."""
        return self.status.pid if self.status else None

    def compose(self) -> ComposeResult:
        with Horizontal(id="body"):
            with Vertical(id="talk"):
                yield Instruments(compact=True, clock=self._clock, id="line")
                yield Stages(clock=self._clock)
                yield Transcript()
                yield Prompt()
            yield Instruments(clock=self._clock, id="panel")
        yield Footer()

    def on_mount(self) -> None:
        self.query_one(Transcript).show(self.conversation)
        self.query_one(Prompt).focus()
        self._begin()

    def _begin(self) -> None:
        """Be in the chat at once where a server runs; else bring up the wanted model, or let the user choose one."""
        session, wanted = self.r1.session, self.r1.wanted
        if session.attached:
            self.ready = True
            return
        self.run_worker(session.watch(), group="watch", exit_on_error=False)
        now = session.status()
        if now.running and (wanted is None or now.variant == wanted.name):
            self._show_status(now)
        elif wanted is not None:
            self._launch(wanted, replace=now.running)
        elif self._downloading() is not None:
            self.action_download()
        else:
            self.action_variants()

    @on(StageReported)
    def _stage_reported(self, message: StageReported) -> None:
        self.query_one(Stages).apply(message.event)

    @on(LaunchEnded)
    def _launch_ended(self, message: LaunchEnded) -> None:
        self._launching = None
        self._show_status(self.r1.session.status())
        if message.ready:
            self.remove_class("-launching")
            self.query_one(Prompt).focus()
        self.refresh_bindings()

    @on(ServerChanged)
    def _server_changed(self, message: ServerChanged) -> None:
        self._show_status(message.status)

    @on(AnswerReceived)
    def _answer_received(self, message: AnswerReceived) -> None:
        answer = self.conversation.turns[-1].answer
        for event in message.events:
            answer.apply(event)
            if isinstance(event, Timings | Finished):
                for instruments in self.query(Instruments):
                    instruments.update_timings(event)
        self.query_one(Transcript).touch()

    @on(AnswerEnded)
    def _answer_ended(self) -> None:
        self.query_one(Transcript).touch()
        if self.conversation.turns[-1].answer.finished is None:
            for instruments in self.query(Instruments):
                instruments.update_timings(None)
        self.refresh_bindings()

    @on(Sampled)
    def _sampled(self, message: Sampled) -> None:
        for instruments in self.query(Instruments):
            instruments.update_sample(message.sample)
        if not self.r1.session.attached:
            self._show_status(self.r1.session.status())  # its uptime goes on

    @on(Prompt.Submitted)
    def _submitted(self, message: Prompt.Submitted) -> None:
        """Ask, if somebody can answer; else the text stays where it is."""
        if self.r1.session.answering:
            self.notify("The last answer is still coming. Esc stops it.", markup=False)
            return
        if not self.ready:
            self.notify("No model is ready yet; your question waits here. F2 lists the models.", markup=False)
            return
        question, found = defuse(message.text.strip())
        if found:
            self.notify(f"Control tokens were made harmless: {' '.join(found)}", markup=False)
        self.query_one(Prompt).clear()
        self.conversation.ask(question)
        self.query_one(Transcript).action_to_end()
        self.run_worker(
            self.r1.session.answer(self.conversation.messages()), group="answer", exclusive=True, exit_on_error=False
        )
        self.refresh_bindings()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Keys show where they do something."""
        match action:
            case "stop":
                return self.r1.session.answering or self._launching is not None
            case "start":
                return not self.ready and self._launching is None and self._last_variant is not None
            case "variants" | "step" | "number" | "log" | "download":
                return not self.r1.session.attached
            case _:
                return True

    async def action_stop(self) -> None:
        """Stop the answer, and keep what came; or cancel the launch, which goes on where it was next time."""
        if self.r1.session.answering:
            await self.r1.session.stop_answer()
        else:
            self._cancel_launch()

    async def action_interrupt(self) -> None:
        """Stop the answer, never the server; with nothing to stop, copy what is selected."""
        if self.r1.session.answering:
            await self.r1.session.stop_answer()
        elif self.get_selected_text():
            self.action_copy_text()
        else:
            self.notify("Ctrl+Q leaves r1tui.", markup=False)

    def action_thinking(self) -> None:
        """Open or close the thinking."""
        self.query_one(Transcript).toggle_thinking()

    def action_panel(self) -> None:
        """Hide or show the instruments."""
        self.toggle_class("-no-panel")

    def action_new(self) -> None:
        """Begin another conversation."""
        if self.r1.session.answering:
            self.notify("The answer is still coming. Esc stops it.", markup=False)
            return
        self.conversation = Conversation(new_conversation_id())
        self.query_one(Transcript).show(self.conversation)

    def action_log(self) -> None:
        """Show the log of what goes on: the engine's build, else the server."""
        paths = self.r1.paths
        building = self._launching is not None and self.query_one(Stages).running("engine")
        self.app.push_screen(LogScreen(paths.logs / "build.log" if building else paths.server_log))

    def action_download(self) -> None:
        """Show the download that runs, or the unfinished one of the last model."""
        variant = self._downloading()
        if variant is None:
            self.notify("Nothing is being downloaded. F2 lists the models.", markup=False)
            return
        self._show_download(variant, begin=False)

    def _show_download(self, variant: Variant, *, begin: bool) -> None:
        from r1tui.tui.screens.download import DownloadScreen  # noqa: PLC0415  the hub

        screen = DownloadScreen(
            variant, self.r1.paths, config_file=self.r1.config_file, begin=begin, before_stop=self._cancel_launch
        )
        self.app.push_screen(screen, self._switch)

    def _cancel_launch(self) -> None:
        if self._launching is not None:
            self._launching.cancel()

    def _downloading(self) -> Variant | None:
        from r1tui.hub.download import unfinished  # noqa: PLC0415  the screen opens without it
        from r1tui.hub.jobs import running_downloads  # noqa: PLC0415

        for name in running_downloads(self.r1.paths):
            with suppress(R1tuiError):
                return self.r1.catalog.find(name)
        last = self._last_variant
        return last if last is not None and unfinished(last, self.r1.paths) else None

    def action_start(self) -> None:
        """Bring the last model up again."""
        if self._last_variant is not None and self._launching is None and not self.ready:
            self._launch(self._last_variant, replace=False)

    def action_variants(self) -> None:
        """Choose a model."""
        from r1tui.tui.screens.variants import VariantsScreen  # noqa: PLC0415  planner and hub

        current = self.status.variant if self.status else None
        screen = VariantsScreen(self.r1.catalog, self.r1.config, self.r1.paths, current)
        self.app.push_screen(screen, self._switch)

    def action_step(self, step: int) -> None:
        """Switch to the next or previous model on disk."""
        here = [one for one in self.r1.catalog if self._on_disk(one)]
        names = [one.name for one in here]
        if len(here) < 2:
            self.notify("There is no other model on disk. F2 lists those that can be fetched.", markup=False)
            return
        current = self.status.variant if self.status else None
        index = names.index(current) if current in names else -1
        self._switch(here[(index + step) % len(here)])

    def action_number(self, number: int) -> None:
        """Switch to the model with this number in the list."""
        variants = list(self.r1.catalog)
        if number <= len(variants):
            self._switch(variants[number - 1])

    def _switch(self, variant: Variant | None) -> None:
        """Bring the variant up in place of what runs; a large one that must be fetched is asked about first."""
        if variant is None:
            return
        now = self.r1.session.status()
        if now.running and now.variant == variant.name:
            self.notify(f"{variant.name} runs already.", markup=False)
            return
        size_gib = variant.size_gib or 0.0
        if self._on_disk(variant) or size_gib < ASK_BEFORE_FETCHING_GIB:
            self._launch(variant, replace=now.running)
            return
        question = f"{variant.name} is not on this machine: {size_gib:,.0f} GiB to fetch."
        choices = [
            Choice("f", "fetch", "Fetch it, then bring it up"),
            Choice("o", "only", "Only fetch it; what runs stays"),
        ]

        def chosen(choice: str | None) -> None:
            if choice == "fetch":
                self._launch(variant, replace=now.running)
            elif choice == "only":
                self._show_download(variant, begin=True)

        self.app.push_screen(AskScreen(question, choices), chosen)

    def _launch(self, variant: Variant, *, replace: bool) -> None:
        self._last_variant = variant
        self.add_class("-launching")
        self.query_one(Stages).reset()
        self._launching = self.run_worker(
            self._stop_and_launch(variant, replace=replace), group="launch", exclusive=True, exit_on_error=False
        )
        self.refresh_bindings()

    async def _stop_and_launch(self, variant: Variant, *, replace: bool) -> None:
        await self.r1.session.stop_answer()
        await self.r1.session.launch(variant, replace=replace)

    def _show_status(self, status: Status | None) -> None:
        before, self.status = self.status, status
        self.ready = status is not None and status.state in ("ready", "sleeping")
        if status is not None and status.variant and self._last_variant is None and self.ready:
            self._last_variant = self.r1.variant_named(status)
        for instruments in self.query(Instruments):
            instruments.update_server(status)
        if before is None or status is None or before.state != status.state:
            self.refresh_bindings()  # it builds the footer anew
            if before is not None and status is not None and status.state == "failed" and not self.launching:
                said = f"{status.cause} Ctrl+R starts it again."
                self.notify(said, title="The server ended", severity="error", markup=False)

    def _on_disk(self, variant: Variant) -> bool:
        from r1tui.hub import find_model  # noqa: PLC0415  the screen opens without it

        return find_model(variant, self.r1.paths, self.r1.config) is not None
