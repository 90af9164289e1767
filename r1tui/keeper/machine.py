"""The keeper itself: llama-server's parent and the only writer of its state, from the start to the end."""

import asyncio
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from time import monotonic
from typing import Any, Literal

import msgspec

from r1tui.environment import server_environment
from r1tui.errors import CancelledError, R1tuiError
from r1tui.keeper.control import Control
from r1tui.keeper.ending import clean_up, end_server, read_key, undead, wait_vram_free
from r1tui.keeper.log import begin_log, cap_log, last_lines
from r1tui.keeper.memory import OomWatch, learn_too_large
from r1tui.keeper.policy import gave_up, what_next, with_less
from r1tui.keeper.prompts import keep_before_sleep
from r1tui.keeper.pulse import feel_pulse
from r1tui.keeper.recorder import Recorder
from r1tui.keeper.state import (
    ENDED,
    START_AGAIN,
    VERSION,
    Ending,
    ServerRecord,
    ServerSpec,
    State,
    Status,
    another_server,
    asked_by_others,
    describe,
    read_record,
    running_server,
    status,
    write_record,
)
from r1tui.locks import locked
from r1tui.paths import Paths, private_folder
from r1tui.process import ProcessId, boot_id, identify, kill_session, runs_command, spawn, wait_ended
from r1tui.server.command import new_api_key
from r1tui.server.diagnosis import diagnose
from r1tui.server.slots import folder_of

FIRST_POLL_S = 0.1
LONGEST_POLL_S = 1.0
PULSE_S = 5.0
"""Between two looks at a ready server; a crash is noticed at once, a hang need not be."""
PULSE_TIMEOUT_S = 5.0
SLEEP_POLL_S = 1.0
LOOK_S = 1.0
OWNER_CHECK_S = 1.0
MOST_ANSWERS = 256
MOST_ENDINGS = 16

HANGS = "llama-server runs but has stopped answering."
HANGS_REMEDY = "Ctrl+R starts it again; `r1tui stop` ends it."

OnStatus = Callable[[Status], None]


def run_keeper(spec: ServerSpec, paths: Paths, on_status: OnStatus | None = None, *, detached: bool = False) -> Status:
    """Start the server and keep it until it ends or is told to stop: by a client, SIGTERM or Ctrl+C.

    The status at the end is `stopped` or `failed`. Raises R1tuiError, before anything is started, when another server
    is running, and CancelledError, after everything is stopped, for Ctrl+C.
    """
    with _keeper_lock(paths):
        before = status(paths)
        if before.pid is not None:
            raise another_server(before)
        clean_up(paths, None)
        record = ServerRecord(spec=spec, boot=boot_id(), log=str(paths.server_log))
        keeper = Keeper(record, paths, on_status)
        last = asyncio.run(keeper.run(detached=detached))
    if keeper.interrupted:
        raise CancelledError("The server was stopped.")
    return last


def adopt_server(paths: Paths, on_status: OnStatus | None = None, *, detached: bool = False) -> Status:
    """Take over the server of a keeper that was killed, as `run_keeper` does; raises R1tuiError when there is none."""
    with _keeper_lock(paths):
        record = read_record(paths)
        server = running_server(record) if record is not None else None
        if record is None or server is None:
            raise R1tuiError("There is no server to take over.", START_AGAIN)
        keeper = Keeper(_caught_up(record, server), paths, on_status)
        return asyncio.run(keeper.run(detached=detached))


def _caught_up(record: ServerRecord, server: ProcessId) -> ServerRecord:
    """The record of this server, which may have been started since the file could last be written."""
    if server == record.server:
        return record
    smaller = next((one for one in record.spec.smaller if runs_command(server.pid, one.argv)), None)
    less = with_less(record, smaller) if smaller else {}
    return msgspec.structs.replace(record, server=server, state="loading", started_s=monotonic(), ready_s=None, **less)


@contextmanager
def _keeper_lock(paths: Paths) -> Iterator[None]:
    private_folder(paths.run)
    with ExitStack() as held:
        try:
            held.enter_context(locked(paths.keeper_lock, "The keeper of this R1TUI_HOME"))
        except R1tuiError as error:
            raise another_server(status(paths)) from error
        yield


class Keeper:
    """One server's life. Everything happens in one event loop, so a state is never seen half-made."""

    def __init__(self, record: ServerRecord, paths: Paths, on_status: OnStatus | None = None) -> None:
        self._record = msgspec.structs.replace(record, version=VERSION, keeper=identify(os.getpid()))
        self._paths = paths
        self._on_status = on_status
        self._queues: set[asyncio.Queue[Status]] = set()
        self._told = asyncio.Event()
        self._wish: Literal["stop", "restart"] | None = None
        self._child: subprocess.Popen[bytes] | None = None
        self._oom_watch = OomWatch()
        spec = self._record.spec
        self._recorder = Recorder(paths.answers, Path(spec.socket), lambda: read_key(spec), self._answer_over)
        self.interrupted = False
        """Whether Ctrl+C stopped it."""

    async def run(self, *, detached: bool) -> Status:
        """Until the server has ended for good, for whatever reason."""
        with self._signals(detached):
            async with Control(self._paths.keeper_socket, self):
                server = self._record.server
                server = self._start() if server is None else self._take_over(server)
                while server is not None:
                    server = await self._keep(server)
                return self.status()

    def status(self) -> Status:
        """What clients are told."""
        if self._record.state in ENDED:
            return describe(self._record, server=None, keeper_pid=None)
        return describe(self._record, server=self._record.server, keeper_pid=os.getpid())

    def subscribe(self) -> "asyncio.Queue[Status]":
        """A queue that receives every status from now on."""
        queue: asyncio.Queue[Status] = asyncio.Queue()
        self._queues.add(queue)
        return queue

    def unsubscribe(self, queue: "asyncio.Queue[Status]") -> None:
        """Forget the queue."""
        self._queues.discard(queue)

    def request_stop(self) -> None:
        """Stop the server in order, if that is not being done already."""
        self._wish = "stop"
        self._told.set()

    def request_restart(self) -> None:
        """End the server in order and start it again, unless it is being stopped; while it waits, at once."""
        self._wish = self._wish or "restart"
        self._told.set()

    def _interrupt(self) -> None:
        self.interrupted = True
        self.request_stop()

    def note_answer(self, conversation_id: str, *, running: bool) -> None:
        """An answer begins, and is recorded to its end; or whoever asked waits for it no more."""
        if running:
            self._recorder.begin(conversation_id)
            others = [one for one in self._record.answers if one != conversation_id]
            self._note_answers([*others, conversation_id][-MOST_ANSWERS:])
        else:
            self._recorder.asker_done(conversation_id)

    def _answer_over(self, conversation_id: str) -> None:
        self._note_answers([one for one in self._record.answers if one != conversation_id])

    def _note_answers(self, answers: list[str]) -> None:
        if answers != self._record.answers:
            self._record = msgspec.structs.replace(self._record, answers=answers)
            self._save()

    def _start(self) -> ProcessId | None:
        """Spawn the server; None when it could not be started, which is then the state."""
        spec = self._record.spec
        first = not self._record.restarts
        self._change("starting", must_save=first, server=None, ready_s=None, log_capped=False, answers=[])
        self._oom_watch = OomWatch()
        try:
            begin_log(self._paths.server_log)
            if (kept := folder_of(spec.argv)) is not None:  # llama-server refuses one that is not there
                kept.mkdir(mode=0o700, parents=True, exist_ok=True)
            Path(spec.socket).unlink(missing_ok=True)  # llama-server refuses one that is left over
            env = server_environment(os.environ, new_api_key(Path(spec.key_file)) if spec.key_file else None)
            self._child = spawn(spec.argv, env, self._paths.server_log, Path(spec.cwd or "/"))
        except OSError as error:
            self._fail(f"{spec.argv[0]} cannot be started: {error.strerror}.", "Build it again: `r1tui build`.", ())
            return None
        server = identify(self._child.pid) or ProcessId(self._child.pid, "")
        self._change("loading", server=server, started_s=monotonic())
        return server

    def _take_over(self, server: ProcessId) -> ProcessId:
        """Go on where a killed keeper was: with its answers, or with a stop or a restart that it did not finish."""
        for answer in self._record.answers:
            self._recorder.begin(answer)
        state = self._record.state
        if state == "stopping":
            self.request_stop()
        elif state == "restarting":
            self.request_restart()
        else:
            self._change(state if state in ("ready", "sleeping") else "loading")
        return server

    async def _keep(self, server: ProcessId) -> ProcessId | None:
        """Watch over the server until it ends or is ended; the one that is started in its place."""
        ended = asyncio.create_task(wait_ended(server))
        told = asyncio.create_task(self._told.wait())
        keeping = keep_before_sleep((spec := self._record.spec).argv, server, Path(spec.socket), read_key(spec))
        work = (self._follow_health(), self._look_after(), self._follow_owner(), keeping)
        helpers = [asyncio.create_task(one) for one in work]
        try:
            await asyncio.wait((ended, told), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (*helpers, told):
                task.cancel()
        if ended.done():
            return await self._go_on_after(server)
        return await self._end(server, ended)

    async def _end(self, server: ProcessId, ended: "asyncio.Task[None]") -> ProcessId | None:
        """End the server as it was wished, and start it again if that was the wish."""
        hangs = self.status().hangs
        self._change("stopping" if self._wish == "stop" else "restarting", cause=None, remedy=None)
        self._recorder.server_stops()
        if not await end_server(server, self._record.spec, [] if hangs else self._record.answers, hangs=hangs):
            ended.cancel()
            self._fail(*undead(server), ())
            return None
        await ended
        exit_status = self._collect()
        await self._recorder.close(stopped=True)
        if self._wish == "stop":
            self._stopped(exit_status)
            return None
        self._wish = None
        self._told.clear()
        self._record = msgspec.structs.replace(
            self._record,
            failures=0,
            restarts=self._record.restarts + 1,
            endings=self._endings("It was ended on request.", "It starts again."),
        )
        return self._start()

    async def _go_on_after(self, server: ProcessId) -> ProcessId | None:
        """The server ended by itself: start it again, after a while or with less, or give up."""
        exit_status = self._collect()
        kill_session(server)
        lines = last_lines(self._paths.server_log, with_older=self._record.log_capped)
        spec, oom_killed = self._record.spec, self._oom_watch.killed()
        diagnosis = diagnose(lines, exit_status, oom_killed=oom_killed, variant=spec.fetched_as)
        await self._recorder.close(stopped=False)
        on_gpu = diagnosis.kind == "gpu_memory"
        learning = asyncio.to_thread(learn_too_large, self._paths, spec) if on_gpu else asyncio.sleep(0)
        again = what_next(self._record, diagnosis, exit_status, monotonic())
        if again is None:
            cause = diagnosis.cause + gave_up(self._record)
            self._record = msgspec.structs.replace(self._record, kind=diagnosis.kind)
            self._fail(cause, diagnosis.remedy, diagnosis.evidence, exit_status)
            await learning
            return None
        self._change(
            "restarting",
            server=None,
            endings=self._endings(diagnosis.cause, again.words, diagnosis.kind),
            exit_status=exit_status,
            restarts=self._record.restarts + 1,
            failures=again.failures,
            cause=diagnosis.cause,
            remedy=again.words,
            evidence=list(diagnosis.evidence),
            **(with_less(self._record, again.smaller) if again.smaller else {}),
        )
        await learning
        await asyncio.to_thread(wait_vram_free, server.pid)
        with suppress(TimeoutError):
            await asyncio.wait_for(self._told.wait(), again.delay_s)
        if self._wish == "stop":
            self._stopped(exit_status)
            return None
        self._wish = None
        self._told.clear()
        return self._start()

    def _endings(self, cause: str, then: str, kind: str = "") -> list[Ending]:
        ending = Ending(cause=cause, next=then, kind=kind, plan=self._record.spec.plan)
        return [*self._record.endings, ending][-MOST_ENDINGS:]

    def _collect(self) -> int | None:
        """The exit status of our child; None of a server that was taken over."""
        child, self._child = self._child, None
        return child.wait() if child is not None else None

    def _stopped(self, exit_status: int | None) -> None:
        clean_up(self._paths, self._record.spec)
        self._tell(state="stopped", exit_status=exit_status, answers=[])

    async def _follow_health(self) -> None:
        """Keep the state true while the server runs; loading may take as long as it takes."""
        spec, key, pause_s, well_s = self._record.spec, read_key(self._record.spec), FIRST_POLL_S, monotonic()
        timeout_s = min(PULSE_TIMEOUT_S, spec.silence_s)
        while True:
            pulse = await feel_pulse(Path(spec.socket), key, sleeps=spec.sleeps, timeout_s=timeout_s)
            loading = self._record.state == "loading"
            if pulse is not None:
                well_s = monotonic()
            if pulse is not None and (pulse != self._record.state or self.status().hangs) and pulse != "loading":
                ready_s = self._record.ready_s or monotonic()
                self._change(pulse, ready_s=ready_s, cause=None, remedy=None, evidence=[])
            elif pulse is None and not loading and monotonic() - well_s >= spec.silence_s and not self.status().hangs:
                self._change(self._record.state, cause=HANGS, remedy=HANGS_REMEDY)
            rest_s = min(SLEEP_POLL_S if spec.sleeps else PULSE_S, spec.silence_s)
            await asyncio.sleep(pause_s if loading else rest_s)
            pause_s = min(pause_s * 1.2, LONGEST_POLL_S)

    async def _follow_owner(self) -> None:
        """End with the process that the server is for, and with the last answer that somebody else still waits for."""
        if (owner := self._record.spec.owner) is not None:
            await wait_ended(owner)
            while asked_by_others(self._record.answers, owner.pid):  # noqa: ASYNC110
                await asyncio.sleep(OWNER_CHECK_S)
            self.request_stop()

    async def _look_after(self) -> None:
        """Keep the log small, and in mind whom the kernel kills."""
        limit_bytes = self._record.spec.log_max_mib << 20
        while True:
            await asyncio.sleep(LOOK_S)
            self._oom_watch.look()
            with suppress(OSError):
                log = self._paths.server_log
                if log.stat().st_size > limit_bytes and await asyncio.to_thread(cap_log, log, limit_bytes):
                    self._record = msgspec.structs.replace(self._record, log_capped=True)
                    self._save()

    def _fail(self, cause: str, remedy: str, evidence: tuple[str, ...], exit_status: int | None = None) -> None:
        self._change("failed", cause=cause, remedy=remedy, evidence=list(evidence), exit_status=exit_status, answers=[])
        clean_up(self._paths, self._record.spec, keep_state=True)

    def _change(self, state: State, *, must_save: bool = False, **fields: Any) -> None:
        """Enter a state: written to the state file first, then told to everybody."""
        self._record = msgspec.structs.replace(self._record, state=state, **fields)
        self._save(must=must_save)
        self._tell()

    def _tell(self, **fields: object) -> None:
        self._record = msgspec.structs.replace(self._record, **fields)
        current = self.status()
        for queue in self._queues:
            queue.put_nowait(current)
        if self._on_status is not None:
            self._on_status(current)

    def _save(self, *, must: bool = False) -> None:
        """Write the state file; a full disk must not cost the server, once it runs."""
        try:
            write_record(self._paths, self._record)
        except OSError as error:
            if must:
                raise R1tuiError(
                    f"{self._paths.state_file} cannot be written: {error.strerror}.",
                    "Make room there, or set R1TUI_HOME.",
                ) from error

    @contextmanager
    def _signals(self, detached: bool) -> Iterator[None]:
        """SIGTERM and Ctrl+C stop the server in order; so does a closed terminal, unless detached or under nohup."""
        loop = asyncio.get_running_loop()
        numbers = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP]
        with suppress(ValueError, RuntimeError):  # not the main thread: then its program sees to signals
            for number in numbers:
                if number is signal.SIGHUP and detached:
                    signal.signal(number, signal.SIG_IGN)
                elif signal.getsignal(number) is not signal.SIG_IGN:  # nohup
                    in_person = number is signal.SIGINT and not detached
                    loop.add_signal_handler(number, self._interrupt if in_person else self.request_stop)
        try:
            yield
        finally:
            with suppress(ValueError, RuntimeError):
                for number in numbers:
                    loop.remove_signal_handler(number)
