"""Faults of what lies in a home: servers whose traces are gone, and files with bytes that make no sense."""

import shutil
from collections.abc import Callable
from pathlib import Path

from r1tui.supervisor import client
from tests.bench.faults_rig import PATIENCE_S, Home, kill
from tests.bench.faults_screen import ended_exchange
from tests.ptys import Terminal
from tests.supervisor_rig import until

Damage = Callable[[Home], None]


def no_record(here: Home) -> None:
    """server.json is deleted."""
    here.paths.state_file.unlink()


def empty_record(here: Home) -> None:
    """server.json is empty."""
    here.paths.state_file.write_bytes(b"")


def garbled_record(here: Home) -> None:
    """server.json has a byte that is not UTF-8."""
    raw = bytearray(here.paths.state_file.read_bytes())
    raw[len(raw) // 2] = 0xFF
    here.paths.state_file.write_bytes(raw)


def no_state(here: Home) -> None:
    """The whole state folder is gone."""
    shutil.rmtree(here.paths.state)


def no_server_socket(here: Home) -> None:
    """The server's socket is gone."""
    here.paths.server_socket.unlink()


def no_keeper_socket(here: Home) -> None:
    """The supervisor's socket is gone."""
    here.paths.supervisor_socket.unlink(missing_ok=True)


def no_lock(here: Home) -> None:
    """The supervisor's lock is gone."""
    here.paths.supervisor_lock.unlink()


def no_run_folder(here: Home) -> None:
    """The folder of sockets and locks is gone."""
    shutil.rmtree(here.paths.run)


DAMAGES = (
    no_record, empty_record, garbled_record, no_state, no_server_socket, no_keeper_socket, no_lock, no_run_folder,
)  # fmt: skip


def forgotten(here: Home, damage: Damage, *, keeper_too: bool) -> str:
    """A server whose trace is gone: every command knows it, none starts a second one, one stop ends it."""
    before = here.ready()
    damage(here)
    if keeper_too:
        kill(before.supervisor_pid)
    now = client.status(here.paths)
    assert now.running, f"status says {now.state}, and a server runs"
    assert now.pid in (before.pid, None), f"another server: {now}"
    serve = here.command("serve", "--detach", "--model", str(here.model), within_s=60)
    servers = here.servers()
    assert len(servers) <= 1, f"{len(servers)} servers run"
    stop = here.command("stop", within_s=60, ok=True)
    until(lambda: not here.processes(), 10)
    return f"status: {now.state}; {serve.told('serve')}; {stop.told('stop')}; nothing left"


COMMANDS: tuple[tuple[str, ...], ...] = (
    ("status",), ("chats", "list"), ("plan", "--model"), ("variants",), ("doctor",), ("stop",),
)  # fmt: skip


def lived_in(here: Home) -> list[Path]:
    """A home in which somebody chatted, with a server that runs: its files that are JSON."""
    here.set_longest_answer(50)
    here.command("plan", "--model", str(here.model), ok=True)
    here.command("variants", ok=True)
    with Terminal("--variant", str(here.model)) as terminal:
        here.ask(terminal)
        until(lambda: ended_exchange(here), PATIENCE_S)
        terminal.type("not sent")
        until(lambda: list(here.paths.prompt.glob("*")), 30)
        terminal.kill()
    files = [path for path in here.paths.state.parent.rglob("*") if path.is_file() and is_json(path)]
    assert here.paths.state_file in files
    return files


def is_json(path: Path) -> bool:
    """Whether it begins as an object or a list does."""
    return path.stat().st_size < 4 << 20 and path.read_bytes()[:1] in (b"{", b"[") and path.name != "config.yaml"


def bad_bytes(here: Home, change: Callable[[bytes], bytes], *, one_by_one: bool) -> str:
    """Files of ours with bytes that make no sense: no command ends in a traceback, and stop ends the server."""
    tried = 0
    files = lived_in(here)
    for group in [[path] for path in files] if one_by_one else [files]:
        if one_by_one:
            files = lived_in(here) if not here.processes() else files
        for path in group:
            if path.exists():
                path.write_bytes(change(path.read_bytes()))
        for words in COMMANDS:
            arguments = [*words, str(here.model)] if words[-1] == "--model" else words
            here.command(*arguments, within_s=60, ok=words[0] in ("status", "stop"))
            tried += 1
        until(lambda: not here.processes(), 10)
    with Terminal("--variant", str(here.model)) as terminal:
        here.ask(terminal, "again")
        terminal.kill()
    names = ", ".join(sorted({path.name for path in files}))
    return f"{tried} commands, no traceback, stop ended all; the screen answers. {names}"


def not_utf8(raw: bytes) -> bytes:
    """A byte in the middle is no UTF-8."""
    return raw[: len(raw) // 2] + b"\xff" + raw[len(raw) // 2 + 1 :]


def emptied(raw: bytes) -> bytes:
    """Nothing is left."""
    return raw[:0]


def other_json(raw: bytes) -> bytes:
    """JSON of another kind."""
    return b'{"version": "x", "spec": 7}' if raw[:1] == b"[" else b"[[7]]"
