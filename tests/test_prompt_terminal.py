"""The prompt in a real terminal: the editor, a bracketed paste, a draft that outlives kill -9."""

from pathlib import Path

import msgspec
import pytest

from r1tui.chat.prompt_files import PromptHistory
from r1tui.chat.typed import Typed
from r1tui.errors import R1tuiError
from r1tui.supervisor import client as supervisor
from r1tui.system.paths import Paths
from r1tui.tui.services.composing import editor_command
from tests.ptys import Terminal
from tests.stored import last_states
from tests.supervisor_rig import until
from tests.test_survival import Ready, ask, ready

__all__ = ["ready"]


def script(path: Path, *lines: str) -> Path:
    """A program of these lines."""
    path.write_text("\n".join(("#!/bin/sh", *lines)) + "\n")
    path.chmod(0o700)
    return path


def draft(paths: Paths) -> str:
    """What is on disk of the text in the prompt."""
    try:
        return msgspec.json.decode((paths.prompt / "draft-0.json").read_bytes(), type=Typed).whole
    except FileNotFoundError:
        return ""


def test_the_editor_has_the_terminal_while_the_answer_goes_on(
    paths: Paths, ready: Ready, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready(2_000)
    seen, go_on = tmp_path / "seen", tmp_path / "go on"
    wait = f"while [ ! -e '{go_on}' ]; do sleep 0.05; done"
    write = "printf 'written\\nin the editor\\n' > \"$2\""
    editor = script(tmp_path / "my editor", "echo THE EDITOR", f"cp \"$2\" '{seen}'", wait, write)
    monkeypatch.setenv("VISUAL", f"'{editor}' --wait")
    with Terminal() as terminal:
        ask(terminal, paths)
        terminal.type("half a question")
        until(lambda: draft(paths) == "half a question")
        terminal.type("\x07")  # Ctrl+G
        terminal.wait_for("THE EDITOR")
        until(lambda: last_states(paths) == ["done"])
        until(lambda: seen.exists() and seen.read_text() == "half a question")
        shown = len(terminal.shown)
        go_on.touch()
        until(lambda: draft(paths) == "written\nin the editor")
        until(lambda: b"\x1b[?1049h" in terminal.shown[shown:])
        until(lambda: b"in the editor" in terminal.shown[shown:])
        between = terminal.shown[terminal.shown.index(b"THE EDITOR") : shown]
        assert between.strip() == b"THE EDITOR"  # nothing was painted over it
        until(lambda: not list(paths.prompt.glob("edit-*")))
        terminal.type("!")
        until(lambda: draft(paths) == "written\nin the editor!")
    assert supervisor.status(paths).state == "ready"


def test_an_editor_that_fails_leaves_the_prompt_as_it_was(
    paths: Paths, ready: Ready, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready(5)
    tried = tmp_path / "tried"
    monkeypatch.setenv("EDITOR", str(script(tmp_path / "bad", f"touch '{tried}'", 'echo lost > "$1"', "exit 3")))
    monkeypatch.delenv("VISUAL", raising=False)
    with Terminal() as terminal:
        terminal.wait_for("Models")
        terminal.type("precious")
        until(lambda: draft(paths) == "precious")
        terminal.type("\x07")
        until(tried.exists)
        until(
            lambda: b"\x1b[?1049h" in terminal.shown.rpartition(b"\x1b[?1049l")[2] and b"\x1b[?1049l" in terminal.shown
        )
        terminal.type("!")
        until(lambda: draft(paths) == "precious!")


def test_a_bracketed_paste_of_a_megabyte_is_a_label(paths: Paths, ready: Ready) -> None:
    ready(5)
    text = "x = 1  # a line of code\n" * 45_000
    with Terminal() as terminal:
        terminal.wait_for("Models")
        sent = f"\x1b[200~{text}\x1b[201~".replace("\n", "\r")
        for start in range(0, len(sent), 1024):
            terminal.type(sent[start : start + 1024])
        terminal.wait_for("[pasted 45,000 lines, 1.0 MiB]")
        until(lambda: draft(paths) == text)


def test_a_draft_and_the_history_outlive_a_kill(paths: Paths, ready: Ready) -> None:
    ready(5)
    with Terminal() as terminal:
        ask(terminal, paths)
        until(lambda: [one.text for one in PromptHistory(paths.prompt).entries()] == ["hello"])
        terminal.type("unsent")
        until(lambda: draft(paths) == "unsent")
        terminal.kill()
    with Terminal() as terminal:
        terminal.wait_for("unsent")
        terminal.type("!")
        until(lambda: draft(paths) == "unsent!")


def test_a_hang_up_loses_nothing_of_a_draft(paths: Paths) -> None:
    with Terminal("--attach", f"unix:{paths.run}/none.sock") as terminal:
        terminal.wait_for("New chat")
        terminal.type("half ")
        until(lambda: draft(paths) == "half ")  # the next writing is a second away
        terminal.type("and more")
        terminal.wait_for("more")
        assert terminal.hang_up() == 130
    assert draft(paths) == "half and more"
    with Terminal("--attach", f"unix:{paths.run}/none.sock") as terminal:
        terminal.wait_for("half and more")


def test_two_r1tui_have_a_draft_each(paths: Paths, ready: Ready) -> None:
    ready(5)
    with Terminal() as one, Terminal() as other:
        for terminal, text in ((one, "of one"), (other, "of the other")):
            terminal.wait_for("Models")
            terminal.type(text)
            until(lambda text=text: text in drafts(paths))  # type: ignore[misc]
        assert drafts(paths) == {"of one", "of the other"}


def drafts(paths: Paths) -> set[str]:
    found = paths.prompt.glob("draft-*.json")
    return {msgspec.json.decode(path.read_bytes(), type=Typed).whole for path in found}


def test_the_editor_is_the_one_that_is_named_or_one_that_is_there(tmp_path: Path) -> None:
    script(tmp_path / "nano")
    script(tmp_path / "mine")
    here = {"PATH": str(tmp_path)}
    assert editor_command(here | {"VISUAL": "mine -w", "EDITOR": "other"}) == ["mine", "-w"]
    assert editor_command(here | {"VISUAL": " ", "EDITOR": "mine"}) == ["mine"]
    assert editor_command(here) == ["nano"]
    for env in ({"EDITOR": "gone"}, {"EDITOR": "'open"}, {"PATH": "/nowhere"}):
        with pytest.raises(R1tuiError) as failure:
            editor_command(here | env)
        assert "EDITOR=nano" in failure.value.remedy
