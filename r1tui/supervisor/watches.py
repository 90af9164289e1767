"""The tasks that go on while a server runs, until they are cancelled: health, owner, log, memory, our own files."""

import asyncio
import logging
import os
import shutil
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from time import monotonic

import msgspec

from r1tui.errors import R1tuiError
from r1tui.machine.hardware import oom_kills
from r1tui.messages import ENDED, ServerRecord, ServerSpec
from r1tui.planning.history import remember_out_of_memory
from r1tui.remedies import RestartServer
from r1tui.supervisor.book import Book
from r1tui.supervisor.control import Control
from r1tui.supervisor.http import check_health
from r1tui.supervisor.key import write_key
from r1tui.supervisor.protocol import is_asked_by_others
from r1tui.supervisor.status import read_record
from r1tui.supervisor.worker import WorkerThread, in_thread
from r1tui.system.files import make_way
from r1tui.system.locks import Hold
from r1tui.system.log_reader import older_log, read_tail
from r1tui.system.paths import Paths, private_folder
from r1tui.system.processes import wait_ended

TAIL_BYTES = 256 << 10
FIRST_POLL_S = 0.1
LONGEST_POLL_S = 1.0
PULSE_S = 5.0
"""Between two looks at a ready server; a crash is noticed at once, a hang need not be."""
PULSE_TIMEOUT_S = 5.0
SLEEP_POLL_S = 1.0
LOOK_S = 1.0
OWNER_CHECK_S = 1.0
HANGS = "llama-server is running but has stopped answering."
RECENT_LOOKS = 60
"""Looks are a second apart. A killed server may take that long to give its memory back, and only then it has ended."""
LEARN_S = 10.0
GONE_S = 60.0
"""A home whose state folder has been gone for so long is given up, with its server."""
TAKEN_S = 5.0
"""So long another process may hold the lock in our place: one that only looks whether it may start lets go of it."""
SOCKET_GONE = "Its socket was removed."
_log = logging.getLogger(__name__)


def begin_log(log: Path) -> None:
    """Put an earlier server's log aside; the next one begins an empty file."""
    private_folder(log.parent)
    with suppress(FileNotFoundError):
        if log.stat().st_size:
            log.replace(older_log(log))


def cap_log(log: Path, limit_bytes: int) -> bool:
    """Start the log afresh when it is too large, its content moved to the older log; True when it was done.

    The server goes on writing to the same file, so that it depends on nobody who reads a pipe: the content is copied
    and the file emptied. Without room for the copy the content is given up.
    """
    try:
        fd = os.open(log, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    with os.fdopen(fd, "r+b", buffering=0) as file:
        if os.fstat(fd).st_size <= limit_bytes:
            return False
        copy = log.with_name(f".{log.name}.copy")
        try:
            with os.fdopen(os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as target:
                shutil.copyfileobj(file, target, 1 << 20)
                target.flush()
                copy.replace(older_log(log))
                while os.fstat(fd).st_size > file.tell():  # what came meanwhile, up to the last moment
                    shutil.copyfileobj(file, target, 1 << 20)
                    target.flush()
                file.truncate(0)
        except OSError:
            copy.unlink(missing_ok=True)
            file.truncate(0)
    return True


def last_lines(log: Path, *, with_older: bool) -> list[str]:
    """The last lines of the log; `with_older` says that the older one is of the same server, not of one before it."""
    data = _tail(log, TAIL_BYTES)
    if with_older and len(data) < TAIL_BYTES:
        data = _tail(older_log(log), TAIL_BYTES - len(data)) + data
    return data.decode(errors="replace").splitlines()


def _tail(path: Path, length_bytes: int) -> bytes:
    with suppress(OSError):
        return read_tail(path, length_bytes)[0]
    return b""


class OomWatch:
    """Tells a kill for want of memory of the last minute from one of long ago, which was of something else."""

    def __init__(self) -> None:
        self._seen = deque([oom_kills()], maxlen=RECENT_LOOKS)

    def look(self) -> None:
        self._seen.append(oom_kills())

    def killed(self) -> bool:
        return oom_kills() > self._seen[0]


def learn_too_large(paths: Paths, spec: ServerSpec, gpu: str) -> None:
    """Have the next plan know that a GPU's memory did not suffice; bounded, also when a driver hangs."""
    learning = threading.Thread(target=remember_out_of_memory, args=(paths, spec, gpu), daemon=True)
    learning.start()
    learning.join(LEARN_S)


async def follow_health(book: Book, key: str | None) -> None:
    """Keep the state true while the server runs; loading may take as long as it takes."""
    spec, pause_s, well_s = book.record.spec, FIRST_POLL_S, monotonic()
    timeout_s = min(PULSE_TIMEOUT_S, spec.silence_s)
    while True:
        found = await check_health(Path(spec.socket), key, sleeps=spec.sleeps, timeout_s=timeout_s)
        state, hangs = book.record.state, book.status().hangs
        if found is not None:
            well_s = monotonic()
            if found != "loading" and (found != state or hangs):
                await book.change(found, ready_s=book.record.ready_s or monotonic(), cause=None, evidence=[])
        elif state != "loading" and not hangs and monotonic() - well_s >= spec.silence_s:
            await book.change(state, cause=HANGS, remedies=(RestartServer(hangs=True),))
        if state == "loading":
            await asyncio.sleep(pause_s)
        else:
            await asyncio.sleep(min(SLEEP_POLL_S if spec.sleeps else PULSE_S, spec.silence_s))
        pause_s = min(pause_s * 1.2, LONGEST_POLL_S)


async def follow_owner(book: Book, stop: Callable[[], None]) -> None:
    """Stop with the process that the server is for, and with the last answer that somebody else still waits for."""
    if (owner := book.record.spec.owner) is not None:
        await wait_ended(owner)
        while is_asked_by_others(book.record.answers, owner.pid):  # noqa: ASYNC110
            await asyncio.sleep(OWNER_CHECK_S)
        stop()


async def maintain_files(book: Book, paths: Paths, disk: WorkerThread, oom_watch: OomWatch) -> None:
    """Keep the log small, the state file as new as the record, and in mind whom the kernel kills."""
    limit_bytes = book.record.spec.log_max_mib << 20
    while True:
        await asyncio.sleep(LOOK_S)
        oom_watch.look()
        with suppress(OSError):
            if await disk.do(cap_log, paths.server_log, limit_bytes):
                await book.note(log_capped=True)
        await book.catch_up()


async def keep_findable(
    paths: Paths,
    lock: Hold,
    control: Control,
    book: Book,
    key: Callable[[], str | None],
    *,
    reads: Callable[[], bool],
    leave: Callable[[], None],
    restart: Callable[[str], None],
) -> None:
    """Restore what others find the supervisor by when it is removed: lock, sockets, state file and key.

    `leave` is called when the home is gone or another's, `restart` with the reason when the server's socket is gone,
    unless an answer is being read.
    """
    home_s = ours_s = monotonic()
    missed = False
    while True:
        await asyncio.sleep(LOOK_S)
        try:
            there = await in_thread(_look, paths, lock, control, book.record, key())
        except (OSError, R1tuiError) as error:
            _log.warning("the supervisor's files cannot be checked: %s", error)
            continue
        now_s = monotonic()
        home_s = now_s if "home" in there else home_s
        ours_s = now_s if "lock" in there or "home" not in there else ours_s
        if now_s - home_s >= GONE_S or now_s - ours_s >= TAKEN_S:
            _log.warning("another process has taken the lock" if "home" in there else "the state folder is gone")
            leave()
            return
        state = book.record.state
        if "lock" not in there or state in ENDED:
            continue
        if "control" not in there:
            with suppress(OSError):
                await control.listen()
        if "record" not in there:
            await book.catch_up(is_lost=True)
        lost = state in ("ready", "sleeping") and "socket" not in there
        if lost and missed and not reads():
            restart(SOCKET_GONE)
        missed = lost


def _look(paths: Paths, lock: Hold, control: Control, record: ServerRecord, key: str | None) -> set[str]:
    """The things that are there; the lock and the key are put back at once. Raises OSError and R1tuiError."""
    if not paths.state.is_dir():
        return set()
    private_folder(paths.run)
    if not lock.take_again():
        return {"home"}
    for ours in (paths.supervisor_socket, paths.state_file):
        make_way(ours)
    if key is not None and record.spec.key_file is not None and not Path(record.spec.key_file).exists():
        write_key(Path(record.spec.key_file), key)
    written = None
    with suppress(msgspec.DecodeError):
        written = read_record(paths)
    there = {
        "control": control.is_there(),
        "record": written is not None and written.supervisor == record.supervisor,
        "socket": Path(record.spec.socket).is_socket(),
    }
    return {"home", "lock", *(name for name, is_there in there.items() if is_there)}
