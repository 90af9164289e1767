"""The screen is left whatever its threads wait for."""

import os
from pathlib import Path

import msgspec
import pytest

from r1tui.config import Config
from r1tui.system.paths import Paths
from tests.ptys import Terminal
from tests.supervisor_rig import until

AS_A_HANGING_DISK = (
    "import stat; stat.S_ISREG = lambda mode: True\n"  # a FIFO looks like a file, as one does whose disk hangs later
    "from r1tui.cli import main; main()"
)


@pytest.fixture
def fifo(paths: Paths, tmp_path: Path) -> Path:
    paths.config_file.parent.mkdir(parents=True)
    paths.config_file.write_bytes(msgspec.json.encode(Config()))
    path = tmp_path / "fifo"
    os.mkfifo(path)
    return path


def draft(paths: Paths) -> str:
    """What is kept of what is typed."""
    found = list(paths.prompt.glob("draft-*.json"))
    return str(msgspec.json.decode(found[0].read_bytes())["text"]) if found else ""


def test_a_file_whose_read_hangs_keeps_nobody_here(paths: Paths, fifo: Path) -> None:
    with Terminal("--attach", f"unix:{fifo.parent}/none.sock", program=("-c", AS_A_HANGING_DISK)) as terminal:
        terminal.wait_for("something. Enter")
        terminal.type(f"see @{fifo} ")
        until(lambda: draft(paths) == f"see @{fifo} ")
        terminal.type("\rand more")
        until(lambda: draft(paths) == f"see @{fifo} \nand more")
        terminal.type("\x11")  # Ctrl+Q
        assert terminal.ended() == 0
    assert "Left: " in paths.own_log.read_text()  # so a thread was held indeed
    assert draft(paths) == f"see @{fifo} \nand more"


def test_a_history_whose_read_hangs_keeps_nobody_here(paths: Paths, fifo: Path) -> None:
    paths.prompt.mkdir(parents=True)
    os.mkfifo(paths.prompt / "history.jsonl")
    with Terminal("--attach", f"unix:{fifo.parent}/none.sock") as terminal:
        terminal.wait_for("something. Enter")
        terminal.type("half done")
        terminal.type("\x11")
        assert terminal.ended() == 0
    assert draft(paths) == "half done"
