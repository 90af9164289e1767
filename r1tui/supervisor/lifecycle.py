"""The supervisor itself: llama-server's parent and the only writer of its state, from the start to the end."""

import asyncio
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any, Literal

import msgspec

from r1tui.errors import R1tuiError
from r1tui.messages import Ending, FallbackPlan, Op, ProcessId, ServerRecord, ServerSpec, Status
from r1tui.remedies import Advice, BuildEngine, StartServer
from r1tui.server.diagnosis import MEMORY_KINDS, Diagnosis, diagnose
from r1tui.server.prompt_cache import folder_of
from r1tui.supervisor.book import DISK_S, Book, OnStatus
from r1tui.supervisor.control import Control
from r1tui.supervisor.ending import clean_up, did_not_exit_error, end_server, wait_vram_free
from r1tui.supervisor.key import make_key, read_key_if_any
from r1tui.supervisor.prompts import save_before_sleep
from r1tui.supervisor.recorder import Recorder
from r1tui.supervisor.status import another_server, find_processes, mark_environment
from r1tui.supervisor.watches import (
    OomWatch,
    begin_log,
    follow_health,
    follow_owner,
    keep_findable,
    last_lines,
    learn_too_large,
    maintain_files,
)
from r1tui.supervisor.worker import TaskDiedError, WorkerThread, in_thread, log_errors, named
from r1tui.system.environment import KEY_VARIABLE, server_environment
from r1tui.system.files import make_way
from r1tui.system.locks import Hold
from r1tui.system.logs import log_unexpected
from r1tui.system.paths import Paths, private_folder
from r1tui.system.processes import identify, kill_session, spawn, stop, variable, wait_ended

MOST_ANSWERS = 256
ON_REQUEST = "Stopped on request."
MOST_ENDINGS = 16
KILL_S = 2.0


@dataclass(frozen=True)
class Restart:
    """Restart after `delay_s`, with this many `failures` counted and with the `fallback` plan if there is one."""

    delay_s: float
    failures: int
    words: str
    fallback: FallbackPlan | None = None


def decide_restart(record: ServerRecord, diagnosis: Diagnosis, exit_status: int | None, now_s: float) -> Restart | None:
    """Decide how to restart; None if unwanted, pointless or tried often enough. `now_s` and `ready_s` share a clock."""
    if diagnosis.kind in MEMORY_KINDS:
        for fallback in record.spec.smaller:
            if diagnosis.kind == "gpu_memory" or fallback.spares_host:
                return Restart(0.0, record.failures, f"Restarting with less: {fallback.words}.", fallback)
    delays_s = record.spec.restart_delays_s
    was_ready = record.ready_s is not None
    by_itself = exit_status is not None and (exit_status >= 0 or exit_status == -signal.SIGABRT)
    if not delays_s or diagnosis.kind in ("lasting", *MEMORY_KINDS) or (by_itself and not was_ready):
        return None
    steady = record.ready_s is not None and now_s - record.ready_s >= record.spec.steady_s
    failures = 0 if steady else record.failures
    if failures >= len(delays_s):
        return None
    delay_s = delays_s[failures]
    words = f"Restarting in {delay_s:.0f} s (attempt {failures + 1} of {len(delays_s)})."
    return Restart(delay_s, failures + 1, words)


def with_fallback(spec: ServerSpec, fallback: FallbackPlan) -> ServerSpec:
    """The spec of a start with this plan: it and all before it are used up."""
    left = spec.smaller[spec.smaller.index(fallback) + 1 :]
    return msgspec.structs.replace(spec, argv=fallback.argv, plan=fallback.plan, smaller=left)


def format_gave_up(record: ServerRecord) -> str:
    """A sentence on the restarts before a failure; empty without any."""
    count = record.failures
    return f" Gave up after {count} restart{'s' if count > 1 else ''}." if count else ""


class Supervisor:
    """One server's life. Everything is decided in one event loop, and every disk access is in a thread beside it."""

    def __init__(self, record: ServerRecord, paths: Paths, lock: Hold, on_status: OnStatus | None = None) -> None:
        self._paths = paths
        self._lock = lock
        self._disk = WorkerThread("disk")
        self._book = Book(record, paths, self._disk, lock, on_status)
        self._requested = asyncio.Event()
        self._wish: Literal["stop", "restart"] | None = None
        self._why = ON_REQUEST
        """Of a restart that is wished."""
        self._child: subprocess.Popen[bytes] | None = None
        self._key: str | None = None
        self._oom_watch = OomWatch()
        socket = Path(record.spec.socket)
        self._recorder = Recorder(paths.answers, socket, lambda: self._key, self._note_answers, self._disk)
        self.interrupted = False
        """True if Ctrl+C stopped it."""

    async def run(self, *, detached: bool) -> Status:
        """Run until the server has ended for good. Raises R1tuiError when the state file cannot be written at first."""
        with stop_signals(self._request_stop, self._interrupt, detached=detached):
            async with Control(self._paths.supervisor_socket, self._book, self._obey) as control:
                if self._record.server is None:
                    await self._book.change("starting", must_save=True, **_FRESH)
                try:
                    await self._live(control)
                except Exception as error:
                    await self._give_up(error)
                finally:
                    await self._book.close()
                return self._book.status()

    @property
    def _record(self) -> ServerRecord:
        return self._book.record

    def _request_stop(self) -> None:
        self._wish = "stop"
        self._requested.set()

    def _request_restart(self, why: str = ON_REQUEST) -> None:
        """End the server and start it again, unless it is being stopped; while it waits, at once."""
        self._why = why
        self._wish = self._wish or "restart"
        self._requested.set()

    def _interrupt(self) -> None:
        self.interrupted = True
        self._request_stop()

    async def _obey(self, op: Op, conversation_id: str) -> None:
        match op:
            case "stop":
                self._request_stop()
            case "restart":
                self._request_restart()
            case "answer_started":
                self._recorder.begin(conversation_id)
                await self._note_answers(conversation_id, running=True)
            case "answer_ended":
                self._recorder.asker_done(conversation_id)

    async def _note_answers(self, conversation_id: str, *, running: bool = False) -> None:
        answers = [one for one in self._record.answers if one != conversation_id]
        answers = [*answers, *([conversation_id] if running else [])][-MOST_ANSWERS:]
        if answers != self._record.answers:
            await self._book.note(answers=answers)
            self._book.tell_watchers()

    async def _live(self, control: Control) -> None:
        async with asyncio.TaskGroup() as tasks:
            work = keep_findable(
                self._paths,
                self._lock,
                control,
                self._book,
                lambda: self._key,
                reads=self._recorder.reads,
                leave=self._request_stop,
                restart=self._request_restart,
            )
            found = tasks.create_task(named("Checking the supervisor's files", work))
            server = self._record.server
            server = await (self._start() if server is None else self._take_over(server))
            while server is not None:
                server = await self._keep(server)
            found.cancel()

    async def _start(self) -> ProcessId | None:
        spec = self._record.spec
        if self._record.state != "starting":
            await self._book.change("starting", **_FRESH)
        self._oom_watch = OomWatch()
        try:
            await in_thread(self._must_be_alone)
            self._key = await self._disk.do(_make_ready, spec, self._paths)
            wanted = spec.plan.env if spec.plan else {}  # what the user set goes before it
            env = mark_environment(wanted | server_environment(os.environ, self._key), self._paths)
            self._child = await in_thread(spawn, spec.argv, env, self._paths.server_log, Path(spec.cwd or "/"))
        except (OSError, R1tuiError) as error:
            if isinstance(error, OSError):
                error = R1tuiError(f"{spec.argv[0]} cannot be started: {error.strerror}.", BuildEngine())
            await self._fail(error)
            return None
        server = identify(self._child.pid) or ProcessId(self._child.pid, "")
        await self._book.change("loading", server=server, started_s=monotonic())
        return server

    def _must_be_alone(self) -> None:
        if others := find_processes(self._paths).servers:
            raise another_server(Status(state="failed", pid=others[0].pid))
        private_folder(self._paths.run)
        if not self._lock.take_again():
            raise R1tuiError("Another r1tui has taken over, so no second server was started.", StartServer())

    async def _take_over(self, server: ProcessId) -> ProcessId:
        self._key = await self._disk.do(read_key_if_any, self._record.spec)
        if self._key is None and self._record.spec.key_file:
            self._key = variable(server.pid, KEY_VARIABLE)  # its file was removed
        for answer in self._record.answers:
            self._recorder.begin(answer)
        state = self._record.state
        if state == "stopping":
            self._request_stop()
        elif state == "restarting":
            self._request_restart()
        else:
            await self._book.change(state if state in ("ready", "sleeping") else "loading")
        return server

    async def _keep(self, server: ProcessId) -> ProcessId | None:
        """Watch the server until it ends or is ended; the one started in its place. Raises grouped TaskDiedErrors."""
        spec, socket = self._record.spec, Path(self._record.spec.socket)
        work = {
            "Checking the server's health": follow_health(self._book, self._key),
            "Watching log and memory": maintain_files(self._book, self._paths, self._disk, self._oom_watch),
            "Watching the server's owner": follow_owner(self._book, self._request_stop),
            "Saving prompt caches": save_before_sleep(spec.argv, server, socket, self._key),
        }
        async with asyncio.TaskGroup() as tasks:
            ended = tasks.create_task(named("Waiting for the server to end", wait_ended(server)))
            told = tasks.create_task(named("Waiting for requests", self._requested.wait()))
            helpers = [tasks.create_task(named(f"{what} (supervisor)", one)) for what, one in work.items()]
            await asyncio.wait((ended, told), return_when=asyncio.FIRST_COMPLETED)
            over = ended.done()
            for task in (*helpers, ended, told):
                task.cancel()
        return await (self._go_on_after(server) if over else self._end(server))

    async def _end(self, server: ProcessId) -> ProcessId | None:
        hangs = self._book.status().hangs
        await self._book.change("stopping" if self._wish == "stop" else "restarting", cause=None)
        self._recorder.server_stops()
        if not await end_server(server, self._record.spec, [] if hangs else self._record.answers, hangs=hangs):
            await self._fail(did_not_exit_error(server))
            return None
        await self._recorder.close(stopped=True)
        if self._wish != "stop":
            endings = self._endings(self._why, "Restarting.")
            self._book.replace(failures=0, restarts=self._record.restarts + 1, endings=endings)
        return await self._start_again(self._collect())

    async def _start_again(self, exit_status: int | None) -> ProcessId | None:
        """The server started in place of one that ended; None where a stop was requested."""
        if self._wish == "stop":
            await self._book.erase(self._clean_up)
            self._book.tell(state="stopped", exit_status=exit_status, answers=[])
            return None
        self._wish = None
        self._requested.clear()
        return await self._start()

    async def _go_on_after(self, server: ProcessId) -> ProcessId | None:
        exit_status = self._collect()
        await in_thread(kill_session, server)
        lines = await self._disk.do(last_lines, self._paths.server_log, with_older=self._record.log_capped)
        spec, oom_killed = self._record.spec, self._oom_watch.killed()
        diagnosis = diagnose(lines, exit_status, oom_killed=oom_killed, variant=spec.fetched_as)
        await self._recorder.close(stopped=False)
        on_gpu = diagnosis.kind == "gpu_memory"
        learning = in_thread(learn_too_large, self._paths, spec, diagnosis.gpu) if on_gpu else asyncio.sleep(0)
        again = decide_restart(self._record, diagnosis, exit_status, monotonic())
        if again is None:
            cause = diagnosis.cause + format_gave_up(self._record)
            self._book.replace(kind=diagnosis.kind)
            await self._fail(R1tuiError(cause, *diagnosis.remedies), diagnosis.evidence, exit_status)
            await learning
            return None
        await self._book.change(
            "restarting",
            server=None,
            endings=self._endings(diagnosis.cause, again.words, diagnosis.kind),
            exit_status=exit_status,
            restarts=self._record.restarts + 1,
            failures=again.failures,
            cause=diagnosis.cause,
            remedies=(Advice(again.words),),
            evidence=list(diagnosis.evidence),
            spec=with_fallback(spec, again.fallback) if again.fallback else spec,
        )
        await learning
        await in_thread(wait_vram_free, server.pid)
        with suppress(TimeoutError):
            await asyncio.wait_for(self._requested.wait(), again.delay_s)
        return await self._start_again(exit_status)

    def _endings(self, cause: str, then: str, kind: str = "") -> list[Ending]:
        ending = Ending(cause=cause, next=then, kind=kind, plan=self._record.spec.plan)
        return [*self._record.endings, ending][-MOST_ENDINGS:]

    def _collect(self) -> int | None:
        child, self._child = self._child, None
        return child.wait() if child is not None else None

    async def _kill_child(self) -> int | None:
        """Kill the server if it still runs, whatever went wrong; its exit status if it has ended."""
        if self._child is None:
            return None
        self._child.kill()  # nothing, to one that has ended
        with suppress(subprocess.TimeoutExpired):
            await in_thread(self._child.wait, KILL_S)
            return self._collect()
        return None

    def _clean_up(self, *, keep_state: bool = False) -> None:
        if not self._lock.is_taken():
            clean_up(self._paths, self._record.spec, keep_state=keep_state)

    async def _fail(self, error: R1tuiError, evidence: tuple[str, ...] = (), exit_status: int | None = None) -> None:
        why = {"cause": error.cause, "remedies": error.remedies, "evidence": list(evidence)}
        self._book.replace(**why, exit_status=exit_status, answers=[])
        await self._book.change("failed")
        await self._disk.wait_at_most(self._disk.put(self._clean_up, keep_state=True), DISK_S)

    async def _give_up(self, error: Exception) -> None:
        first = error
        while isinstance(first, ExceptionGroup):
            first = first.exceptions[0]
        died = first if isinstance(first, TaskDiedError) else None
        told = log_unexpected((died and died.__cause__) or first, died.what if died else "The supervisor")
        told = R1tuiError(told.cause, StartServer(), *told.remedies)
        server = self._record.server
        if server is None and self._child is not None:  # it died between spawning and telling
            with log_errors("Finding the server"):
                server = identify(self._child.pid)
        if server is not None:
            with log_errors("Reporting the end"):
                await self._book.change("stopping", cause=told.cause, remedies=told.remedies)
            try:
                await end_server(server, self._record.spec, self._record.answers)
            except Exception as second:
                log_unexpected(second, "Ending the server")
                await in_thread(stop, server)
            await self._recorder.close(stopped=False)
        exit_status = await self._kill_child()
        with log_errors("Reporting the end"):
            await self._fail(told, exit_status=exit_status)


_FRESH: dict[str, Any] = {"server": None, "ready_s": None, "log_capped": False, "answers": []}
"""Fields of a record that are reset when its server starts."""


def _make_ready(spec: ServerSpec, paths: Paths) -> str | None:
    """Remove leftovers that llama-server refuses, and make its key if it needs one. Raises OSError, R1tuiError."""
    begin_log(paths.server_log)
    if (kept := folder_of(spec.argv)) is not None:  # llama-server refuses one that is not there
        kept.mkdir(mode=0o700, parents=True, exist_ok=True)
    make_way(Path(spec.socket))
    Path(spec.socket).unlink(missing_ok=True)  # llama-server refuses one that is left over
    return make_key(Path(spec.key_file)) if spec.key_file else None


@contextmanager
def stop_signals(stop: Callable[[], None], interrupt: Callable[[], None], *, detached: bool) -> Iterator[None]:
    """SIGTERM and a closed terminal call `stop`, Ctrl+C `interrupt`; a detached supervisor ignores its terminal."""
    loop = asyncio.get_running_loop()
    numbers = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP]
    with suppress(ValueError, RuntimeError):  # not the main thread: then its program sees to signals
        for number in numbers:
            if number is signal.SIGHUP and detached:
                signal.signal(number, signal.SIG_IGN)
            elif signal.getsignal(number) is not signal.SIG_IGN:  # nohup
                in_person = number is signal.SIGINT and not detached
                loop.add_signal_handler(number, interrupt if in_person else stop)
    try:
        yield
    finally:
        with suppress(ValueError, RuntimeError):
            for number in numbers:
                loop.remove_signal_handler(number)
