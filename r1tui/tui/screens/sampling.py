"""How the next answer's tokens are chosen: a field for each setting, applied at once, remembered for the model.

A second page has the settings for which the model is restarted."""

import asyncio
from math import isfinite
from typing import NamedTuple

import msgspec
from textual import events, on
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widgets import Input, Label

from r1tui.config import SamplingSettings, check_setting
from r1tui.errors import UsageError
from r1tui.server.sampling import Sampling
from r1tui.tui.commands import bindings_of
from r1tui.tui.controllers.models import ModelController
from r1tui.tui.remedies import format_error, in_keys
from r1tui.tui.screens.dialogs import Dialog
from r1tui.tui.screens.model_page import ModelPage, page_title
from r1tui.tui.services.session import Session
from r1tui.tui.widgets.key_line import KeyLine
from r1tui.tui.widgets.still_input import StillInput
from r1tui.tui.widgets.switch import Switch


class Setting(NamedTuple):
    """A row: the setting's name in the config and on the screen, its range, what it is for, and that at length."""

    key: str
    label: str
    allowed: str
    meaning: str
    about: str


NUMBERS = (
    Setting("temperature", "temperature", "0 to 5", "randomness",
            "0 always takes the most likely token. DeepSeek recommends 0.5 to 0.7 for R1."),
    Setting("top_p", "top p", "0 to 1", "keeps likely tokens",
            "Keeps the most likely tokens up to this total probability; 1 keeps all."),
    Setting("min_p", "min p", "0 to 1", "drops unlikely tokens",
            "Drops tokens below this share of the most likely one. Unsloth recommends 0.1 for long answers."),
    Setting("top_k", "top k", "0 or more", "number of tokens kept",
            "Keeps only this many of the most likely tokens; 0 keeps all."),
    Setting("repeat_penalty", "repeat penalty", "0 to 5", "against loops",
            "Makes recently used tokens less likely; 1 changes nothing."),
    Setting("presence_penalty", "presence", "-2 to 2", "for new words",
            "Lowers every token used before, once; 0 changes nothing."),
    Setting("frequency_penalty", "frequency", "-2 to 2", "against repeats",
            "Lowers a token once for each earlier use; 0 changes nothing."),
    Setting("seed", "seed", "-1 or more", "same seed, same answer",
            "The same seed and prompt give the same answer; -1: random."),
    Setting("max_tokens", "max tokens", "1 or more", "limits the answer",
            "Limit for thinking and answer together. Empty: until the context is full."),
    Setting("thinking_budget", "thinking budget", "1 or more", "limits the thinking",
            "After this many tokens of thinking the answer begins. Empty: no limit."),
)  # fmt: skip
THINKING = Setting(
    "thinking", "thinking", "on or off", "<switch.change> changes it",
    "Thinking on or off. <switch.change>: next value; <switch.change_back>: previous value.",
)  # fmt: skip
SETTINGS = (*NUMBERS, THINKING)
LIMITS = ("max_tokens", "thinking_budget")
ANSWERS: dict[bool | None, str] = {None: "default", True: "on", False: "off"}
NO_SWITCH = "this model has no switch; use the budget"
NOT_KNOWN = "unknown until a model is ready"


class SamplingScreen(Dialog[None]):
    """Every valid change counts from the next question on; leaving needs no confirmation."""

    DEFAULT_CSS = """
    SamplingScreen {
        & > Vertical {
            width: 96;
            max-height: 100%;
            overflow-y: auto;
            padding-right: 0;
            scrollbar-size: 0 1;
            scrollbar-gutter: stable;
            & > * { margin-right: 1; }
        }
        Horizontal { height: 1; }
        .name { width: 16; color: $text-muted; }
        .help { width: 1fr; text-wrap: nowrap; text-overflow: ellipsis; }
        Input, Switch, .value { width: 11; margin-right: 1; }
        Input, Switch { background: $background; }
        Input:focus { background: $primary-muted; }
        ModelPage { display: none; }
        #about { width: 1fr; height: auto; margin-top: 1; color: $text-muted; }
        #about.-wrong { color: $error; }
    }
    """
    BINDINGS = bindings_of("sampling")

    def __init__(self, session: Session, models: ModelController) -> None:
        super().__init__()
        self._session = session
        self._models = None if session.attached else models  # somebody else's server has settings of its own
        self._model = ""
        self._now = session.choices.default
        self._effective = Sampling()
        self._refused: dict[str, UsageError] = {}
        self.filled = False
        """True if the fields show what is true."""

    def compose(self) -> ComposeResult:
        with Vertical(id="sampling") as box:
            box.border_title = page_title("Sampling", self.app) if self._models is not None else "Sampling"
            for setting in NUMBERS:
                with Horizontal():
                    yield Label(setting.label, classes="name", markup=False)
                    field = StillInput(id=setting.key, compact=True, placeholder="none")
                    yield field
                    yield Label(self._help(setting), classes="help", id=f"help-{setting.key}", markup=False)
            with Horizontal():
                yield Label(THINKING.label, classes="name", markup=False)
                yield Switch(ANSWERS, None)
                yield Label(self._help(THINKING), classes="help", id="switch", markup=False)
            yield Label(id="about", markup=False)
        if self._models is not None:
            yield ModelPage(self._models)
        yield KeyLine()

    def on_mount(self) -> None:
        self.run_worker(self._fill(), name="Reading the settings")

    async def _fill(self) -> None:
        """Show what is true of the model that runs now."""
        self._model = self._session.model
        self._now = await asyncio.to_thread(self._session.choices.of, self._model)
        self._effective = await self._session.effective_sampling()
        self.query_exactly_one("#sampling").border_subtitle = Content(
            f"remembered for {self._model}" if self._model else "until r1tui quits"
        )
        self._show()
        self.filled = True
        knows = await self._session.server.has_thinking_switch()
        if not knows:
            self.query_one(Switch).disabled = True
            unknown = "not reported by the server" if self._session.attached else NOT_KNOWN
            self.query_one("#switch", Label).update(NO_SWITCH if knows is False else unknown)

    def _show(self) -> None:
        for setting in NUMBERS:
            value = getattr(self._now, setting.key)
            field = self.query_one(f"#{setting.key}", Input)
            field.placeholder = self._default(setting)
            with self.prevent(Input.Changed):
                field.value = "" if value is None else f"{value}"
            self._show_help(setting)
        self.query_one(Switch).show(self._now.thinking)

    @on(Input.Changed)
    def _typed(self, event: Input.Changed) -> None:
        self._set(event.input.id or "", _value(event.value))

    @on(Switch.Turned)
    def _turned(self) -> None:
        self._set(THINKING.key, self.query_one(Switch).value)

    @on(Input.Submitted)
    def _next(self) -> None:
        self.focus_next()

    def _set(self, key: str, value: object) -> None:
        """Apply the value, or say what is allowed."""
        label = next(setting.label for setting in SETTINGS if setting.key == key)
        self._refused.pop(key, None)
        if value is None and key not in LIMITS:  # nothing is chosen here: what counts without is the config's
            value = getattr(self._session.choices.default, key)
        try:
            check_setting(SamplingSettings, key, value, label)
        except UsageError as error:
            self._refused[key] = error
        else:
            self._choose(msgspec.structs.replace(self._now, **{key: value}))
        self._complain()

    def _choose(self, wanted: SamplingSettings) -> None:
        if wanted == self._now:
            return
        self._now = wanted
        for setting in NUMBERS:
            self._show_help(setting)
        self._session.choices.choose(self._model, wanted)
        self.app.run_worker(self._keep(), name="Saving the settings")  # the app's: this screen may be left meanwhile

    async def _keep(self) -> None:
        if self._model:
            await asyncio.to_thread(self._session.choices.write, self._model)

    @on(events.DescendantFocus)
    def _complain(self) -> None:
        """Say what is wrong, or what the field with the focus is about."""
        wrong = [format_error(error, self.app).replace(" or null", "") for error in self._refused.values()]
        focused = self.focused.id or THINKING.key if self.focused else ""
        about = [in_keys(setting.about, self.app) for setting in SETTINGS if setting.key == focused]
        self.query_one("#about", Label).set_class(bool(wrong), "-wrong").update("\n".join(wrong or about))

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Each page has keys of its own."""
        if action == "page":
            return self._models is not None
        if action == "reset":
            return bool(self.query_exactly_one("#sampling").display)
        return super().check_action(action, parameters)

    def action_page(self) -> None:
        """Show the other page."""
        page = self.query_exactly_one(ModelPage)
        page.display = not page.display
        self.query_exactly_one("#sampling").display = not page.display
        if page.display:
            page.open()
        else:
            self.query(Input).first().focus()
        self.refresh_bindings()

    def action_reset(self) -> None:
        self._choose(self._session.choices.default)
        self._refused.clear()
        self._show()
        self._complain()

    def action_back(self) -> None:
        for key, error in self._refused.items():
            stays = getattr(self._now, key)
            self.app.notify(f"{error.cause} It stays {'none' if stays is None else stays}.")
        self.dismiss()

    def _show_help(self, setting: Setting) -> None:
        self.query_one(f"#help-{setting.key}", Label).update(self._help(setting))

    def _help(self, setting: Setting) -> str:
        """Help of a setting: source of its value, allowed values, and effect."""
        default = getattr(self._session.choices.default, setting.key)
        value, said_by = self._effective.sources.get(setting.key, (None, None))
        where = ""
        if getattr(self._now, setting.key) != default:
            where = "set here"
        elif setting is THINKING and default is not None:
            where = "from config"
        elif value is not None and said_by:
            where = "from the model's file" if said_by == "file" else f"from {said_by}"
        return in_keys(" · ".join(part for part in (where, setting.allowed, setting.meaning) if part), self.app)

    def _default(self, setting: Setting) -> str:
        """Placeholder of an empty field: the value used then."""
        value = self._effective.sources.get(setting.key, (None, ""))[0]
        if value is None and self._session.attached and setting.key not in LIMITS:
            return "server's"
        return _shown(value)


def _shown(value: float | None) -> str:
    return "none" if value is None else f"{round(value, 4):g}" if isinstance(value, float) else f"{value}"


def _value(text: str) -> object:
    """The typed value as in the config: a number, None, or a text that is refused."""
    text = text.strip()
    if not text:
        return None
    for kind in (int, float):
        try:
            number = kind(text)
        except ValueError:
            continue
        if isfinite(number):
            return number
    return text
