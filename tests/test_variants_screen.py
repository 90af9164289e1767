"""The list of models by its keys, over a hub of the test's own: what it shows, asking the hub, deleting."""

import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from textual.widgets import DataTable, Static

from r1tui.catalog.variants import Catalog, Variant
from r1tui.config import Config, VariantSettings
from r1tui.hub.local.folders import NoRoomError
from r1tui.hub.local.found import find_model
from r1tui.listing.overview import ModelEntry, overview
from r1tui.listing.recommend import Recommendation, Surroundings
from r1tui.machine.hardware import Machine
from r1tui.machine.nvml import Gpu, Nvidia
from r1tui.messages import Status
from r1tui.system.paths import Paths
from r1tui.tui.controllers.models import ModelController
from r1tui.tui.screens import models
from r1tui.tui.screens.dialogs import AskScreen
from r1tui.tui.screens.models import ModelsScreen
from r1tui.tui.widgets.key_line import KeyLine
from tests.conftest import TinyModel
from tests.hub_server import Hub
from tests.models_rig import MINE, REPO, Listening, checked, hub, roomy, welcome
from tests.roomy import ROOMY
from tests.screen_rig import ENTRIES
from tests.tui_rig import opened, to_model, until

__all__ = ["hub", "roomy"]
Glanced = Callable[[list[ModelEntry]], None]


async def test_a_key_asks_the_hub_and_the_verdict_is_exact(hub: Hub, paths: Paths) -> None:
    app = Listening(paths)
    async with opened(app, (80, 24)) as pilot:
        await to_model(app, pilot, "mine")
        await until(pilot, lambda: app.cell("verdict") == "? ")
        await pilot.press("r")
        await until(pilot, lambda: app.cell("verdict") == "✓ RAM")
        assert app.cell("size").strip()
        assert app.cell("here") == ""
        await until(pilot, lambda: "GiB RAM" in app.detail() and "Size from the hub" in app.detail())
        assert find_model(app.services.models.catalog.find("mine"), paths, MINE) is None


@pytest.fixture
def may_advise(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Set when the first list may give its advice."""
    event = threading.Event()
    monkeypatch.setattr(models, "detect_machine", lambda: event.wait(120) and ROOMY)
    yield event
    event.set()


async def test_advice_and_keys_heed_a_cursor_that_moved_just_now(
    hub: Hub, paths: Paths, may_advise: threading.Event
) -> None:
    app = Listening(paths)
    async with opened(app, (80, 24)) as pilot:
        screen, catalog = await checked(app, pilot), app.services.models.catalog
        await to_model(app, pilot, "mine")  # the screen has no event of it yet
        screen._tell_advice("This machine", Recommendation(catalog.find("llama-8b"), "It fits."))
        assert screen.check_action("ask_hub", ())
        screen.action_ask_hub()
        assert "Reading mine from the hub…" in app.told
        await until(pilot, lambda: app.cell("verdict") == "✓ RAM")
        assert "Mine" in app.detail()
        may_advise.set()


async def test_advice_leaves_a_cursor_that_came_back_to_the_first_model(
    hub: Hub, paths: Paths, may_advise: threading.Event
) -> None:
    app = Listening(paths)
    async with opened(app, (80, 24)) as pilot:
        screen = await checked(app, pilot)
        first, row = app.detail(), screen.cursor
        await pilot.press("down")
        await until(pilot, lambda: app.detail() != first)
        await pilot.press("up")
        await until(pilot, lambda: app.detail() == first)
        may_advise.set()
        await until(pilot, lambda: screen.recommended is not None)
        await pilot.pause()
        assert (screen.cursor, app.detail()) == (row, first)


async def test_a_list_that_is_left_while_it_looks_ends_in_silence(
    hub: Hub, paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked, left = threading.Event(), threading.Event()

    def slowly(catalog: Catalog, config: Config, paths: Paths, glanced: Glanced) -> Iterator[ModelEntry]:
        glanced([ModelEntry(one, None, one.size_gib, None) for one in catalog])
        yield from overview(Catalog({"demo": catalog.find("demo")}), MINE, paths)
        looked.set()
        left.wait(120)

    monkeypatch.setattr(models, "overview", slowly)
    app = Listening(paths)
    async with opened(app, (80, 24)) as pilot:
        await until(pilot, looked.is_set)
        await to_model(app, pilot, "mine")
        screen = app.screen
        assert isinstance(screen, ModelsScreen)
        await until(pilot, lambda: "Checking…" in app.detail())
        assert "Not on this machine" not in app.detail()
        await app.pop_screen()
        screen._show(ModelEntry(app.services.models.catalog.find("mine"), None, None, None))
        left.set()
        await pilot.pause()
        assert not [text for text in app.told if "unexpected" in text]


async def test_a_refusal_of_the_hub_is_told_with_its_remedy_and_the_list_stays(hub: Hub, paths: Paths) -> None:
    hub.repositories[REPO].refusal = (403, "GatedRepo")
    app = Listening(paths)
    async with opened(app, (80, 24)) as pilot:
        await to_model(app, pilot, "mine")
        await until(pilot, lambda: app.cell("verdict") == "? ")
        await pilot.press("r")
        await until(pilot, lambda: any("Accept the licence" in text for text in app.told))
        assert app.cell("verdict") == "? "


async def test_a_key_is_there_where_it_does_something_for_the_model_at_the_cursor(
    hub: Hub, paths: Paths, tiny_r1: TinyModel
) -> None:
    file = paths.models / REPO / "Tiny-R1-Q8_0.gguf"
    file.parent.mkdir(parents=True)
    file.write_bytes(hub.repositories[REPO].files[file.name])
    app = Listening(paths)
    app.config = Config(variants={**MINE.variants, "own": VariantSettings(file=str(tiny_r1()))})
    async with opened(app, (80, 24)) as pilot:
        await to_model(app, pilot, "mine")
        await until(pilot, lambda: app.cell("here") == "on disk")
        offered = {}
        for name in ("demo", "r1-iq1_s", "mine", "own"):
            app.to(name)
            title = app.services.models.catalog.find(name).title or name
            said = (title, f"{name} needs ")  # the disk of the test may have no room for it
            await until(pilot, lambda said=said: any(one in app.detail() for one in said))  # type: ignore[misc]
            offered[name] = app.screen.active_bindings.keys() & {"d", "r"}
        assert offered == {"demo": set(), "r1-iq1_s": {"r"}, "mine": {"d", "r"}, "own": set()}
        await pilot.press("d", "r")
        await pilot.pause()
        assert not isinstance(app.screen, AskScreen)
        assert not any("from the hub…" in text for text in app.told)


async def test_a_key_deletes_after_a_question(hub: Hub, paths: Paths) -> None:
    app = Listening(paths)
    file = paths.models / REPO / "Tiny-R1-Q8_0.gguf"
    file.parent.mkdir(parents=True)
    file.write_bytes(hub.repositories[REPO].files[file.name])
    async with opened(app, (80, 24)) as pilot:
        await to_model(app, pilot, "mine")
        await until(pilot, lambda: str(file) in app.detail())
        await pilot.press("d")
        await until(pilot, lambda: isinstance(app.screen, AskScreen))
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, ModelsScreen))
        assert file.exists()
        await pilot.press("d")
        await until(pilot, lambda: isinstance(app.screen, AskScreen))
        await pilot.press("y")
        await until(pilot, lambda: any("mine is deleted: " in text for text in app.told))
        assert not file.exists()
        await until(pilot, lambda: app.cell("here") == "" and "d" not in app.screen.active_bindings)


@pytest.mark.parametrize("size", [(60, 16), (80, 24), (120, 40)])
async def test_the_details_have_their_room_at_every_size(hub: Hub, paths: Paths, size: tuple[int, int]) -> None:
    app = Listening(paths)
    async with opened(app, size) as pilot:
        await to_model(app, pilot, "mine")
        await until(pilot, lambda: "Mine" in app.detail())
        table, details = app.screen.query_one(DataTable), app.screen.query_one("ModelsScreen > Vertical > Label")
        assert details.region.bottom <= size[1] - 2
        assert details.region.y >= table.region.bottom
        assert table.size.height >= 5


async def test_a_digit_that_comes_before_the_models_are_checked_takes_its_model_then(
    hub: Hub, paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_look = threading.Event()

    def look(*_: object) -> Iterator[ModelEntry]:
        assert may_look.wait(120)
        yield from ENTRIES

    app = Listening(paths)
    async with opened(app, (80, 24)) as pilot:
        await welcome(app, pilot)
        monkeypatch.setattr(models, "overview", look)
        monkeypatch.setattr(models, "other_variants", lambda *_: Catalog({}))
        taken: list[Variant | None] = []
        catalog = Catalog({entry.variant.name: entry.variant for entry in ENTRIES})
        await app.push_screen(ModelsScreen(catalog, app.config, app.paths, Status), taken.append)
        await until(pilot, lambda: app.detail() == "Checking the models…")
        await pilot.press("2")
        await until(pilot, lambda: "Number 2 starts" in app.detail())
        may_look.set()
        await until(pilot, lambda: bool(taken))
    here = [entry.variant.name for entry in ENTRIES if entry.path is not None]
    assert [one and one.name for one in taken] == [here[1]]


async def test_a_model_that_no_variant_means_has_a_row_and_can_be_taken(
    hub: Hub, paths: Paths, tiny_r1: TinyModel, tmp_path: Path
) -> None:
    name = "another-model-with-a-long-name"
    own = paths.models / "me/Other-GGUF" / f"{name}.gguf"
    own.parent.mkdir(parents=True)
    own.symlink_to(tiny_r1())
    app = Listening(paths)
    async with opened(app, (80, 24)) as pilot:
        screen = await welcome(app, pilot)
        await until(pilot, lambda: screen.recommended is not None)  # which moves a cursor that nobody has moved
        await to_model(app, pilot, name)
        table = app.screen.query_one(DataTable)
        await until(pilot, lambda: str(own) in app.detail())
        assert str(table.get_cell(name, "verdict")) == "✓ RAM"
        assert str(table.get_cell(name, "name")) == "  anoth…-long-name"
        taken: list[Variant | None] = []
        await app.push_screen(ModelsScreen(app.services.models.catalog, app.config, app.paths, Status), taken.append)
        await to_model(app, pilot, name)
        await until(pilot, lambda: str(own) in app.detail())
        await pilot.press("enter")
        await until(pilot, lambda: bool(taken))
        assert taken[0] is not None
        assert taken[0].file == own


async def test_without_a_model_one_is_recommended_and_enter_brings_it_up(
    hub: Hub, paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = Listening(paths)
    brought: list[tuple[str, bool]] = []
    monkeypatch.setattr(ModelController, "launch", lambda _, variant, replace: brought.append((variant.name, replace)))
    async with opened(app, (80, 24)) as pilot:
        screen = await welcome(app, pilot)
        await until(pilot, lambda: screen.recommended is not None)
        said = str(screen.query_one("#welcome", Static).render())
        assert "Here: " in said
        assert f"Start with {screen.recommended}: " in said
        table = screen.query_one(DataTable)
        assert table.get_row_at(table.cursor_row)[1].plain.strip() == screen.recommended
        await pilot.press("enter")
        await until(pilot, lambda: brought == [(screen.recommended, False)])


async def test_the_details_of_the_model_that_runs_offer_no_start(monkeypatch: pytest.MonkeyPatch, paths: Paths) -> None:
    monkeypatch.setattr(models, "overview", lambda *_: iter(ENTRIES))
    running = Status(state="ready", pid=1, variant="r1-iq1_s")
    app = Listening(paths)
    async with opened(app) as pilot:
        catalog = Catalog({entry.variant.name: entry.variant for entry in ENTRIES})
        await app.push_screen(models.ModelsScreen(catalog, MINE, paths, lambda: running))
        await until(pilot, lambda: isinstance(app.screen, models.ModelsScreen) and "It runs now." in app.detail())
        await to_model(app, pilot, "demo")
        await until(pilot, lambda: "Enter starts it." in app.detail())


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_the_speed_of_the_recommended_model_is_seen_at_every_size(
    hub: Hub, paths: Paths, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]
) -> None:
    far = [replace(entry, path=None, owner=None) for entry in ENTRIES]
    monkeypatch.setattr(models, "overview", lambda *_: iter(far))
    h100 = Gpu(0, "NVIDIA H100", "", 80 << 30, 79 << 30, 1 << 30, (9, 0))
    machine = Machine("EPYC", 32, 64, 256 << 30, 240 << 30, Nvidia((h100,)), ())
    monkeypatch.setattr(models, "detect_machine", lambda: machine)
    monkeypatch.setattr(models, "surroundings", lambda *_: Surroundings(900 << 30, 200.0))
    app = Listening(paths)
    async with opened(app, size) as pilot:
        screen = models.WelcomeScreen(
            Catalog({entry.variant.name: entry.variant for entry in far}), MINE, paths, Status
        )
        app.push_screen(screen)
        await until(pilot, lambda: screen.recommended == "r1-iq1_s")
        table = screen.query_one(DataTable)
        row = "".join(segment.text for segment in table.render_line(table.cursor_row + 1))
        assert re.search(r"r1-iq1_s .*~4\.1(–| to )9\.3", row)
        assert "R estimates its speed" not in str(screen.query_one("#welcome", Static).render())
        variant, plan = replace(far[1].variant, repo="acme/R1"), far[1].plan
        for sketch in (None, plan):  # without and with a speed by its published dimensions
            far[1] = replace(far[1], variant=variant, plan=None, sketch=sketch)
            screen = models.WelcomeScreen(
                Catalog({entry.variant.name: entry.variant for entry in far}), MINE, paths, Status
            )
            app.push_screen(screen)
            await until(pilot, lambda screen=screen: screen.recommended == "r1-iq1_s")  # type: ignore[misc]
            offers = "R estimates its speed" in screen.query_one("#welcome").render_line(2).text
            assert offers == (sketch is None)


async def test_with_a_model_here_the_list_is_shown_with_this_machine_and_no_advice(
    hub: Hub, paths: Paths, tiny_r1: TinyModel
) -> None:
    app = Listening(paths)
    app.config = Config(variants={"mine": VariantSettings(file=str(tiny_r1()))})
    async with opened(app, (120, 40)) as pilot:
        screen = await welcome(app, pilot)
        await until(pilot, lambda: "Here: " in str(screen.query_one("#welcome", Static).render()))
        assert screen.recommended is None
        assert "Enter starts it" in str(screen.query_one("#welcome", Static).render())


FAR = NoRoomError(66 << 30, "r1-q2_k_xl needs 212.2 GiB; /m has 146.0 GiB free.", "Make /mnt/big/models, and so on.")


@pytest.mark.parametrize("size", [(60, 20), (80, 24), (120, 40)])
async def test_what_is_here_comes_first_and_digits_are_for_it_alone(
    hub: Hub, paths: Paths, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]
) -> None:
    far = replace(ENTRIES[2], verdict="hybrid", no_room=FAR, plan=ENTRIES[1].plan)
    known = (ENTRIES[4], far, *ENTRIES[:2], ENTRIES[3])
    monkeypatch.setattr(models, "overview", lambda *_: iter(known))
    monkeypatch.setattr(models, "other_variants", lambda *_: Catalog({}))
    app = Listening(paths)
    async with opened(app, size) as pilot:
        taken: list[Variant | None] = []
        catalog = Catalog({entry.variant.name: entry.variant for entry in known})
        listed = ["-here", "demo", "r1-iq1_s", "qwen-7b", "-well", "llama-70b", "-rest", "r1-q2_k_xl"]

        async def open_list() -> DataTable[Any]:
            await app.push_screen(ModelsScreen(catalog, app.config, app.paths, Status), taken.append)
            await until(pilot, lambda: app.rows() == listed)
            return app.screen.query_one(DataTable)

        table = await open_list()
        assert [str(table.get_cell(name, "n")) for name in listed if not name.startswith("-")] == [
            "1",
            "2",
            "3",
            "",
            "",
        ]
        verdicts = [str(table.get_cell(name, "verdict")) for name in ("demo", "r1-iq1_s", "r1-q2_k_xl")]
        assert verdicts[0] == "✓ ~VRAM"
        assert verdicts[1].replace(" + ", "+") == "✓ VRAM+RAM"
        assert verdicts[2] == "✗ disk full"
        assert table.virtual_size.width <= table.size.width  # nothing lies beside the screen
        app.to("r1-q2_k_xl")
        await until(pilot, lambda: "GiB RAM" in app.detail())  # a full disk leaves room for what it would need
        await until(pilot, lambda: "Make /mnt/big/models" in " ".join(app.detail().split()))
        keys = (("g", "demo"), ("G", "r1-q2_k_xl"), ("home", "demo"), ("end", "r1-q2_k_xl"), ("k", "llama-70b"))
        for key, name in keys:
            await pilot.press(key)
            await until(pilot, lambda name=name: table.cursor_row == table.get_row_index(name))  # type: ignore[misc]
        await pilot.press("j")
        await until(pilot, lambda: table.cursor_row == table.get_row_index("r1-q2_k_xl"))
        assert "Start" in app.screen.query_one(KeyLine).render_line(0).text
        await pilot.press("4")
        await pilot.pause()
        assert not taken
        await pilot.press("3")
        await until(pilot, lambda: [one and one.name for one in taken] == ["qwen-7b"])
        await open_list()
        app.to("llama-70b")
        await pilot.press("enter")
        await until(pilot, lambda: [one and one.name for one in taken] == ["qwen-7b", "llama-70b"])
