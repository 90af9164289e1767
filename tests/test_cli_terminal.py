"""What the commands print: to a terminal nothing that it obeys or nobody sees; to a pipe what there is."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from r1tui.chat.store import Store
from r1tui.system.paths import Paths
from tests.ptys import Terminal
from tests.store_rig import said, whole

SEEN = "שלום العربية grün"
UNSEEN = "\u200b\u202e\u2066\u200d\u200f\ufeff\U000e0041"
CONTROLS = "\x9b31m\x85\x7f\x07\x1b[31m\x1b]0;title\x07"


@pytest.fixture
def home(paths: Paths) -> Paths:
    """One conversation and a log that say what a terminal must not have."""
    foreign = f"{SEEN} {UNSEEN}{CONTROLS}end"
    with Store(paths.conversations) as store:
        store.write([whole(said("c1", foreign, foreign))])
    paths.logs.mkdir(parents=True)
    paths.server_log.write_bytes(f"{foreign}\n".encode() + b"raw \x9b31m\n")
    return paths


@pytest.mark.parametrize(
    "arguments",
    [
        ("chats",),
        ("chats", "list", "--json"),
        ("chats", "search", "end"),
        ("chats", "search", "--json", "end"),
        ("chats", "show", "last"),
        ("chats", "show", "--json", "last"),
        ("chats", "export", "last"),
        ("chats", "export", "--format", "json", "last"),
        ("chats", "rename", "last", f"{SEEN} {UNSEEN}"),
        ("logs",),
        ("chats", "show", f"{SEEN}{UNSEEN}\x9b"),
        ("plan", f"{SEEN}{UNSEEN}\x9b"),
        (f"--{SEEN}{UNSEEN}\x9b",),
        (f"{SEEN}{UNSEEN}\x9b",),
        ("serve", "--model", f"{SEEN}{UNSEEN}\x9b"),
    ],
    ids=lambda arguments: " ".join(arguments).encode("ascii", "ignore").decode(),
)
def test_a_terminal_gets_no_hidden_character_and_readable_right_to_left_text(
    home: Paths, arguments: tuple[str, ...]
) -> None:
    with Terminal(*arguments, columns=200) as terminal:
        terminal.ended()
        terminal.drain()
    shown = terminal.shown.decode()  # raises for a raw byte
    assert not set(shown) & set(UNSEEN + "\x9b\x85\x7f\x07")
    assert "\x1b[31m" not in shown
    assert "\x1b]" not in shown
    assert SEEN in shown


def printed(*arguments: str) -> str:
    ran = subprocess.run([sys.executable, "-m", "r1tui", *arguments], capture_output=True, check=True)
    return ran.stdout.decode()


def test_a_pipe_gets_the_content_without_terminal_sequences_and_json_as_it_is(home: Paths, tmp_path: Path) -> None:
    assert f"{SEEN} {UNSEEN}end" in printed("chats", "show", "last")
    assert f"{SEEN} {UNSEEN}end" in printed("chats", "export", "last")
    [exchange] = json.loads(printed("chats", "show", "--json", "last"))["exchanges"]
    assert exchange["answer"] == f"{SEEN} {UNSEEN}{CONTROLS}end"
    printed("chats", "export", "--output", str(tmp_path / "x.md"), "last")
    assert f"{SEEN} {UNSEEN}end" in (tmp_path / "x.md").read_text()
