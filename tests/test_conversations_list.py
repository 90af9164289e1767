"""The list of conversations: those of one name, pages, and the cursor, which stays where it is."""

from itertools import count
from pathlib import Path

import pytest
from textual.widgets import DataTable, Label

from r1tui.chat.answer import Answer
from r1tui.chat.store import Store
from r1tui.system.paths import Paths
from r1tui.tui.screens import conversations
from tests.listed_rig import NOW_S
from tests.store_rig import said, whole
from tests.test_conversations_screen import Listening, keep, listed, names
from tests.tui_rig import opened, until

LABEL = "ConversationsScreen > Vertical > Label"


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_those_of_one_name_are_told_apart_by_their_last_questions(
    paths: Paths, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]
) -> None:
    clock_s = count(NOW_S)  # which no midnight comes between
    for reader in ("r1tui.chat.rows.time", "r1tui.tui.screens.conversations.time"):
        monkeypatch.setattr(reader, lambda: next(clock_s))
    longer = said("c2", "Why birds?")
    longer.ask("And fish?\n\x1b[31m[b]Really?").answer = Answer.past("Yes.")
    keep(paths, said("c1", "Why birds?"), longer)
    app = Listening(paths)
    async with opened(app, size) as pilot:
        screen = await listed(app, pilot, "Why birds?", "Why birds?")
        table = screen.query_one(DataTable)
        rows = [[str(cell).strip() for cell in table.get_row_at(row)] for row in range(2)]
        if size[0] >= 120:
            assert [row.pop(1) for row in rows] == ["And fish? [b]Really?", ""]
        assert [row[1] for row in rows] == ["today 18:30"] * 2
        assert [row[2] for row in rows] == ["2", "1"]
        assert "And fish? [b]Really?" in str(screen.query_one(LABEL, Label).render())
        assert not table.show_horizontal_scrollbar


def test_the_last_question_is_the_one_at_the_end_of_the_shown_path(tmp_path: Path) -> None:
    one = said("c1", "a")
    first = one.ask("  b " + "long " * 100)
    one.ask_instead(first, "c")
    with Store(tmp_path) as store:
        store.write([whole(one), whole(said("c2", "x"))])
        assert {listed.id: listed.last_question for listed in store.newest()} == {"c1": "c", "c2": ""}
        one.show(first)
        store.write([whole(one)])
        (found,) = [listed for listed in store.search("long") if listed.id == "c1"]
        assert found.last_question.startswith("b long long")
        assert len(found.last_question) <= 200


async def test_the_cursor_stays_where_it_is_among_what_was_found(paths: Paths) -> None:
    asked = ("Fish?", "Old birds?", "Big birds?", "Small birds?")
    keep(paths, *(said(question, question) for question in asked))
    app = Listening(paths)
    async with opened(app) as pilot:
        screen = await listed(app, pilot, *reversed(asked))
        await pilot.press("slash", *"birds")
        await until(pilot, lambda: len(names(app)) == 3)
        found = names(app)
        await pilot.press("down", "down", "d")  # the first goes to the list
        await listed(app, pilot, found[0], found[2])
        assert screen.cursor == 1
        await pilot.press("d")
        await listed(app, pilot, found[0])


async def test_thousands_are_read_a_page_at_a_time(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversations, "PAGE", 10)
    keep(paths, *(said(f"c{number}", f"number {number}") for number in range(25)))
    app = Listening(paths)
    everything = [f"number {number}" for number in reversed(range(25))]
    async with opened(app, (80, 24)) as pilot:
        await listed(app, pilot, *everything[:10])
        await pilot.press("ctrl+end")
        await until(pilot, lambda: names(app) == everything[:20])
        await pilot.press("ctrl+end")
        await until(pilot, lambda: names(app) == everything)
        assert app.screen.query_one(DataTable).cursor_row == 19
        await pilot.press("slash", *"numb")
        await until(pilot, lambda: names(app) == everything[:10])
