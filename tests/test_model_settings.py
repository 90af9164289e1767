"""The second page of the sampling dialog, with real servers: settings are tried, applied, and kept for the model."""

import threading
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from textual.pilot import Pilot
from textual.widgets import Button, Input, Label

from r1tui.catalog.variants import load_catalog
from r1tui.config import Config, PlanSettings, VariantSettings
from r1tui.engine.make import build_engine
from r1tui.messages import DevicePlan, HostPlan, Range, Speed, Status
from r1tui.plan import Plan
from r1tui.planning import trial
from r1tui.planning.kept import AUTO, ModelSettings, find_kept, keep
from r1tui.planning.request import request_here
from r1tui.planning.trial import Trial
from r1tui.system.paths import Paths
from r1tui.tui import questions
from r1tui.tui.app import R1App
from r1tui.tui.screens.dialogs import AskScreen
from r1tui.tui.screens.model_page import ModelPage, figures
from r1tui.tui.screens.models import WelcomeScreen
from r1tui.tui.screens.sampling import SamplingScreen
from r1tui.tui.services.trials import Trials
from r1tui.tui.widgets.number_field import NumberField
from r1tui.tui.widgets.switch import Switch
from tests.conftest import TinyModel
from tests.screen_rig import PLAN, StillApp
from tests.tui_rig import ask, config, notices, opened, ready, until

__all__ = ["config"]


@pytest.fixture
def settings(config: Config, paths: Paths, tiny_r1: TinyModel) -> Config:
    """With one model, which is in the file too."""
    settings = msgspec.structs.replace(config, variants={"tiny": VariantSettings(file=str(tiny_r1()))})
    paths.config_file.write_bytes(msgspec.json.encode(settings))
    return settings


def screen_with(settings: Config, paths: Paths) -> R1App:
    return R1App(paths, settings, variant=load_catalog(settings).find("tiny"))


def kept(settings: Config, paths: Paths) -> ModelSettings:
    return find_kept(load_catalog(settings).find("tiny"), settings, paths)


def said(page: ModelPage, name: str) -> str:
    return str(page.query_one(f"#{name}", Label).render())


async def page_of(app: R1App, pilot: Pilot[None]) -> ModelPage:
    """The second page, when a plan is there."""
    await pilot.press("ctrl+s", "pagedown")
    page = app.screen.query_one(ModelPage)
    await until(pilot, lambda: page.planned is not None)
    return page


async def planned(page: ModelPage, pilot: Pilot[None], wanted: ModelSettings) -> Plan:
    """The shown plan for these settings."""
    await until(pilot, lambda: page.planned is not None and page.planned[0] == wanted)
    assert page.planned is not None
    return page.planned[1]


async def runs_with(app: R1App, pilot: Pilot[None], ctx_size: int) -> None:
    """The server is ready with this context, by its plan and by its own word."""

    def fact() -> bool:
        status = app.services.monitor.status
        return app.chat.models.ready and status.plan is not None and status.plan.ctx_size == ctx_size

    await until(pilot, lambda: fact() and not app.chat.models.launching)
    props = await (await app.services.session.server.client()).props()
    assert props.context_tokens == ctx_size


async def test_four_keys_change_the_context_and_the_next_start_has_it_too(settings: Config, paths: Paths) -> None:
    app = screen_with(settings, paths)
    async with opened(app) as pilot:
        await ready(app, pilot, "tiny")
        before = app.services.monitor.status
        assert before.plan is not None
        keys: list[list[str]] = [["ctrl+s"], ["pagedown"], list("512"), ["enter"]]
        for key in keys[:3]:
            await pilot.press(*key)
        page = app.screen.query_one(ModelPage)
        await planned(page, pilot, ModelSettings(ctx_size=512))
        await until(pilot, lambda: said(page, "planned-ctx_size") == "512")
        assert f"context {before.plan.ctx_size:,} → 512" in said(page, "changes")
        assert said(page, "answer").startswith("Fits: RAM ")
        assert str(page.query_one(Button).label) == "Apply and restart"
        assert (kept(settings, paths), app.services.monitor.status.pid) == (AUTO, before.pid)
        await pilot.press(*keys[3])
        await runs_with(app, pilot, 512)
        assert app.screen is app.chat
        assert len(keys) <= 4
        assert app.services.monitor.status.pid != before.pid
        assert kept(settings, paths) == ModelSettings(ctx_size=512)
        assert app.chat.models.replaced is None
    again = screen_with(settings, paths)
    async with opened(again) as pilot:
        await runs_with(again, pilot, 512)
        page = await page_of(again, pilot)
        assert page.query_one("#ctx_size", Input).value == "512"
        await until(pilot, lambda: said(page, "changes") == "No change to what runs now.")
        await pilot.press("ctrl+r")
        await planned(page, pilot, AUTO)
        assert kept(settings, paths) == ModelSettings(ctx_size=512)
        await pilot.press("enter")
        await until(pilot, lambda: kept(settings, paths) == AUTO)
        await runs_with(again, pilot, before.plan.ctx_size)


async def test_keys_that_are_faster_than_the_plan_are_applied_all_the_same(settings: Config, paths: Paths) -> None:
    app = screen_with(settings, paths)
    async with opened(app) as pilot:
        await ready(app, pilot, "tiny")
        await pilot.press("ctrl+s", "pagedown", *"512", "enter")
        await runs_with(app, pilot, 512)


async def test_a_wrong_value_is_told_in_its_place_and_not_applied(settings: Config, paths: Paths) -> None:
    app = screen_with(settings, paths)
    async with opened(app, (80, 24)) as pilot:
        await ready(app, pilot, "tiny")
        page = await page_of(app, pilot)
        for text in ("255", "1000000", "-3", "8k", "²"):
            page.query_one("#ctx_size", Input).value = text
            await until(pilot, lambda: page.query_one("#help-ctx_size").has_class("-wrong"))
            assert said(page, "help-ctx_size").startswith("Allowed: 256 to ")
            await pilot.press("enter")
            await until(pilot, lambda: said(page, "answer").startswith("Allowed for context: 256 to "))
            assert app.screen.query_one(ModelPage) is page
        assert kept(settings, paths) == AUTO
        page.query_one("#ctx_size", Input).value = "1,024"
        await planned(page, pilot, ModelSettings(ctx_size=1024))
        assert not page.query_one("#help-ctx_size").has_class("-wrong")
        assert page.query_one("#n_gpu_layers").disabled
        assert said(page, "help-n_gpu_layers") == "no GPU: all layers are in RAM"


async def test_a_plan_that_does_not_fit_says_so_and_applying_asks(
    settings: Config, paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = request_here
    monkeypatch.setattr(trial, "request_here", lambda *given: replace(here(*given), host_total_mib=8, host_free_mib=8))
    app = screen_with(settings, paths)
    async with opened(app) as pilot:
        await ready(app, pilot, "tiny")
        pid = app.services.monitor.status.pid
        page = await page_of(app, pilot)
        await pilot.press(*"1024")
        await planned(page, pilot, ModelSettings(ctx_size=1024))
        await until(pilot, lambda: said(page, "answer").startswith("Does not fit: RAM "))
        assert "can be used" in said(page, "changes")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, AskScreen))
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, SamplingScreen))
        assert kept(settings, paths) == AUTO
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, AskScreen))
        await pilot.press("k")
        await until(pilot, lambda: app.screen is app.chat)
        assert kept(settings, paths) == ModelSettings(ctx_size=1024)
        assert app.services.monitor.refresh().pid == pid


async def test_a_long_load_is_not_ended_unasked(
    settings: Config, paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = screen_with(settings, paths)
    async with opened(app) as pilot:
        await ready(app, pilot, "tiny")
        monkeypatch.setattr(questions, "LONG_LOAD_S", 0.0)
        await page_of(app, pilot)
        await pilot.press(*"512", "enter")
        await until(pilot, lambda: isinstance(app.screen, AskScreen))
        assert "to load. Restart tiny with these settings?" in str(app.screen.query(Label).first().render())
        await pilot.press("r")
        await runs_with(app, pilot, 512)


async def test_an_answer_is_not_ended_unasked(settings: Config, paths: Paths, tiny_r1: TinyModel) -> None:
    endless = {"tiny": VariantSettings(file=str(tiny_r1(loop=True)))}
    settings = msgspec.structs.replace(settings, variants=endless, plan=PlanSettings(ctx_size=65536))
    paths.config_file.write_bytes(msgspec.json.encode(settings))
    app = screen_with(settings, paths)
    async with opened(app) as pilot:
        await ready(app, pilot, "tiny")
        answer = await ask(app, pilot, "hi")
        await until(pilot, lambda: answer.tokens > 0)
        await page_of(app, pilot)
        await pilot.press(*"512", "enter")
        await until(pilot, lambda: isinstance(app.screen, AskScreen))
        question = str(app.screen.query(Label).first().render())
        assert question == "An answer is running and ends with it. Restart tiny with these settings?"
        await pilot.press("r")
        await runs_with(app, pilot, 512)
        assert answer.state == "stopped"


def test_the_answer_names_all_cards_together() -> None:
    cards = tuple(DevicePlan(f"CUDA{n}", 81559, 80900, 72908) for n in range(2))
    plan = replace(PLAN, devices=cards, speed=Speed(Range(60, 180), Range(3.1, 4.4)))
    assert figures(plan) == "VRAM 142.4 of 159.3 GiB on 2 GPUs · RAM 82.5 of 256.0 GiB · 3.1 to 4.4 tokens/s"
    little = replace(plan, devices=cards[:1], host=HostPlan(262144, 497, 0, 256, 256))
    assert figures(little) == "VRAM 71.2 of 79.6 GiB · RAM 0.7 of 256.0 GiB · 3.1 to 4.4 tokens/s"


async def test_keys_step_the_numbers_from_what_was_planned(settings: Config, paths: Paths) -> None:
    app = screen_with(settings, paths)
    async with opened(app) as pilot:
        await ready(app, pilot)
        page = await page_of(app, pilot)
        assert page.planned is not None
        before = page.planned[1].ctx_size
        assert page.query_exactly_one("#changes").display
        field, threads = page.query_one("#ctx_size", NumberField), page.query_one("#threads", NumberField)
        assert field.has_focus
        assert "Right: twice as much; Left: half." in said(page, "about-model")
        assert not page.show_vertical_scrollbar, "all of it is seen"
        await pilot.press("left")
        assert field.value == str(before // 2)
        await planned(page, pilot, ModelSettings(ctx_size=before // 2))
        await pilot.press("plus", "minus", "minus", "right")
        assert field.value == str(before // 2)
        await pilot.press(*["right"] * 24)
        assert field.limits is not None
        assert field.value == str(field.limits[1])
        await pilot.press("down", "down", "down", "down", "down")
        while not threads.has_focus:
            await pilot.press("up")
        await pilot.press("right")
        assert threads.limits is not None
        assert threads.value == str(min(2, threads.limits[1]))
        await pilot.press("minus", "minus")
        assert threads.value == "1"


async def test_without_a_server_the_settings_are_kept_for_the_next_start(settings: Config, paths: Paths) -> None:
    elsewhere = ModelSettings(n_gpu_layers=5)  # of a machine that shares the folder and has a GPU
    keep(load_catalog(settings).find("tiny"), elsewhere, settings, paths)
    app = screen_with(settings, paths)
    async with opened(app) as pilot:
        await ready(app, pilot, "tiny")
        await app.services.monitor.stop()
        await until(pilot, lambda: not app.chat.models.ready)
        page = await page_of(app, pilot)
        button = page.query_one(Button)
        assert str(button.label) == "Keep for the next start"
        page.query_one("#cache_type_k", Switch).focus()
        await pilot.press("right", "right")
        await planned(page, pilot, ModelSettings(cache_type_k="f16").over(elsewhere))
        page.query_one("#ctx_size", Input).value = "512"
        await planned(page, pilot, wanted := ModelSettings(ctx_size=512, cache_type_k="f16").over(elsewhere))
        await pilot.click(button)
        await until(pilot, lambda: app.screen is app.chat)
        assert kept(settings, paths) == wanted
        assert not app.services.monitor.refresh().running
        await pilot.press("ctrl+r")
        await runs_with(app, pilot, 512)


async def test_what_is_changed_before_the_kept_settings_are_read_leaves_the_others(
    settings: Config, paths: Paths, tiny_r1: TinyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_two_types = {"tiny": VariantSettings(file=str(tiny_r1(mla=False)))}
    settings = msgspec.structs.replace(settings, variants=with_two_types)
    paths.config_file.write_bytes(msgspec.json.encode(settings))
    keep(load_catalog(settings).find("tiny"), ModelSettings(threads=1, cache_type_v="q8_0"), settings, paths)
    is_free, begin = threading.Event(), Trial.begin

    def slow(*given: Any) -> Trial:
        is_free.wait(120)
        return begin(*given)

    monkeypatch.setattr(Trial, "begin", slow)
    app = screen_with(settings, paths)
    async with opened(app) as pilot:
        await ready(app, pilot, "tiny")
        await pilot.press("ctrl+s", "pagedown")
        page = app.screen.query_one(ModelPage)
        page.query_one("#cache_type_k", Switch).focus()
        await pilot.press("right", "right")
        is_free.set()
        await planned(page, pilot, ModelSettings(threads=1, cache_type_k="f16", cache_type_v="q8_0"))


async def test_the_newest_change_is_the_one_that_is_answered(
    settings: Config, paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    has_begun, is_free, plan = threading.Event(), threading.Event(), Trial.by_formulas
    finished: list[ModelSettings] = []

    def slow(self: Trial, wanted: ModelSettings) -> Plan:
        if wanted.ctx_size == 512:
            has_begun.set()
            is_free.wait(120)
        made = plan(self, wanted)
        finished.append(wanted)
        return made

    monkeypatch.setattr(Trial, "by_formulas", slow)
    app = screen_with(settings, paths)
    async with opened(app) as pilot:
        await ready(app, pilot, "tiny")
        page = await page_of(app, pilot)
        field = page.query_one("#ctx_size", Input)
        field.value = "512"
        await until(pilot, has_begun.is_set)
        field.value = "1024"
        await planned(page, pilot, ModelSettings(ctx_size=1024))
        is_free.set()
        await until(pilot, lambda: ModelSettings(ctx_size=512) in finished)
        await pilot.pause()
        assert said(page, "planned-ctx_size") == "1,024"


async def test_the_engine_s_own_figures_follow_the_formulas(settings: Config, paths: Paths, workers: list[str]) -> None:
    build_engine(settings.engine, paths, lambda _: None)
    server = msgspec.structs.replace(settings.server, rpc=workers)
    with_devices = msgspec.structs.replace(settings, server=server)
    variant = load_catalog(settings).find("tiny")
    keep(variant, ModelSettings(ctx_size=512), settings, paths)
    trials = Trials(variant, with_devices, paths)
    assert await trials.begin(Status()) == ModelSettings(ctx_size=512)
    limits = trials.trial.limits
    wanted = ModelSettings(ctx_size=1024, n_gpu_layers=limits["n_gpu_layers"].high, n_cpu_moe=1)
    plans = [made async for made in trials.plans(wanted)]
    assert [made.source for made in plans] == ["estimate", "engine"]
    assert {(made.ctx_size, made.n_gpu_layers, made.n_cpu_moe) for made in plans} == {(1024, wanted.n_gpu_layers, 1)}


@pytest.mark.parametrize(
    ("target", "name"), [("Trial.by_formulas", "Planning"), ("find_misfit", "Applying the settings")]
)
async def test_what_nobody_foresaw_is_told_and_the_page_goes_on(
    settings: Config, paths: Paths, monkeypatch: pytest.MonkeyPatch, target: str, name: str
) -> None:
    def fail(*_: object) -> str:
        raise ZeroDivisionError

    app = screen_with(settings, paths)
    async with opened(app) as pilot:
        await ready(app, pilot, "tiny")
        await page_of(app, pilot)
        owner = "r1tui.planning.trial." if target.startswith("Trial") else "r1tui.tui.screens.model_page."
        monkeypatch.setattr(owner + target, fail)
        await pilot.press(*(["enter"] if name.startswith("Applying") else "1024"))
        await until(pilot, lambda: any(f"{name} ended" in told for told in notices(app)))
        assert app.screen.query(ModelPage)
        assert kept(settings, paths) == AUTO


async def test_an_attached_server_has_no_second_page() -> None:
    app = StillApp(Paths.from_environment().state)
    async with app.run_test() as pilot:
        await until(pilot, lambda: app.chat.is_complete)
        await pilot.press("ctrl+s", "pagedown")
        await until(pilot, lambda: isinstance(app.screen, SamplingScreen))
        assert not app.screen.query(ModelPage)


async def test_without_any_model_the_page_says_so(paths: Paths) -> None:
    app = R1App(paths, Config())
    async with opened(app, (80, 24)) as pilot:
        await until(pilot, lambda: isinstance(app.screen, WelcomeScreen))
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is app.chat)
        await pilot.press("ctrl+s", "pagedown", *"512", "enter")
        page = app.screen.query_one(ModelPage)
        await until(pilot, lambda: said(page, "answer").startswith("No model runs"))
