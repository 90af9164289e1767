"""Faults of the disk: full, read-only, without inodes, before and under a server and in the middle of an answer."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.bench.faults_rig import ANSWER_TOKENS, PATIENCE_S, Home, NotTriedError
from tests.bench.faults_screen import Undisturbed, ended_exchange
from tests.ptys import Terminal
from tests.supervisor_rig import until

MIB = 1 << 20


@contextmanager
def disk(here: Home, options: str) -> Iterator[Path]:
    """The home's state on a small disk of its own. Raises NotTriedError without the right to mount."""
    state = here.paths.state
    state.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(state)]
    if subprocess.run(command, check=False, capture_output=True).returncode:
        raise NotTriedError("no right to mount")
    try:
        yield state
    finally:
        here.sweep()
        subprocess.run(["umount", "-l", str(state)], check=False, capture_output=True)


def fill(folder: Path) -> Path:
    """Leave no room in the folder; the file that takes it."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(4096)) == 4096:
            pass
    return filler


def take_inodes(folder: Path) -> None:
    """Leave no name in the folder to be had."""
    (folder / "names").mkdir()
    with suppress(OSError):
        for number in range(10_000):
            (folder / "names" / str(number)).touch()


def _commands(here: Home) -> str:
    """What looks at things must work, what needs the disk must say why it cannot."""
    lists = [here.command("chats", "list", within_s=30, ok=True).told("chats list")]
    export = here.command("chats", "export", _chat_id(here), "--format", "markdown", within_s=30, ok=True)
    lists.append(export.told("export"))
    lists.append(here.command("status", within_s=15, ok=True).told("status"))
    serve = here.command("serve", "--detach", "--model", str(here.model), within_s=60)
    doctor = here.command("doctor", within_s=60)
    assert doctor.code == 1, f"doctor finds nothing missing: {doctor.words}"
    return "; ".join([*lists, serve.told("serve"), doctor.told("doctor"), here.command("stop", ok=True).told("stop")])


def _chat_id(here: Home) -> str:
    found = here.conversation()
    assert found is not None, "the conversation is gone"
    return found.id


def _chat(here: Home) -> None:
    """One conversation, so that there is something to lose."""
    with Terminal("--variant", str(here.model)) as terminal:
        here.ask(terminal)
        until(lambda: ended_exchange(here), PATIENCE_S)
        terminal.kill()
    here.command("stop", ok=True)


def full_before(here: Home) -> str:
    """A disk that is full before anything starts (a tmpfs of 8 MiB)."""
    here.set_longest_answer(50)
    with disk(here, f"size={8 * MIB}") as state:
        _chat(here)
        fill(state)
        return _commands(here)


def read_only(here: Home) -> str:
    """A disk that has become read-only."""
    here.set_longest_answer(50)
    with disk(here, f"size={8 * MIB}") as state:
        _chat(here)
        subprocess.run(["mount", "-o", "remount,ro", str(state)], check=True)
        return _commands(here)


def no_inodes(here: Home) -> str:
    """A disk with room and without inodes."""
    here.set_longest_answer(50)
    with disk(here, f"size={8 * MIB},nr_inodes=60") as state:
        _chat(here)
        take_inodes(state)
        return _commands(here)


def full_in_an_answer(here: Home) -> str:
    """A disk that is full in the middle of an answer; then quit; then room again."""
    here.keep_on_exit()
    with disk(here, f"size={8 * MIB}") as state:
        here.ready(max_tokens=ANSWER_TOKENS)
        undisturbed = Undisturbed(here)
        shutil.rmtree(here.paths.conversations)
        with Terminal() as terminal:
            here.ask(terminal)
            filler = fill(state)
            until(lambda: b"Cut off" in terminal.shown, PATIENCE_S)  # the whole answer is on the screen
            until(lambda: b"Not saved" in terminal.shown, 30)
            terminal.type("\x11")  # Ctrl+Q
            left = terminal.has_ended(5.0)
            filler.unlink()
            if left:
                exchange = ended_exchange(here)
                kept = exchange is not None and undisturbed.same(exchange)
                assert kept, "it left with words unsaved, and they are lost"
                return "it left; the words are whole"
            until(lambda: (exchange := ended_exchange(here)) and undisturbed.same(exchange), PATIENCE_S)
            return "said, did not leave, saved whole once there was room"
