"""The keeper itself: llama-server's parent and the only writer of its state, from the start to the end."""

import asyncio
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from time import monotonic

import msgspec

from r1tui.errors import CancelledError, R1tuiError
from r1tui.keeper.control import Control
from r1tui.keeper.ending import clean_up, end_server, read_key
from r1tui.keeper.http import request
from r1tui.keeper.log import begin_log, cap_log, last_lines
from r1tui.keeper.state import (
    ENDED,
    START_AGAIN,
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
from r1tui.process import ProcessId, boot_id, identify, kill_session, spawn, wait_ended
from r1tui.server.command import new_api_key, server_environment
from r1tui.server.diagnosis import diagnose

FIRST_POLL_S = 0.1
LONGEST_POLL_S = 1.0
LOG_CHECK_S = 1.0
OWNER_CHECK_S = 1.0
MOST_ANSWERS = 256

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
        record = msgspec.structs.replace(record, server=server)
        return asyncio.run(Keeper(record, paths, on_status).run(detached=detached))


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
        self._record = msgspec.structs.replace(record, keeper=identify(os.getpid()))
        self._paths = paths
        self._on_status = on_status
        self._queues: set[asyncio.Queue[Status]] = set()
        self._stop = asyncio.Event()
        self._child: subprocess.Popen[bytes] | None = None
        self.interrupted = False
        """Whether Ctrl+C stopped it."""

    async def run(self, *, detached: bool) -> Status:
        """Until the server has ended, for whatever reason."""
        with self._signals(detached):
            async with Control(self._paths.keeper_socket, self):
                server = self._record.server
                if server is None:
                    server = self._start()
                elif self._record.state == "stopping":
                    self._stop.set()  # what its last keeper did not finish
                else:
                    self._change("ready" if self._record.state == "ready" else "loading")
                if server is not None:
                    await self._keep(server)
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
        self._stop.set()

    def _interrupt(self) -> None:
        self.interrupted = True
        self.request_stop()

    def note_answer(self, conversation_id: str, *, running: bool) -> None:
        """An answer begins or has ended; the running ones are ended before the server is."""
        answers = [one for one in self._record.answers if one != conversation_id]
        if running:
            answers = [*answers, conversation_id][-MOST_ANSWERS:]
        if answers != self._record.answers:
            self._record = msgspec.structs.replace(self._record, answers=answers)
            self._save()

    def _start(self) -> ProcessId | None:
        """Spawn the server; None when it could not be started, which is then the state."""
        spec = self._record.spec
        begin_log(self._paths.server_log)
        self._change("starting", must_save=True)
        try:
            Path(spec.socket).unlink(missing_ok=True)  # llama-server refuses one that is left over
            env = server_environment(os.environ, new_api_key(Path(spec.key_file)) if spec.key_file else None)
            self._child = spawn(spec.argv, env, self._paths.server_log, Path(spec.cwd or "/"))
        except OSError as error:
            self._fail(f"{spec.argv[0]} cannot be started: {error.strerror}.", "Build it again: `r1tui build`.", ())
            return None
        server = identify(self._child.pid) or ProcessId(self._child.pid, "")
        self._change("loading", server=server, started_s=monotonic())
        return server

    async def _keep(self, server: ProcessId) -> None:
        """Watch over the server until it ends by itself or is ended."""
        ended = asyncio.create_task(wait_ended(server))
        told = asyncio.create_task(self._stop.wait())
        helpers = [asyncio.create_task(work) for work in (self._wait_ready(), self._cap_log(), self._follow_owner())]
        try:
            await asyncio.wait((ended, told), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (*helpers, told):
                task.cancel()
        if not ended.done():
            self._change("stopping")
            if not await end_server(server, self._record.spec, self._record.answers):
                ended.cancel()
                self._fail(
                    f"llama-server (process {server.pid}) did not end when it was killed.",
                    "It waits for a disk or a driver; a restart of the machine ends it.",
                    (),
                )
                return
            await ended
        exit_status = self._child.wait() if self._child is not None else None
        if self._record.state == "stopping":
            clean_up(self._paths, self._record.spec)
            self._tell(state="stopped", exit_status=exit_status, answers=[])
        else:
            kill_session(server)
            lines = last_lines(self._paths.server_log, with_older=self._record.log_capped)
            diagnosis = diagnose(lines, exit_status)
            self._fail(diagnosis.cause, diagnosis.remedy, diagnosis.evidence, exit_status)

    async def _wait_ready(self) -> None:
        """Ask for its health until it is well; loading may take as long as it takes."""
        spec, pause_s = self._record.spec, FIRST_POLL_S
        key = read_key(spec)
        while self._record.state == "loading":
            answer = await request(Path(spec.socket), "GET", "/health", key)
            if answer is not None and answer[0] == 200 and self._record.state == "loading":
                self._change("ready")
            else:
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 1.2, LONGEST_POLL_S)

    async def _follow_owner(self) -> None:
        """End with the process that the server is for, and with the last answer that somebody else still waits for."""
        if (owner := self._record.spec.owner) is not None:
            await wait_ended(owner)
            while asked_by_others(self._record.answers, owner.pid):  # noqa: ASYNC110
                await asyncio.sleep(OWNER_CHECK_S)  # an asker that is killed tells nobody
            self.request_stop()

    async def _cap_log(self) -> None:
        limit_bytes = self._record.spec.log_max_mib << 20
        while True:
            await asyncio.sleep(LOG_CHECK_S)
            with suppress(OSError):
                log = self._paths.server_log
                if log.stat().st_size > limit_bytes and await asyncio.to_thread(cap_log, log, limit_bytes):
                    self._record = msgspec.structs.replace(self._record, log_capped=True)
                    self._save()

    def _fail(self, cause: str, remedy: str, evidence: tuple[str, ...], exit_status: int | None = None) -> None:
        self._change("failed", cause=cause, remedy=remedy, evidence=list(evidence), exit_status=exit_status, answers=[])
        clean_up(self._paths, self._record.spec, keep_state=True)

    def _change(self, state: State, *, must_save: bool = False, **fields: object) -> None:
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
