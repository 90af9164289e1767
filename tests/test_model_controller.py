"""Who decides about models, with real servers and no screen."""

import asyncio
import shutil
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

import msgspec
import pytest
from textual.message import Message

from r1tui.catalog.variants import Variant, load_catalog
from r1tui.config import Config, VariantSettings
from r1tui.events import StageEvent, StageFailed
from r1tui.hub.local.folders import NoRoomError
from r1tui.launch.stages import Launch
from r1tui.messages import HostPlan, PlanSummary, Status
from r1tui.supervisor import client as supervisor
from r1tui.system.paths import Paths
from r1tui.tui import questions
from r1tui.tui.controllers.models import LAUNCH, ModelController
from r1tui.tui.messages import LaunchEnded, ServerChanged, StageReported
from r1tui.tui.services.local_models import LocalModels
from r1tui.tui.services.server import ServerMonitor
from r1tui.tui.services.session import Session
from tests.answer_rig import View, until
from tests.conftest import TinyModel
from tests.supervisor_rig import Toy, start_ready
from tests.tui_rig import config

__all__ = ["config"]


BIG = PlanSummary(host=HostPlan(weights_mib=131 << 10))


class ModelView(View):
    """Hands what is posted to the controller."""

    models: ModelController

    def post_message(self, message: Message) -> object:
        return asyncio.get_running_loop().call_soon(self._hand_over, message)

    def _hand_over(self, message: Message) -> None:
        match message:
            case ServerChanged():
                self.models.take_status(message.status)
            case StageReported():
                self.models.take_stage(message.event)
            case LaunchEnded():
                self.models.launch_ended(ready=message.ready)


@asynccontextmanager
async def chosen(paths: Paths, config: Config) -> AsyncIterator[ModelView]:
    """A controller of the models of these settings, which follows the server."""
    view = ModelView()
    monitor = ServerMonitor(paths, view.post_message)
    session = Session(paths, config, view.post_message, monitor)
    local = LocalModels(paths, config)
    view.models = ModelController(session, monitor, local, view)
    watching = asyncio.create_task(session.watch())
    try:
        yield view
    finally:
        for task in (watching, *view.work):
            task.cancel()
        await asyncio.gather(watching, *view.work, return_exceptions=True)
        await session.close()


def of_files(config: Config, **files: VariantSettings) -> Config:
    return msgspec.structs.replace(config, variants=files)


async def ready(view: ModelView, name: str) -> None:
    await until(lambda: view.models.running_model == name and not view.models.launching)


async def test_the_wanted_model_comes_up_and_another_takes_its_place(
    paths: Paths, config: Config, tiny_r1: TinyModel
) -> None:
    file = str(tiny_r1())
    fails = VariantSettings(title="Bad", file=file, extra_args=["--lora", "/nowhere.gguf"])
    good = {name: VariantSettings(title=name.title(), file=file) for name in ("one", "two")}
    settings = of_files(config, bad=fails, **good)
    async with chosen(paths, settings) as view:
        models = view.models
        await models.begin(load_catalog(settings).find("one"), insists=False)
        assert (models.launching, models.can("stop_server")) == (True, False)
        await ready(view, "one")
        assert (view.title, models.last and models.last.name, models.replaced) == ("One", "one", None)
        assert models.can("stop_server")
        models.switch(models.last)
        await until(lambda: view.said == ["one is already running."])
        models.do("next")
        await ready(view, "two")
        assert models.replaced is None
        models.switch(load_catalog(settings).find("bad"))
        await until(lambda: bool(view.failed) and not models.launching)
        assert models.can("bring_back")
        assert models.can("start")
        assert view.said[-1] == "<chat.back> brings two back."
        models.bring_back()
        await ready(view, "two")
        assert not view.asked_of


async def test_of_launches_the_last_one_counts_and_the_next_model_is_that_after_the_coming_one(
    paths: Paths, config: Config, tiny_r1: TinyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, may_go_on, prepare = str(tiny_r1()), asyncio.Event(), Launch.prepare

    async def slowly(self: Launch) -> AsyncGenerator[StageEvent, None]:
        if self.variant.name == "two":
            await may_go_on.wait()
        async for event in prepare(self):
            yield event

    monkeypatch.setattr(Launch, "prepare", slowly)
    settings = of_files(config, **{name: VariantSettings(file=file) for name in ("one", "two", "three")})
    async with chosen(paths, settings) as view:
        models = view.models
        await models.begin(load_catalog(settings).find("one"), insists=False)
        await ready(view, "one")
        models.do("next")
        await until(lambda: models.coming == "two")
        launches = {task for task in view.work if task.get_name() == LAUNCH}
        models.switch(load_catalog(settings).find("two"))
        await until(lambda: view.said == ["two is already coming up."])
        models.switch(load_catalog(settings).find("one"))
        await ready(view, "one")
        assert view.said[1:] == ["one is already running."]
        models.do("next")
        await until(lambda: models.coming == "two")
        launches |= {task for task in view.work if task.get_name() == LAUNCH}
        models.do("next")
        await ready(view, "three")
        may_go_on.set()
        await asyncio.wait(launches)
        assert (models.running_model, supervisor.status(paths).variant) == ("three", "three")
        assert not view.asked_of


@pytest.mark.parametrize(("current", "step", "name"), [("two", 1, "three"), ("one", -1, "three"), (None, -1, "three")])
def test_from_no_model_the_step_goes_to_an_end_of_the_list(
    paths: Paths, tmp_path: Path, current: str | None, step: int, name: str
) -> None:
    (file := tmp_path / "any.gguf").write_bytes(b"GGUF")
    here = of_files(Config(), **{name: VariantSettings(file=str(file)) for name in ("one", "two", "three")})
    found = LocalModels(paths, here).neighbour(current, step)
    assert found is not None
    assert found.name == name


def test_a_model_of_another_program_keeps_its_name_when_it_is_restarted(paths: Paths) -> None:
    file = Path("/models/sha256-1234")
    running = LocalModels(paths, Config()).running(Status(state="ready", variant="llama3:8b", model=str(file)))
    assert running is not None
    assert (running.name, running.file) == ("llama3:8b", file)


@pytest.mark.parametrize(
    ("name", "file", "is_listed"),
    [
        ("demo", "/home/me/demo.gguf", False),
        ("demo", "/data/packages/demo/smollm2.gguf", True),
        ("mine", "/home/me/mine.gguf", True),
        ("mine", "/blobs/sha256-0", True),
        ("mine", "/elsewhere/mine.gguf", False),
        ("Q4", "/hub/models--me--model/snapshots/0/Q4.gguf", True),
        ("Q4", "/data/models/me/model/Q4.gguf", True),
        ("Q4", "/home/me/Q4.gguf", False),
    ],
)
def test_a_file_that_is_named_like_a_model_of_the_catalog_is_another_one(
    paths: Paths, name: str, file: str, *, is_listed: bool
) -> None:
    mine = VariantSettings(file="/home/me/mine.gguf")
    models = LocalModels(paths, Config(variants={"mine": mine, "Q4": VariantSettings(repo="me/model", pattern="Q4*")}))
    status = Status(state="ready", variant=name, model=file)
    running = models.running(status)
    assert running is not None
    assert (running is models.catalog.find(name)) == is_listed
    assert is_listed or running.file == Path(file)
    assert models.catalog.listed_name(status) == (name if is_listed else None)


async def test_settings_with_which_a_model_does_not_start_are_taken_back_with_a_key(
    paths: Paths, config: Config, tiny_r1: TinyModel, tmp_path: Path
) -> None:
    grammar = tmp_path / "any.gbnf"
    grammar.write_text('root ::= "a"')
    one = VariantSettings(file=str(tiny_r1()), extra_args=["--grammar-file", str(grammar)])
    settings = of_files(config, one=one)

    async def spoil() -> None:
        grammar.unlink()

    async def mend() -> None:
        grammar.write_text('root ::= "a"')

    async with chosen(paths, settings) as view:
        models = view.models
        variant = load_catalog(settings).find("one")
        await models.begin(variant, insists=True)
        await ready(view, "one")
        assert not models.can("bring_back")
        assert await models.apply(variant, spoil, "", undo=mend)
        await until(lambda: bool(view.failed) and not models.launching)
        assert view.said[-1] == "<chat.back> restarts the model with the settings from before."
        assert models.can("bring_back")
        models.bring_back()
        await ready(view, "one")
        assert grammar.exists()
        assert not models.can("bring_back")


@pytest.mark.parametrize(("exit_status", "severity"), [(130, "information"), (1, "error")])
async def test_a_launch_that_the_user_ended_is_no_error(
    paths: Paths, config: Config, exit_status: int, severity: str
) -> None:
    async with chosen(paths, config) as view:
        view.models.ready = True  # the model before goes on
        view.models.take_stage(StageFailed("server", "Cancelled.", "", exit_status))
        view.models.launch_ended(ready=False)
        assert (view.said, view.severities) == (["The model was not switched"], [severity])


async def test_settings_that_do_not_even_end_the_running_server_are_not_kept(
    paths: Paths, config: Config, tiny_r1: TinyModel, tmp_path: Path
) -> None:
    file, away = tmp_path / "one.gguf", tmp_path / "away.gguf"
    shutil.copy(tiny_r1(), file)
    settings = of_files(config, one=VariantSettings(file=str(file)))

    async def spoil() -> None:
        file.rename(away)

    async def mend() -> None:
        away.rename(file)

    async with chosen(paths, settings) as view:
        models = view.models
        variant = load_catalog(settings).find("one")
        await models.begin(variant, insists=True)
        await ready(view, "one")
        assert await models.apply(variant, spoil, "", undo=mend)
        await until(lambda: "The settings stay as they were" in view.said)
        await until(file.exists)
        assert models.running_model == "one"
        assert not models.can("bring_back")


@pytest.mark.parametrize("agrees", [False, True])
async def test_a_model_that_comes_up_by_itself_is_cancelled_when_the_user_agrees(
    paths: Paths, config: Config, tmp_path: Path, *, agrees: bool
) -> None:
    toy = Toy(paths, tmp_path)
    toy.acts({"loads": True})
    await asyncio.to_thread(supervisor.start, toy.spec(), paths)
    async with chosen(paths, config) as view:
        view.choice = "stop" if agrees else None
        await view.models.begin(None, insists=False)
        await until(lambda: view.models.launching and view.models.status is not None)
        view.models.cancel()
        await until(lambda: view.asked_of == [questions.STOP_FOREIGN.text])
        if agrees:
            await until(lambda: not view.models.launching)
            assert [one.cause for one in view.failed] == ["Cancelled."]
            assert supervisor.status(paths).state == "stopped"
        else:
            toy.acts({})
            await asyncio.to_thread(supervisor.restart, paths)
            await ready(view, "toy")


async def test_what_runs_stays_unless_the_user_wants_another_and_agrees(
    paths: Paths, config: Config, tmp_path: Path
) -> None:
    before = await asyncio.to_thread(start_ready, Toy(paths, tmp_path).spec(), paths)
    other = Variant("other", "Other", file=tmp_path / "other.gguf")
    async with chosen(paths, config) as view:
        await view.models.begin(other, insists=False)
        await ready(view, "toy")
        assert not view.asked_of
        await view.models.begin(other, insists=True)
        await until(lambda: bool(view.asked_of) and not view.work)
        assert view.asked_of == ["toy is already running. Start other instead?"]
        assert supervisor.status(paths).pid == before.pid


async def test_without_a_model_the_user_is_shown_some(paths: Paths, config: Config) -> None:
    async with chosen(paths, config) as view:
        await view.models.begin(None, insists=False)
        assert view.shown == ["welcome"]
        assert not view.models.can("start")
        view.models.do("find_download")
        await until(lambda: view.said == ["No download is running. <chat.variants> lists the models."])
        view.models.do("next")
        await until(lambda: len(view.said) == 2)
        assert "no other model on disk" in view.said[1]
        await until(lambda: not view.work)
        view.models.do(1000)
        await until(lambda: len(view.said) == 3)
        assert view.said[2].startswith("No model on this machine has the number 1000.")


@pytest.mark.parametrize(("choice", "shown"), [("only", ["download far True"]), (None, [])])
async def test_a_large_model_is_not_fetched_unasked(
    paths: Paths, config: Config, choice: Literal["only"] | None, shown: list[str]
) -> None:
    far = Variant("far", "Far", repo="acme/far", pattern="*.gguf", size_gib=2.0)
    async with chosen(paths, config) as view:
        view.choice = choice
        view.models.switch(far)
        await until(lambda: not view.work)
        assert view.asked_of == ["far is not on this machine: 2.0 GiB to download."]
        assert view.shown == shown


async def test_a_model_without_room_on_disk_is_refused_before_any_question(paths: Paths, config: Config) -> None:
    async with chosen(paths, config) as view:
        view.models.switch(Variant("far", "Far", repo="acme/far", pattern="*.gguf", size_gib=1e6))
        (switching,) = view.work
        with pytest.raises(NoRoomError, match=r"far needs 976\.6 TiB; "):
            await switching
        assert not view.asked_of
        assert not view.models.launching


async def test_a_server_is_stopped_and_started_again_from_here(
    paths: Paths, config: Config, tiny_r1: TinyModel
) -> None:
    settings = of_files(config, one=VariantSettings(title="One", file=str(tiny_r1())))
    async with chosen(paths, settings) as view:
        await view.models.begin(load_catalog(settings).find("one"), insists=False)
        await ready(view, "one")
        view.models.do("stop_server")
        await until(lambda: view.said[-1:] == ["The server is stopped. <chat.start> starts it again."])
        await until(lambda: not view.models.ready and view.models.can("start"))
        assert supervisor.status(paths).state == "stopped"
        await until(lambda: not view.models.can("stop_server"))
        view.models.start()
        await ready(view, "one")
        assert not view.asked_of


@pytest.mark.parametrize(
    ("status", "answers", "others", "said"),
    [
        (Status(state="ready", pid=1, variant="r1", load_s=240.0, plan=BIG), False, False,
         "r1: 131.0 GiB, took 4 min to load."),
        (Status(state="loading", pid=1, variant="r1", uptime_s=100.0, plan=BIG), False, False,
         "r1: 131.0 GiB, loading for 2 min."),
        (Status(state="ready", pid=1, load_s=11.0), True, True,
         "The model: took 11 s to load. An answer is running and ends with it. "
         "Another client's answer is running and ends with it."),
        (Status(state="ready", pid=1, load_s=9.0, plan=BIG), False, False, ""),
        (Status(state="sleeping", pid=1, load_s=240.0), False, False, ""),
        (Status(state="stopped", load_s=240.0), False, False, ""),
        (Status(state="ready", pid=1, supervisor_pid=2, load_s=240.0, cause="It hangs."), False, False, ""),
    ],
)  # fmt: skip
def test_what_ends_with_a_server_is_said_with_what_it_costs(
    status: Status, said: str, *, answers: bool, others: bool
) -> None:
    assert questions.loss(status, answers=answers, others_answer=others) == said
