"""Faults inside: an exception that nobody foresaw in each worker of the screen and each task of the keeper.

It ends what was going on, is said in a line, and stands in r1tui's log with its traceback; nothing else ends.
"""

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from r1tui.supervisor import client
from tests.bench.faults_rig import PATIENCE_S, Home
from tests.ptys import Terminal
from tests.supervisor_rig import open_stream, until

INJECT = Path(__file__).with_name("inject")
KEEPER_PLACES = (
    "r1tui.supervisor.watches:check_health",
    "r1tui.supervisor.watches:cap_log",
    "r1tui.supervisor.lifecycle:follow_health",
    "r1tui.supervisor.lifecycle:maintain_files",
    "r1tui.supervisor.lifecycle:follow_owner",
    "r1tui.supervisor.lifecycle:save_before_sleep",
    "r1tui.supervisor.lifecycle:wait_ended",
    "r1tui.supervisor.lifecycle:spawn",
    "r1tui.supervisor.book:Book.change",
)
"""What the supervisor's tasks do, where they look it up."""
STEPS = (
    "\x0e", "hello", "\r", "\x19", "\x1b", "\x13", "\x1b", "\x1b[21~", "\x1b[21~", "\x0c", "\x1b", "\x1b[17~", "\x1b",
    "\x1bOQ", "\x1b", "\x1f", "\x1b", "\x14", "\x10", "\x1b",
)  # fmt: skip
"""A new chat, a question, marking, sampling, slow link, conversations, the log, the models, themes, thinking."""
LEFT_S, READY_S = 10.0, 15.0


@contextmanager
def injected(**variables: str) -> Iterator[None]:
    """Processes that start in the block have the fault."""
    before = dict(os.environ)
    os.environ.update(variables, PYTHONPATH=os.pathsep.join(filter(None, [str(INJECT), before.get("PYTHONPATH")])))
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def logged(here: Home) -> str:
    """What r1tui's own log says."""
    log = here.paths.state / "logs" / "r1tui.log"
    return log.read_text(errors="replace") if log.exists() else ""


def keeper_task(here: Home, place: str) -> str:
    """An exception in a task of the supervisor: the state is `failed` with a cause, and nothing runs on."""
    with injected(R1TUI_FAULT=place):
        serve = here.command("serve", "--detach", "--model", str(here.model), within_s=90, foreseen=False)
    if serve.code == 0:  # it comes with an answer, or a moment later
        client.answer_started(here.paths, "c1")
        open_stream(here.paths.server_socket, "c1").close()
    until(lambda: client.status(here.paths).state == "failed" or not here.processes(), 60)
    now = client.status(here.paths)
    until(lambda: not here.processes(), 30)
    said = now.cause or serve.words.strip().splitlines()[-2 if serve.code else -1]
    assert "unexpected error" in said, f"no cause: {now.state}, {serve.words}"
    assert "InjectedError" in logged(here), "its traceback is not in the log"
    here.command("stop", ok=True)
    return f"{now.state}: {said}"


def workers_in(here: Home, fault: str = "", quiet_s: float = 0.2) -> tuple[list[str], bytes]:
    """The workers that a walk through the screens begins, in the order in which they do, and what was shown."""
    for folder in (here.paths.conversations, here.paths.prompt):
        shutil.rmtree(folder, ignore_errors=True)
    (here.paths.state / "logs" / "r1tui.log").unlink(missing_ok=True)
    seen = here.paths.state.parent / "workers"
    seen.write_text("")
    with injected(R1TUI_WORKERS=str(seen), R1TUI_FAULT=fault):
        shown = walk(here, quiet_s)
    here.command("stop", ok=True)
    return list(dict.fromkeys(seen.read_text().splitlines())), shown


def walk(here: Home, quiet_s: float) -> bytes:
    """Walk through the screens, until something unexpected is said; what was shown. Ctrl+Q must end it."""
    with Terminal("--variant", str(here.model)) as terminal:
        until(lambda: b"Models" in terminal.shown or b"Back" in terminal.shown, PATIENCE_S)
        with suppress(AssertionError):  # with the fault it may never be
            until(lambda: b"unexpected" in terminal.shown or client.status(here.paths).state == "ready", READY_S)
        for step in STEPS:
            assert not terminal.has_ended(0), "the screen ended by itself"
            if b"unexpected" in terminal.shown:
                break
            terminal.type(step)
            terminal.calm(quiet_s, 5 * quiet_s)
        terminal.type("\x11")
        if not terminal.has_ended(1.0):
            terminal.type("k")  # the server stays
            terminal.has_ended(LEFT_S)
        left = terminal.has_ended(0)
        if not left:
            terminal.kill()
    assert left or b"unexpected" in terminal.shown, "Ctrl+Q did not end it"
    return terminal.shown


def worker(here: Home, name: str) -> str:
    """An exception in a worker of the screen: a line on the screen, its traceback in the log, and the rest goes on."""
    for quiet_s in (0.2, 0.6):
        seen, shown = workers_in(here, f"worker:{name}", quiet_s)
        if name in seen:
            assert "InjectedError" in logged(here), "its traceback is not in the log"
            assert b"unexpected" in shown, "nothing on the screen"
            return "right"
    return "not reached"


def each_worker(here: Home) -> str:
    """Every worker that the walk begins, one after the other."""
    here.set_longest_answer(50)
    seen, _ = workers_in(here, quiet_s=0.6)
    found = {}
    for name in seen:
        try:
            found[name] = worker(here, name)
        except AssertionError as error:
            found[name] = str(error)
            here.sweep()
        print(f"    {name}: {found[name]}", file=sys.stderr, flush=True)
    wrong = [f"{name}: {what}" for name, what in found.items() if what not in ("right", "not reached")]
    assert not wrong, f"{len(wrong)} of {len(found)}: {'; '.join(wrong)}"
    right = [name for name, what in found.items() if what == "right"]
    return f"{len(right)} of {len(found)} reached, each said and logged: {', '.join(right)}"
