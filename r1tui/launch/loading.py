"""A server that comes up, as events: its states, how much of the model is in memory, whether it is stuck."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from r1tui.errors import CancelledError
from r1tui.events import LogLine, Meter, Notice, StageDone, StageEvent, StageFailed
from r1tui.messages import Status
from r1tui.remedies import GiveUp, ShowLog
from r1tui.supervisor import client as supervisor
from r1tui.system.lazy import psutil
from r1tui.system.log_reader import LogReader
from r1tui.system.paths import Paths
from r1tui.text import duration, plain

LOOK_S = 0.5
StatusChanges = Callable[[], AsyncGenerator[Status, None]]
"""The status now and at each change, until the server has ended."""
_STEPS = (
    ("load_tensors:", "reading the weights"),
    ("llama_context: constructing", "allocating the context"),
    ("warming up the model", "warming up"),
)
"""Log lines of llama-server (b11434) and the step that each begins."""


@dataclass(frozen=True)
class Signs:
    """Activity counters of a process; any change is a sign of life."""

    cpu_s: float
    read_bytes: int
    """By read() or from disk, whichever is more: mapped files are read by no call, cached ones from no disk."""
    resident_bytes: int


def read_signs(pid: int) -> Signs | None:
    """The process's figures now; None when there are none."""
    try:
        process = psutil.Process(pid)
        read_bytes = 0
        with suppress(psutil.AccessDenied, AttributeError):  # macOS does not say
            counters = process.io_counters()
            read_bytes = max(counters.read_chars, counters.read_bytes)
        times = process.cpu_times()
        return Signs(times.user + times.system, read_bytes, process.memory_info().rss)
    except (psutil.Error, OSError, ValueError):
        return None


class LoadingWatch:
    """Follows one loading process: progress, steps, and a notice when it has done nothing for `stuck_s`."""

    def __init__(self, pid: int, log: Path, total_bytes: int | None, stuck_s: float) -> None:
        self._pid = pid
        self._log = LogReader(log)
        self._total = total_bytes
        self._stuck_s = stuck_s
        self._events: list[StageEvent] = []
        self._meter = Meter("server", "bytes", self._events.append, total_bytes)
        self._signs: Signs | None = None
        self._alive_s = monotonic()
        self._has_warned = False
        self._done_bytes = 0
        self._step = ""

    def look(self) -> Iterator[StageEvent]:
        wrote = False
        for line in self._log.lines():
            wrote = True
            step = next((words for mark, words in _STEPS if mark in line), "")
            if step and step != self._step:
                self._step = step
                yield LogLine("server", step)
        signs = read_signs(self._pid)
        if signs is not None:
            self._done_bytes = max(self._done_bytes, signs.resident_bytes, signs.read_bytes)
            self._meter.update(min(self._done_bytes, self._total or self._done_bytes))
            yield from self._events
            self._events.clear()
        if wrote or signs is None or signs != self._signs:
            self._signs, self._alive_s, self._has_warned = signs, monotonic(), False
        elif not self._has_warned and monotonic() - self._alive_s >= self._stuck_s:
            self._has_warned = True
            idle = f"llama-server has done nothing for {duration(self._stuck_s)}: no CPU use, no reading, no log."
            yield Notice.of("server", f"{idle} Still waiting.", GiveUp())

    def close(self) -> None:
        self._log.close()


async def follow_server(
    paths: Paths,
    stuck_s: float,
    note: Callable[[Status], None] = lambda status: None,
    *,
    restarts: int = 0,
    changes: StatusChanges | None = None,
) -> AsyncGenerator[StageEvent, None]:
    """The events of a server that comes up, until it is ready, has failed or was stopped; `note` hears each status.

    Each time that it ends by itself and is started again is an event, beyond the first `restarts`. Waits as long as
    loading takes. Who watches the server already hands over its `changes`.
    """
    statuses: asyncio.Queue[Status | None] = asyncio.Queue()

    async def watch() -> None:
        try:
            async with aclosing(changes() if changes is not None else supervisor.watch_async(paths)) as watched:
                async for status in watched:
                    statuses.put_nowait(status)
        finally:
            statuses.put_nowait(None)

    watching = asyncio.create_task(watch())
    loading: LoadingWatch | None = None
    try:
        while True:
            try:
                async with asyncio.timeout(LOOK_S):  # `wait_for` of Python 3.11 may lose a cancellation
                    status = await statuses.get()
            except TimeoutError:
                for event in loading.look() if loading else ():
                    yield event
                continue
            if status is None:
                await watching
                return
            note(status)
            if loading is not None:
                loading.close()
                loading = None
            for ending in status.endings[restarts - status.restarts :] if status.restarts > restarts else ():
                yield Notice("server", plain(f"{ending.cause} {ending.next}"))
            restarts = max(restarts, status.restarts)
            yield LogLine("server", status.state)
            if status.settled:
                return
            if status.state == "loading" and status.pid is not None:
                weights_bytes = status.plan.weights_bytes or None if status.plan else None
                loading = LoadingWatch(status.pid, paths.server_log, weights_bytes, stuck_s)
    finally:
        watching.cancel()
        if loading is not None:
            loading.close()


def outcome(status: Status | None) -> StageEvent:
    """The last event of a server that came up, or did not."""
    if status is not None and status.state in ("ready", "sleeping"):
        took = f" in {duration(status.uptime_s)}" if status.uptime_s is not None else ""
        return StageDone("server", status.endpoint or "", f"ready{took}")
    if status is None or status.state == "stopped":
        return StageFailed("server", "The server was stopped before it was ready.", "", CancelledError.exit_status)
    return StageFailed("server", status.cause or "llama-server ended.", remedies=status.remedies or (ShowLog(),))
