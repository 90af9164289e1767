"""Saving a listing to a file: its name, its folder, and what is talready here."""

from pathlib import Path

import pytest
from textual.widgets import Input, Label

from r1tui.tui.screens.chat import ChatScreen
from r1tui.tui.screens.dialogs import AskScreen, SaveScreen, free_name
from r1tui.tui.widgets.selection import Selection
from tests.select_rig import chat, talk
from tests.tui_rig import fill, until


async def test_a_listing_is_saved_under_the_name_that_the_text_gives_and_nothing_is_overwritten_unasked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    async with chat(tmp_path / "home", talk()) as one:
        await one.press("ctrl+y", "home", "down", "s")
        await until(one.pilot, lambda: isinstance(one.app.screen, SaveScreen))
        assert one.app.screen.query_one(Input).value == "game.py"
        await one.pilot.press("enter")
        await until(one.pilot, lambda: isinstance(one.app.screen, ChatScreen))
        assert (tmp_path / "game.py").read_text() == "import pygame\n\nprint('hi')\n"
        assert one.said[-1] == f"Saved as {tmp_path / 'game.py'}."
        (tmp_path / "game.py").write_text("mine")

        await one.pilot.press("s")
        await until(one.pilot, lambda: isinstance(one.app.screen, SaveScreen))
        field = one.app.screen.query_one(Input)
        await until(one.pilot, lambda: field.value == "game-2.py")
        field.value = "game.py"
        await one.pilot.press("enter")
        await until(one.pilot, lambda: isinstance(one.app.screen, AskScreen))
        await one.pilot.press("escape")
        await until(one.pilot, lambda: isinstance(one.app.screen, SaveScreen))
        assert (tmp_path / "game.py").read_text() == "mine"
        await one.pilot.press("enter")
        await until(one.pilot, lambda: isinstance(one.app.screen, AskScreen))
        await one.pilot.press("o")
        await until(one.pilot, lambda: isinstance(one.app.screen, ChatScreen))
        assert (tmp_path / "game.py").read_text() == "import pygame\n\nprint('hi')\n"
        assert one.app.chat.query_one(Selection).has_focus


async def test_with_the_current_folder_gone_a_listing_is_saved_at_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "game.py").touch()
    async with chat(tmp_path / "state", talk()) as one:
        monkeypatch.chdir(gone)
        gone.rmdir()
        await one.press("ctrl+y", "home", "down", "s")
        await until(one.pilot, lambda: isinstance(one.app.screen, SaveScreen))
        await until(one.pilot, lambda: one.app.screen.query_one(Input).value == "game-2.py")
        await one.pilot.press("enter")
        await until(one.pilot, lambda: isinstance(one.app.screen, ChatScreen))
        assert (tmp_path / "game-2.py").exists()


def test_a_folder_that_does_not_say_what_is_in_it_leaves_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(_: Path) -> bool:
        raise PermissionError

    monkeypatch.setattr(Path, "exists", refused)
    assert free_name(tmp_path, "game.py") == "game.py"


async def test_where_a_file_cannot_be_saved_is_told_and_asked_again(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    async with chat(tmp_path, talk()) as one:
        await one.press("ctrl+y", "up", "s")
        await until(one.pilot, lambda: isinstance(one.app.screen, SaveScreen))
        field, wrong = one.app.screen.query_one(Input), one.app.screen.query_one(".wrong", Label)
        for typed, said in (
            (str(tmp_path / "file" / "x.py"), "Not a directory"),
            (" ", "a name is missing"),
            ("/dev/null", "not a regular file"),
            ("a\0b", "is not a valid file name"),
        ):
            field.value = typed
            await one.pilot.press("enter")
            await until(one.pilot, lambda said=said: said in str(wrong.render()))  # type: ignore[misc]
        field.value = str(tmp_path)
        await one.pilot.press("enter")
        await until(one.pilot, lambda: isinstance(one.app.screen, ChatScreen))
        assert (tmp_path / "code.py").exists()


async def test_a_folder_that_is_not_there_is_made_when_the_user_wants_it(tmp_path: Path) -> None:
    wanted = tmp_path / "new" / "folder"
    async with chat(tmp_path, talk()) as one:
        await one.press("ctrl+y", "up", "s")
        for key, typed, screen in (("escape", wanted / "x.py", SaveScreen), ("m", f"{wanted}/", ChatScreen)):
            await fill(one.app, one.pilot, SaveScreen, str(typed))
            await one.pilot.press("enter")
            await until(one.pilot, lambda: isinstance(one.app.screen, AskScreen))
            assert f"The folder {wanted} does not exist." in str(one.app.screen.query_one(Label).render())
            await one.pilot.press(key)
            await until(one.pilot, lambda screen=screen: isinstance(one.app.screen, screen))  # type: ignore[misc]
            assert wanted.exists() == (key == "m")
        assert (wanted / "code.py").exists()
