"""The settings for which a model is restarted: each with its planned value, and the plan's answer while they change."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import aclosing
from typing import Any, NamedTuple, get_args

from textual import events, on
from textual.app import App, ComposeResult
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widgets import Button, Input, Label

from r1tui.config import CacheType
from r1tui.errors import R1tuiError
from r1tui.messages import Speed
from r1tui.plan import Plan
from r1tui.planning.kept import LABELS, ModelSettings, differences, shown
from r1tui.planning.trial import Limits
from r1tui.text import rough
from r1tui.tui.commands import bindings_of
from r1tui.tui.controllers.models import ModelController
from r1tui.tui.guarded import Guarded
from r1tui.tui.remedies import format_error, in_keys
from r1tui.tui.services.trials import Trials
from r1tui.tui.widgets.model_cells import from_disk, of_mib
from r1tui.tui.widgets.number_field import NumberField
from r1tui.tui.widgets.switch import Switch


class Setting(NamedTuple):
    """What a setting's values are, and what it is about."""

    unit: str
    about: str


NUMBERS = {
    "ctx_size": Setting("tokens", "Prompt, thinking and answers of one conversation, in tokens."),
    "n_gpu_layers": Setting("with the output layer", "Layers in VRAM. More are faster and need more VRAM."),
    "n_cpu_moe": Setting("layers", "Layers whose experts stay in RAM. Fewer are faster and need more VRAM."),
    "threads": Setting("", "CPU threads. The number of physical cores is usually fastest."),
}
CACHES = {
    "cache_type_k": Setting("", "Type of the K cache. Quantised types save memory and lose a little quality."),
    "cache_type_v": Setting("", "Type of the V cache. Quantised types save memory and lose a little quality."),
}
CACHE_TYPES: dict[CacheType | None, str] = {None: "auto", **{kind: kind for kind in get_args(CacheType)}}
DOUBLES = "ctx_size"
UNCHANGEABLE = {
    "n_gpu_layers": "no GPU: all layers are in RAM",
    "n_cpu_moe": "no GPU, or a model without experts",
    "cache_type_v": "the same as K for this model",
}
STEPS = "<switch.change>: one more; <switch.change_back>: one less."
STEPS_BY_TWO = "<switch.change>: twice as much; <switch.change_back>: half."
NO_MODEL = "No model runs, and none was started. <chat.variants> lists the models."


PAGES = ("Sampling", "Model")


def page_title(page: str, app: App[Any]) -> Content:
    """The dialog's title: its pages, this one marked, and the key for the other."""
    names = [Content.styled(f" {name} ", "bold reverse" if name == page else "dim") for name in PAGES]
    return Content("").join([*names, Content.styled(in_keys(" <sampling.page> ", app), "dim")])


class ModelPage(Guarded, Vertical):
    """Nothing changes before the user applies it."""

    DEFAULT_CSS = """
    ModelPage {
        .planned { width: 10; text-align: right; margin-right: 2; }
        .head { color: $text-muted; text-style: none; }
        .help.-wrong, #answer.-wrong { color: $error; }
        #answer, #changes, #about-model { width: 1fr; height: auto; }
        #answer { margin-top: 1; text-style: bold; }
        #changes { display: none; color: $text-muted; }
        #about-model { min-height: 2; margin: 1 0; color: $text-muted; }
        #apply { background: $primary-muted; }
        #apply:focus { text-style: bold reverse; }
    }
    """
    BINDINGS = bindings_of("settings")

    def __init__(self, models: ModelController) -> None:
        super().__init__()
        self._models = models
        self._trials: Trials | None = None
        self._looked = asyncio.Event()
        """Set when `_begin` has ended."""
        self._has_begun = False
        self._wrong: dict[str, str] = {}
        self._touched: set[str] = set()
        """The fields that the user has changed."""
        self.planned: tuple[ModelSettings, Plan] | None = None
        """The last plan, and for which settings."""

    def compose(self) -> ComposeResult:
        with Horizontal(classes="head"):
            yield Label("", classes="name")
            yield Label("yours", classes="value")
            yield Label("planned", classes="planned")
            yield Label("allowed", classes="help")
        for key, label in LABELS.items():
            with Horizontal():
                yield Label(label, classes="name", markup=False)
                if key in NUMBERS:
                    yield NumberField(id=key, doubles=key == DOUBLES)
                else:
                    yield Switch(CACHE_TYPES, None, id=key)
                yield Label("", classes="planned", id=f"planned-{key}", markup=False)
                yield Label("", classes="help", id=f"help-{key}", markup=False)
        yield Label("", id="answer", markup=False)
        yield Label("", id="changes", markup=False)
        yield Label("", id="about-model", markup=False)
        yield Button("", id="apply", compact=True)

    def open(self) -> None:
        """The page is shown: look at the model, once."""
        self.border_title = page_title("Model", self.app)
        self.query_exactly_one("#ctx_size").focus()
        if self._trials is not None:
            return
        self._trials = self._models.trials()
        if self._trials is None:
            self._answer(in_keys(NO_MODEL, self.app), is_wrong=True)
            return
        self.border_subtitle = Content(f"kept for {self._trials.variant.name}")
        runs = self._models.runs(self._trials.variant)
        self.query_one(Button).label = "Apply and restart" if runs else "Keep for the next start"
        self._answer("Planning…")
        self.run_worker(self._begin(self._trials), name="Reading the settings", group="begin")

    async def _begin(self, trials: Trials) -> None:
        try:
            kept = await trials.begin(self._models.server)
            self._show({key: getattr(kept, key) for key in LABELS if key not in self._touched})
            for key in NUMBERS:
                field = self.query_one(f"#{key}", NumberField)
                field.limits = trials.trial.limits.get(key)
                field.disabled = field.limits is None
            self.query_exactly_one("#cache_type_v").disabled = trials.trial.has_one_cache_type
            self._has_begun = True
            self._changed()
        except R1tuiError as error:
            self._answer(format_error(error, self.app), is_wrong=True)
        finally:
            self._looked.set()

    def _show(self, values: dict[str, Any]) -> None:
        for key, value in values.items():
            if key in CACHES:
                self.query_one(f"#{key}", Switch).show(value)
                continue
            field = self.query_one(f"#{key}", Input)
            with self.prevent(Input.Changed):
                field.value = "" if value is None else str(value)

    @on(Input.Changed)
    def _typed(self, event: Input.Changed) -> None:
        event.stop()
        self._touched.add(event.input.id or "")
        self._changed()

    @on(Switch.Turned)
    def _turned(self, event: Switch.Turned) -> None:
        event.stop()
        self._touched.add(event.switch.id or "")
        self._changed()

    def _changed(self) -> None:
        """Plan with what the fields say now, or say what is wrong in its place."""
        if not self._has_begun:
            return
        settings = self._settings()
        for key in LABELS:
            said, help_label = self._wrong.get(key), self.query_one(f"#help-{key}", Label)
            help_label.set_class(said is not None, "-wrong").update(said or self._help(key))
        if self._wrong:
            self.workers.cancel_group(self, "plan")
            allowed = (f"Allowed for {LABELS[key]}: {self._help(key)}." for key in self._wrong)
            self._answer("\n".join(allowed), is_wrong=True)
        else:
            self.run_worker(self._plan(settings), name="Planning", group="plan", exclusive=True)

    def _settings(self) -> ModelSettings:
        """What the fields say; what is wrong is noted and left out, and what counts on other machines alone stays."""
        values: dict[str, Any] = {key: self.query_one(f"#{key}", Switch).value for key in CACHES}
        self._wrong.clear()
        for key in NUMBERS:
            field = self.query_one(f"#{key}", NumberField)
            limits, number = self._limits(key), field.number
            if number is not None and (limits is None or limits.low <= number <= limits.high):
                values[key] = number
            elif field.value.strip() and limits is not None:
                self._wrong[key] = f"Allowed: {self._help(key)}"
        if self.query_exactly_one("#cache_type_v").disabled:
            values["cache_type_v"] = None
        return ModelSettings(**values)

    def _limits(self, key: str) -> Limits | None:
        return self._trials.trial.limits.get(key) if self._trials is not None else None

    def _help(self, key: str) -> str:
        limits = self._limits(key)
        if self.query_exactly_one(f"#{key}").disabled or (limits is None and key in NUMBERS):
            return UNCHANGEABLE[key]
        if limits is None:
            return in_keys("<switch.change> changes it", self.app)
        return f"{limits.low:,} to {limits.high:,} {NUMBERS[key].unit}".strip()

    async def _plan(self, settings: ModelSettings) -> None:
        assert self._trials is not None  # noqa: S101  _has_begun
        async with aclosing(self._trials.plans(settings)) as plans:
            async for plan in plans:
                self.planned = settings, plan
                self._show_plan(settings, plan)

    def _show_plan(self, settings: ModelSettings, plan: Plan) -> None:
        summary = plan.summary()
        for key in LABELS:
            self.query_one(f"#planned-{key}", Label).update(shown(getattr(summary, key)))
            if key in NUMBERS:
                self.query_one(f"#{key}", NumberField).automatic = getattr(summary, key)
        misfit = find_misfit(settings, plan)
        self._answer(f"{'Does not fit' if misfit else 'Fits'}: {figures(plan)}", is_wrong=bool(misfit))
        now = self._models.server.plan if self._trials and self._models.runs(self._trials.variant) else None
        changes = list(differences(now, summary)) if now is not None else []
        if now is not None and now.tps.answer != plan.speed.answer and any(plan.speed.answer):
            changes.append(f"tokens/s {speed(now.tps)} → {speed(plan.speed)}")
        said = f"Changes: {' · '.join(changes)}" if changes else "No change to what runs now." if now else ""
        self._show_changes("\n".join(filter(None, (misfit, said))))

    def _answer(self, text: str, *, is_wrong: bool = False) -> None:
        self.query_one("#answer", Label).set_class(is_wrong, "-wrong").update(text)
        self._show_changes("")

    def _show_changes(self, text: str) -> None:
        changes = self.query_one("#changes", Label)
        changes.update(text)
        changes.display = bool(text)

    @on(events.DescendantFocus)
    def _say_about(self, event: events.DescendantFocus) -> None:
        event.stop()
        key = event.widget.id or ""
        setting = (NUMBERS | CACHES).get(key)
        steps = STEPS_BY_TWO if key == DOUBLES else STEPS if key in NUMBERS else ""
        said = f"{setting.about} {in_keys(steps, self.app)}".strip() if setting else ""
        self.query_one("#about-model", Label).update(said)

    @on(Button.Pressed)
    def action_apply(self) -> None:
        self.run_worker(self._apply(), name="Applying the settings", group="apply", exclusive=True)

    async def _apply(self) -> None:
        await self._looked.wait()
        if self._trials is None or not self._has_begun:
            return
        settings = self._settings()
        if self._wrong:
            self.query_exactly_one(f"#{next(iter(self._wrong))}").focus()
            return
        trials = self._trials
        if self.planned is None or self.planned[0] != settings:
            async with aclosing(trials.plans(settings)) as plans:
                self.planned = settings, await anext(plans)
        misfit = find_misfit(*self.planned)
        changed = await self._models.apply(
            trials.variant, lambda: trials.keep(settings), misfit, undo=lambda: trials.keep(trials.kept)
        )
        if changed:
            self.screen.dismiss(None)

    def action_auto(self) -> None:
        """Have every field empty; it counts when it is applied."""
        self._show(dict.fromkeys(LABELS))
        self._touched |= LABELS.keys()
        self._changed()


def find_misfit(settings: ModelSettings, plan: Plan) -> str:
    """What of the plan does not fit, in a sentence; empty if all does."""
    if not plan.fits:
        return " ".join(plan.shortage) or "There is not enough memory."
    if plan.ctx_size < (settings.ctx_size or 0):
        return f"A context of {settings.ctx_size:,} does not fit: at most {plan.ctx_size:,}."
    return ""


def figures(plan: Plan) -> str:
    """`VRAM 71.2 of 79.6 GiB · RAM 60.1 of 251.9 GiB · 3.1 to 4.4 tokens/s`."""
    return " · ".join(_figures(plan))


def _figures(plan: Plan) -> Iterator[str]:
    if plan.devices:
        cards = f" on {len(plan.devices)} GPUs" if len(plan.devices) > 1 else ""
        yield f"VRAM {of_mib(plan.on_devices_mib, sum(one.total_mib for one in plan.devices))}{cards}"
    yield f"RAM {of_mib(plan.in_ram_mib, plan.host.total_mib)}{from_disk(plan.disk_mib)}"
    if any(plan.speed.answer):
        yield f"{speed(plan.speed)} tokens/s"


def speed(expected: Speed) -> str:
    """Tokens per second of answers: `3.1 to 4.4`."""
    return rough(*expected.answer) if any(expected.answer) else "unknown"
