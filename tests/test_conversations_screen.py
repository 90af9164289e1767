"""The list of conversations by its keys: opening, searching, renaming, deleting and bringing back, exporting."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import DataTable, Label

from r1tui.catalog.variants import variant_of_file
from r1tui.chat.answer import Answer
from r1tui.chat.conversation import Conversation, Exchange
from r1tui.chat.rows import Tracker
from r1tui.chat.store import Store
from r1tui.config import Config
from r1tui.server.endpoint import Endpoint
from r1tui.supervisor import client as supervisor
from r1tui.system.paths import Paths
from r1tui.tui.app import R1App
from r1tui.tui.remedies import in_keys
from r1tui.tui.screens.chat import ChatScreen
from r1tui.tui.screens.conversations import ConversationsScreen
from r1tui.tui.screens.dialogs import AskScreen, LineScreen, SaveScreen
from r1tui.tui.widgets.key_line import KeyLine
from r1tui.tui.widgets.prompt import Prompt
from tests.bare_server import LONG, bare_server
from tests.conftest import TinyModel
from tests.ptys import Terminal
from tests.stored import conversations as stored
from tests.stored import last_states
from tests.supervisor_rig import until as wait_until
from tests.tui_rig import answers, ask, config, fill, opened, ready, until

__all__ = ["config"]


class Listening(R1App):
    """The app, attached to nothing that answers; it keeps what it told the user."""

    def __init__(self, paths: Paths) -> None:
        super().__init__(paths, Config(), attach=Endpoint.parse(f"unix:{paths.run}/none.sock"))
        self.told: list[str] = []

    def notify(self, message: str, **options: Any) -> None:
        self.told.append(in_keys(message, self))
        super().notify(message, **options)


def keep(paths: Paths, *kept: Conversation) -> None:
    """Put these on disk, the last one being the newest."""
    with Store(paths.conversations) as store:
        store.write([changes for one in kept if (changes := Tracker(one).changes()) is not None])


def said(conversation_id: str, question: str, answer: str = "so") -> Conversation:
    return Conversation(conversation_id, [Exchange(question, Answer.past(answer, "a hidden thought"))])


@pytest.fixture
def app(paths: Paths) -> Listening:
    keep(paths, said("c1", "Why birds?", "Birds can fly."), said("c2", "What is a heron?"), said("c3", "Fish?"))
    return Listening(paths)


def names(app: R1App) -> list[str]:
    """The names in the list, as they are shown."""
    screen = app.screen
    if not isinstance(screen, ConversationsScreen):
        return []
    table = screen.query_one(DataTable)
    return [str(table.get_row_at(row)[0]).split("\n")[0].strip() for row in range(table.row_count)]


async def listed(app: R1App, pilot: Pilot[None], *wanted: str) -> ConversationsScreen:
    """The list, once it shows these."""
    if not isinstance(app.screen, ConversationsScreen):
        await pilot.press("ctrl+l")
    await until(pilot, lambda: names(app) == list(wanted))
    assert isinstance(app.screen, ConversationsScreen)
    return app.screen


ALL = ("Fish?", "What is a heron?", "Why birds?")


async def test_a_key_lists_them_and_enter_opens_one(app: Listening) -> None:
    async with opened(app) as pilot:
        await listed(app, pilot, *ALL)
        await pilot.press("down", "down", "enter")
        await until(
            pilot, lambda: [exchange.question for exchange in app.chat.conversation.exchanges] == ["Why birds?"]
        )
        assert isinstance(app.screen, ChatScreen)
        screen = await listed(app, pilot, *ALL)
        assert [str(screen.query_one(DataTable).get_row_at(row)[-1]) for row in range(3)] == ["", "", "shown"]
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, ChatScreen))
        assert [exchange.question for exchange in app.chat.conversation.exchanges] == ["Why birds?"]


async def test_what_is_typed_is_searched_for_and_the_passage_is_shown(app: Listening) -> None:
    async with opened(app, (80, 24)) as pilot:
        screen = await listed(app, pilot, *ALL)
        await pilot.press("slash", *"can fl")
        await until(pilot, lambda: names(app) == ["Why birds?"])
        keys = screen.query_one(KeyLine)
        assert "Search" not in keys.render_line(0).text  # its key is typed here
        await until(pilot, lambda: "⏎ Open" in keys.render_line(0).text)
        assert "Birds can fly." in str(screen.query_one(DataTable).get_row_at(0)[0])
        await pilot.press(*"x(")
        await until(pilot, lambda: names(app) == [])
        assert "No matches" in str(screen.query_one("ConversationsScreen > Vertical > Label", Label).render())
        await pilot.press("escape")
        await until(pilot, lambda: names(app) == list(ALL))
        await pilot.press("slash", *"HERON", "enter")  # at once, before anything is found
        await until(pilot, lambda: isinstance(app.screen, ChatScreen))
        await until(pilot, lambda: app.chat.conversation.id == "c2")


async def test_a_title_can_be_given_and_taken_away(app: Listening, paths: Paths) -> None:
    async with opened(app) as pilot:
        await listed(app, pilot, *ALL)
        for title, wanted in (("  Big  fish", "Big fish"), ("", "Fish?")):
            await pilot.press("r")
            await fill(app, pilot, LineScreen, title)
            await pilot.press("enter")
            await listed(app, pilot, wanted, *ALL[1:])
        await pilot.press("enter")
        await until(pilot, lambda: app.chat.conversation.id == "c3")
        await listed(app, pilot, *ALL)
        await pilot.press("r")
        await until(pilot, lambda: isinstance(app.screen, LineScreen))
        await pilot.press(*"[b]!", "enter")
        await listed(app, pilot, "Fish?[b]!", *ALL[1:])
        assert app.chat.conversation.title == "Fish?[b]!"
        await pilot.press("r")
        await until(pilot, lambda: isinstance(app.screen, LineScreen))
        await pilot.press("escape")
        await listed(app, pilot, "Fish?[b]!", *ALL[1:])
    assert [one.name for one in stored(paths)] == ["Fish?[b]!", *ALL[1:]]


@pytest.mark.parametrize("key", ["u", "ctrl+z"])
async def test_a_deleted_one_is_brought_back_with_a_key(app: Listening, paths: Paths, key: str) -> None:
    def on_the_second() -> bool:
        return isinstance(app.screen, ConversationsScreen) and app.screen.cursor == 1

    async with opened(app) as pilot:
        await listed(app, pilot, *ALL)
        await pilot.press("down", "d")
        await listed(app, pilot, "Fish?", "Why birds?")
        await until(pilot, lambda: any("U restores it" in text for text in app.told))
        await pilot.press("d")
        await listed(app, pilot, "Fish?")
        for there in (("Fish?", "Why birds?"), ALL):
            await pilot.press(key)
            await listed(app, pilot, *there)
            await until(pilot, on_the_second)  # which came back
        await pilot.press(key)
        await until(pilot, lambda: any("No conversation was deleted" in text for text in app.told))


async def test_the_one_that_is_shown_can_be_deleted_too(app: Listening) -> None:
    async with opened(app) as pilot:
        await listed(app, pilot, *ALL)
        await pilot.press("enter")
        await until(pilot, lambda: app.chat.conversation.id == "c3")
        await listed(app, pilot, *ALL)
        await pilot.press("d")
        await listed(app, pilot, *ALL[1:])
        assert app.chat.conversation.exchanges == []
        await pilot.press("u")
        await listed(app, pilot, *ALL)


@pytest.mark.parametrize(
    ("key", "suffix", "wanted", "no"),
    [
        ("m", "md", "## Question\n\nFish?\n\n## Answer\n\nso", "hidden"),
        ("t", "md", "> a hidden thought", "{"),
        ("j", "json", '"thinking": "a hidden thought"', "##"),
    ],
)
async def test_a_conversation_is_exported_and_no_file_is_replaced_unasked(
    app: Listening,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    key: str,
    suffix: str,
    wanted: str,
    no: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / f"Fish.{suffix}"

    async def export(pilot: Pilot[None]) -> None:
        await listed(app, pilot, *ALL)
        await pilot.press("x")
        await until(pilot, lambda: isinstance(app.screen, AskScreen))
        await pilot.press(key)
        await fill(app, pilot, SaveScreen, str(file))  # not as offered, of which another becomes the offer
        await pilot.press("enter")

    async with opened(app) as pilot:
        await export(pilot)
        await until(pilot, lambda: any("Written to" in text for text in app.told))
        assert wanted in file.read_text()
        assert no not in file.read_text()
        file.write_text("precious")
        for answer, content in (("escape", "precious"), ("o", "so")):
            app.told.clear()
            await export(pilot)
            await until(pilot, lambda: isinstance(app.screen, AskScreen))
            assert file.read_text() == "precious"
            await pilot.press(answer)
            if answer == "escape":
                await until(pilot, lambda: isinstance(app.screen, SaveScreen))
                await pilot.press("escape")
            await until(pilot, lambda: isinstance(app.screen, ConversationsScreen))
            await until(pilot, lambda content=content: content in file.read_text())  # type: ignore[misc]


async def test_an_export_that_fails_says_why(app: Listening, tmp_path: Path) -> None:
    async with opened(app) as pilot:
        await listed(app, pilot, *ALL)
        await pilot.press("x")
        await until(pilot, lambda: isinstance(app.screen, AskScreen))
        await pilot.press("j")
        await fill(app, pilot, SaveScreen, "/proc/x.json")
        await pilot.press("enter")
        await until(pilot, lambda: "No such file" in str(app.screen.query_one(".wrong", Label).render()))


async def test_one_that_is_open_elsewhere_is_marked_and_only_read(app: Listening, paths: Paths) -> None:
    other = Store(paths.conversations)
    assert other.open("c2") is not None
    async with opened(app) as pilot:
        screen = await listed(app, pilot, *ALL)
        assert str(screen.query_one(DataTable).get_row_at(1)[-1]) == "open elsewhere"
        await pilot.press("down", "d")
        await until(pilot, lambda: any("open in another r1tui" in text for text in app.told))
        await pilot.press("enter")
        await until(pilot, lambda: app.chat.conversation.id == "c2")
        await until(pilot, lambda: any("read-only here" in text for text in app.told))
        app.chat.query_one(Prompt).text = "and?"
        await pilot.press("enter")
        await until(pilot, lambda: any("Ctrl+N: a new one" in text for text in app.told))
        assert app.chat.query_one(Prompt).text == "and?"
        other.close()
        await pilot.press("ctrl+n")
        await listed(app, pilot, *ALL)
        await pilot.press("down", "enter")
        await until(pilot, lambda: app.chat.conversation.id == "c2")
        assert app.services.saved.elsewhere(app.chat.conversation) is None


async def test_one_that_is_shown_to_be_read_only_is_exported_and_stays_when_it_cannot_be_deleted(
    app: Listening, paths: Paths, tmp_path: Path
) -> None:
    other = Store(paths.conversations)
    assert other.open("c2") is not None
    async with opened(app) as pilot:
        await listed(app, pilot, *ALL)
        await pilot.press("down", "enter")
        await until(pilot, lambda: app.chat.conversation.id == "c2")
        shown = app.chat.conversation
        await listed(app, pilot, *ALL)
        await pilot.press("down", "x")
        await until(pilot, lambda: isinstance(app.screen, AskScreen))
        await pilot.press("m")
        await fill(app, pilot, SaveScreen, str(tmp_path / "heron.md"))
        await pilot.press("enter")
        await until(pilot, lambda: any("Written to" in text for text in app.told))
        assert "What is a heron?" in (tmp_path / "heron.md").read_text()
        assert not any("close it there first" in text for text in app.told)
        await listed(app, pilot, *ALL)
        await pilot.press("d")
        await until(pilot, lambda: any("close it there first" in text for text in app.told))
        await listed(app, pilot, *ALL)
        assert app.chat.conversation is shown
        other.close()
        await pilot.press("d")
        await listed(app, pilot, "Fish?", "Why birds?")
        assert app.chat.conversation.exchanges == []


async def test_an_empty_conversation_is_not_kept(app: Listening, paths: Paths) -> None:
    async with opened(app) as pilot:
        await pilot.press("ctrl+n")
        await listed(app, pilot, *ALL)
    assert len(stored(paths)) == 3


async def test_a_damaged_database_is_told_and_the_chat_goes_on(app: Listening, paths: Paths) -> None:
    (paths.conversations / "conversations.db").write_bytes(b"nothing" * 1000)
    async with opened(app) as pilot:
        await until(pilot, lambda: any("damaged" in text and ".recover" in text for text in app.told))
        await listed(app, pilot)


@pytest.mark.parametrize("attached", [True, False])
async def test_an_answer_goes_on_and_is_saved_while_another_conversation_is_shown(
    paths: Paths, config: Config, tiny_r1: TinyModel, llama_server: Path, tmp_path: Path, *, attached: bool
) -> None:
    model = tiny_r1(answer="one two three four " * 20)
    keep(paths, said("c1", "Old?"))
    with bare_server(llama_server, model, tmp_path) as (socket, _):
        attach = Endpoint.parse(f"unix:{socket}") if attached else None
        app = R1App(paths, config, attach=attach, variant=None if attached else variant_of_file(model))
        async with opened(app) as pilot:
            await ready(app, pilot) if not attached else None
            await pilot.press("ctrl+n")
            answer = await ask(app, pilot, "New?")
            asked = app.chat.conversation
            await until(pilot, lambda: bool(answer.content))
            await listed(app, pilot, "New?", "Old?")
            await pilot.press("down", "enter")
            await until(pilot, lambda: app.chat.conversation.id == "c1")
            if answer.running:
                app.chat.query_one(Prompt).text = "and?"
                await pilot.press("enter")
                await pilot.pause()
                assert app.chat.query_one(Prompt).text == "and?" or not answer.running
            await until(pilot, lambda: answer.state == "done" and app.chat.answers.receiving is None)
            assert answer.content.text.split() == ["one", "two", "three", "four"] * 20
            assert [one.question for one in app.chat.conversation.exchanges][:1] == ["Old?"]
            await until(pilot, lambda: last_states(paths)[0] == "done")
            await listed(app, pilot, "New?", "Old?")
            await pilot.press("up", "enter")
            await until(pilot, lambda: app.chat.conversation.id == asked.id)
            assert answers(app)[0].content.text == answer.content.text
    if not attached:
        supervisor.stop(paths)


async def test_coming_back_while_the_answer_comes_shows_it_growing(
    paths: Paths, config: Config, tiny_r1: TinyModel, llama_server: Path, tmp_path: Path
) -> None:
    keep(paths, said("c1", "Old?"))
    with bare_server(llama_server, tiny_r1(answer="one two ", loop=True), tmp_path, LONG) as (socket, _):
        app = R1App(paths, config, attach=Endpoint.parse(f"unix:{socket}"))
        async with opened(app) as pilot:
            answer = await ask(app, pilot, "New?")
            await until(pilot, lambda: bool(answer.content))
            screen = await listed(app, pilot, "New?", "Old?")
            assert str(screen.query_one(DataTable).get_row_at(0)[-1]) == "answering"
            await pilot.press("d")
            await pilot.press("down", "enter")
            await until(pilot, lambda: app.chat.conversation.id == "c1")
            await pilot.press("escape")
            await pilot.pause()
            assert answer.running, "Esc stops only what is shown"
            await listed(app, pilot, "New?", "Old?")
            await pilot.press("up", "enter")
            await until(pilot, lambda: answers(app) == [answer])
            await pilot.press("escape")
            await until(pilot, lambda: answer.state == "stopped")
            await until(pilot, lambda: last_states(paths)[0] == "stopped")


def test_a_kill_costs_an_attached_answer_at_most_a_second(
    paths: Paths, tiny_r1: TinyModel, llama_server: Path, tmp_path: Path
) -> None:
    with bare_server(llama_server, tiny_r1(answer="one two three ", loop=True), tmp_path, LONG) as (socket, _):
        with Terminal("--attach", f"unix:{socket}") as terminal:
            terminal.wait_for("New chat")
            terminal.type("hello")
            terminal.wait_for("hello")
            terminal.type("\r")
            wait_until(lambda: any(one.exchanges[0].answer.content for one in stored(paths)), 60)
            os.kill(terminal.pid, signal.SIGKILL)
            terminal.ended()
        text = stored(paths)[0].exchanges[0].answer.content.text
        with Terminal("--attach", f"unix:{socket}") as terminal:
            wait_until(lambda: last_states(paths) == ["stopped"], 60)
            terminal.kill()
    [exchange] = stored(paths)[0].exchanges
    assert (exchange.question, exchange.answer.content.text) == ("hello", text)
    assert "r1tui quit" in exchange.answer.cause
