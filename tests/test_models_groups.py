"""The list of models in groups: from the first paint on, without moving a row, at every width; no room on disk."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.style import Style
from textual.widgets import DataTable

from r1tui.catalog.variants import Catalog, Variant
from r1tui.config import Config
from r1tui.listing.overview import MemoryNeeds, ModelEntry, overview
from r1tui.messages import Status
from r1tui.system.paths import Paths
from r1tui.tui.screens import models
from r1tui.tui.screens.listed_models import ListedModels
from r1tui.tui.screens.models import ModelsScreen
from r1tui.tui.widgets.gauges import SIXTEEN
from r1tui.tui.widgets.model_cells import Cells, columns
from r1tui.tui.widgets.model_words import details
from tests.hub_server import Hub
from tests.models_rig import MINE, Listening, hub, roomy, welcome
from tests.screen_rig import ENTRIES
from tests.tui_rig import opened, to_model, until

__all__ = ["hub", "roomy"]
Glanced = Callable[[list[ModelEntry]], None]


def test_a_file_that_is_gone_is_not_listed_by_what_an_earlier_list_knew() -> None:
    found = [Variant(name, file=Path(f"/{name}.gguf")) for name in ("mine", "kept", "gone")]
    catalog = Catalog({"mine": found[0]})
    entries = {one.name: ModelEntry(one, one.file, 1.0, None) for one in found}
    ListedModels(catalog, entries).take_others([found[1]])
    assert [one.name for one in ListedModels(catalog, entries)] == ["mine", "kept"]


def test_a_file_of_ones_own_that_is_gone_is_not_offered_for_download() -> None:
    mine = Variant("mine", "Mine", file=Path("/gone/mine.gguf"))
    said = list(details(ModelEntry(mine, None, None, None), 80, runs=False))
    assert said[-2:] == ["/gone/mine.gguf is not there.", "Nothing can fetch it."]


def test_a_model_that_came_since_an_earlier_list_has_its_number_at_the_first_glance() -> None:
    variant = Variant("new", repo="acme/new", size_gib=1.0)
    listed = ListedModels(Catalog({"new": variant}), {"new": ModelEntry(variant, None, 1.0, "gpu")})
    assert listed.numbered == []
    assert listed.place([ModelEntry(variant, Path("/new.gguf"), 1.0, "gpu")])
    assert listed.numbered == [variant]


@pytest.mark.parametrize("key", ["enter", "before it was checked"])
async def test_a_model_without_room_keeps_the_list_open_and_says_what_is_needed(
    hub: Hub, paths: Paths, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    may_look = threading.Event()

    def look(catalog: Catalog, config: Config, paths: Paths, glanced: Glanced) -> Iterator[ModelEntry]:
        glanced([ModelEntry(one, None, one.size_gib, None) for one in catalog])
        assert may_look.wait(60)
        yield from overview(catalog, config, paths, glanced)

    monkeypatch.setattr(models, "overview", look)
    far = Variant("far", repo="acme/far", pattern="*", size_gib=1e6)
    catalog, taken = Catalog({"far": far, "near": Variant("near", repo="acme/near", size_gib=0.001)}), []
    app = Listening(paths)
    async with opened(app, (80, 24)) as pilot:
        await welcome(app, pilot)
        screen = ModelsScreen(catalog, app.config, app.paths, Status)
        await app.push_screen(screen, lambda variant: taken.append(variant and variant.name))
        if key == "enter":
            may_look.set()
            await until(pilot, lambda: app.rows()[-1:] == ["far"])
        else:
            await until(pilot, lambda: "far" in app.rows())
        app.to("far")
        await pilot.press("enter")
        await until(pilot, lambda: any("far needs 976.6 TiB" in one and "model_folders" in one for one in app.told))
        assert app.screen is screen
        may_look.set()
        app.to("near")
        await pilot.press("enter")
        await until(pilot, lambda: taken == ["near"])


async def test_models_stand_in_their_groups_from_the_first_and_none_moves_under_the_cursor(
    hub: Hub, paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_look = threading.Event()
    glances = [replace(one, plan=None, measured_tps=None) for one in ENTRIES]

    def look(catalog: Catalog, config: Config, paths: Paths, glanced: Glanced) -> Iterator[ModelEntry]:
        glanced(glances)
        assert may_look.wait(60)
        for one in ENTRIES:  # what a glance took to run well does not
            yield replace(one, verdict="disk") if one.variant.name == "llama-70b" else one

    app = Listening(paths)
    async with opened(app, (80, 24)) as pilot:
        await welcome(app, pilot)
        monkeypatch.setattr(models, "overview", look)
        monkeypatch.setattr(models, "other_variants", lambda *_: Catalog({}))
        catalog = Catalog({entry.variant.name: entry.variant for entry in ENTRIES})
        learned: dict[str, ModelEntry] = {}

        async def open_list() -> DataTable[Any]:
            await app.push_screen(ModelsScreen(catalog, app.config, app.paths, Status, learned))
            await until(pilot, lambda: bool(app.screen.query(DataTable)) and bool(app.rows()))
            return app.screen.query_one(DataTable)

        table = await open_list()
        first = ["-here", "demo", "r1-iq1_s", "qwen-7b", "-well", "llama-70b", "-rest", "r1-q2_k_xl"]
        assert app.rows() == first
        assert set(app.verdicts()) == {"  …"}
        assert str(table.get_cell("qwen-7b", "n")) == "3"
        await pilot.press("down")
        await until(pilot, lambda: table.cursor_row == 2)
        may_look.set()
        await until(pilot, lambda: "  …" not in app.verdicts())
        assert str(table.get_cell("llama-70b", "verdict")) == "! ~disk: slow"
        looking = [one for one in app.workers if one.node is app.screen]
        await until(pilot, lambda: all(one.is_finished for one in looking))
        await pilot.pause()
        assert (app.rows(), table.cursor_row) == (first, 2)
        may_look.clear()
        await pilot.press("escape")
        await open_list()  # what was learned is there at once
        assert app.rows() == ["-here", "demo", "r1-iq1_s", "qwen-7b", "-rest", "r1-q2_k_xl", "llama-70b"]
        assert "  …" not in app.verdicts()
        may_look.set()


@pytest.mark.parametrize(
    ("size", "needs", "title"),
    [
        ((60, 20), "45 %", "DeepSeek-R1 671B, dynamic 1.58 bit · fair"),
        ((80, 24), "45 %", "DeepSeek-R1 671B, dynamic 1.58 bit · fair · ~ 4.1 to 9.3 tokens/s"),
        ((120, 40), "", "DeepSeek-R1 671B, dynamic 1.58 bit · fair · ~ 4.1 to 9.3 tokens/s"),
        ((160, 40), "", "DeepSeek-R1 671B, dynamic 1.58 bit · fair · ~ 4.1 to 9.3 tokens/s"),
        ((200, 60), "", "DeepSeek-R1 671B, dynamic 1.58 bit · fair · ~ 4.1 to 9.3 tokens/s"),
    ],
)
async def test_the_list_leaves_all_of_the_instruments_in_view_or_nothing(
    monkeypatch: pytest.MonkeyPatch, paths: Paths, size: tuple[int, int], needs: str, title: str
) -> None:
    monkeypatch.setattr(models, "overview", lambda *_: iter(ENTRIES))
    app = Listening(paths)
    async with opened(app, size) as pilot:
        catalog = Catalog({entry.variant.name: entry.variant for entry in ENTRIES})
        await app.push_screen(ModelsScreen(catalog, MINE, paths, lambda: Status(variant="r1-iq1_s")))
        await to_model(app, pilot, "r1-iq1_s")
        await until(pilot, lambda: app.detail().split("\n")[0] == title)
        table, box = app.screen.query_one(DataTable), app.screen.query_one("ModelsScreen > Vertical")
        await until(pilot, lambda: str(table.get_cell("r1-iq1_s", "needs")).strip(" ▏▎▍▌▋▊▉█") == needs)
        assert table.virtual_size.width <= table.size.width
        panel = app.chat.instruments.region
        assert box.region.width == size[0] or (box.region.right <= panel.x and panel.right == size[0])
        assert (box.region.width == size[0]) == (size[0] < 154)


@pytest.mark.parametrize(("ram_gib", "said"), [(1, "0 %"), (100, "50 %"), (1990, "995 %"), (3000, "15 ×")])
def test_a_narrow_column_says_how_much_of_the_memory_a_model_needs(ram_gib: int, said: str) -> None:
    entry = replace(ENTRIES[0], needs_by_size=MemoryNeeds(0, 0, ram_gib << 10, 200 << 10))
    cells = Cells(columns(54), SIXTEEN, lambda _: Style(), None).of(entry)
    assert cells["needs"].plain.split(" ", 1)[1].strip() == said
    assert cells["needs"].cell_len == 8


@pytest.mark.parametrize(
    ("speed", "said"), [("~ 0.95 to 3.7", "~0.9–3.7"), ("~ 0.44 to 0.72", "~0.4–0.7"), ("~ 130 to 480", "~130–480")]
)
def test_an_expected_speed_is_marked_as_such_in_a_narrow_column_too(
    monkeypatch: pytest.MonkeyPatch, speed: str, said: str
) -> None:
    monkeypatch.setattr(ModelEntry, "speed", property(lambda _: speed))
    cells = Cells(columns(54), SIXTEEN, lambda _: Style(), None).of(ModelEntry(Variant("mine"), None, 1.0, "cpu"))
    assert cells["tps"].plain == said
