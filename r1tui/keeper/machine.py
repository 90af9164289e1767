"""The keeper itself: llama-server's parent and the only writer of its state, from the start to the end."""

import asyncio
import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any, Literal

import msgspec

from r1tui.environment import server_environment
from r1tui.errors import CancelledError, R1tuiError
from r1tui.keeper.book import DISK_S, Book, OnStatus
from r1tui.keeper.control import Control
from r1tui.keeper.ending import clean_up, end_server, read_key, undead, wait_vram_free
from r1tui.keeper.guard import TaskDiedError, named, whatever_happens
from r1tui.keeper.in_order import InOrder, in_thread
from r1tui.keeper.log import begin_log, last_lines
from r1tui.keeper.memory import OomWatch, learn_too_large
from r1tui.keeper.policy import gave_up, what_next, with_less
from r1tui.keeper.prompts import keep_before_sleep
from r1tui.keeper.recorder import Recorder
from r1tui.keeper.signals import stop_signals
from r1tui.keeper.state import (
    START_AGAIN,
    Ending,
    ServerRecord,
    ServerSpec,
    Status,
    another_server,
    read_record,
    running_server,
    status,
)
from r1tui.keeper.watches import follow_health, follow_owner, look_after
from r1tui.locks import locked
from r1tui.log import unforeseen
from r1tui.paths import Paths, private_folder
from r1tui.process import ProcessId, boot_id, identify, kill_session, runs_command, spawn, stop, wait_ended
from r1tui.server.command import new_api_key
from r1tui.server.diagnosis import diagnose
from r1tui.server.slots import folder_of

MOST_ANSWERS = 256
MOST_ENDINGS = 16
KILL_S = 2.0
UMASK = 0o077
"""Of the keeper and of its server: what they write holds what people wrote."""


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
    with ExitStack() as held:
        held.callback(os.umask, os.umask(UMASK))
        private_folder(paths.run)
        try:
            held.enter_context(locked(paths.keeper_lock, "The keeper of this R1TUI_HOME"))
        except R1tuiError as error:
            raise another_server(status(paths)) from error
        yield


class Keeper:
    """One server's life. Everything is decided in one event loop, and every disk access is in a thread beside it."""

    def __init__(self, record: ServerRecord, paths: Paths, on_status: OnStatus | None = None) -> None:
        self._paths = paths
        self._disk = InOrder("disk")
        self._book = Book(record, paths, self._disk, on_status)
        self._told = asyncio.Event()
        self._wish: Literal["stop", "restart"] | None = None
        self._child: subprocess.Popen[bytes] | None = None
        self._key: str | None = None
        self._oom_watch = OomWatch()
        socket = Path(record.spec.socket)
        self._recorder = Recorder(paths.answers, socket, lambda: self._key, self._answer_over, self._disk)
        self.interrupted = False
        """Whether Ctrl+C stopped it."""

    async def run(self, *, detached: bool) -> Status:
        """Until the server has ended for good, for whatever reason.

        Raises R1tuiError, before anything is started, when the state file cannot be written.
        """
        with stop_signals(self.request_stop, self._interrupt, detached=detached):
            async with Control(self._paths.keeper_socket, self):
                if self._record.server is None:
                    await self._book.change("starting", must_save=True, **_FRESH)
                try:
                    await self._live()
                except Exception as error:
                    await self._give_up(error)
                finally:
                    await self._book.close()
                return self.status()

    @property
    def _record(self) -> ServerRecord:
        return self._book.record

    def status(self) -> Status:
        """What clients are told."""
        return self._book.status()

    def subscribe(self) -> "asyncio.Queue[Status]":
        """A queue that receives every status from now on."""
        return self._book.subscribe()

    def unsubscribe(self, queue: "asyncio.Queue[Status]") -> None:
        """Forget the queue."""
        self._book.unsubscribe(queue)

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

    async def note_answer(self, conversation_id: str, *, running: bool) -> None:
        """An answer begins, and is recorded to its end; or whoever asked waits for it no more."""
        if running:
            self._recorder.begin(conversation_id)
            others = [one for one in self._record.answers if one != conversation_id]
            await self._note_answers([*others, conversation_id][-MOST_ANSWERS:])
        else:
            self._recorder.asker_done(conversation_id)

    async def _answer_over(self, conversation_id: str) -> None:
        await self._note_answers([one for one in self._record.answers if one != conversation_id])

    async def _note_answers(self, answers: list[str]) -> None:
        if answers != self._record.answers:
            await self._book.note(answers=answers)

    async def _live(self) -> None:
        """From the start, or from where another keeper was killed, to the end."""
        server = self._record.server
        server = await (self._start() if server is None else self._take_over(server))
        while server is not None:
            server = await self._keep(server)

    async def _start(self) -> ProcessId | None:
        """Spawn the server; None when it could not be started, which is then the state."""
        spec = self._record.spec
        if self._record.state != "starting":
            await self._book.change("starting", **_FRESH)
        self._oom_watch = OomWatch()
        try:
            self._key = await self._disk.do(_make_ready, spec, self._paths)
            env = server_environment(os.environ, self._key)
            self._child = await in_thread(spawn, spec.argv, env, self._paths.server_log, Path(spec.cwd or "/"))
        except OSError as error:
            await self._fail(f"{spec.argv[0]} cannot be started: {error.strerror}.", "Build it again: `r1tui build`.")
            return None
        except R1tuiError as error:
            await self._fail(error.cause, error.remedy)
            return None
        server = identify(self._child.pid) or ProcessId(self._child.pid, "")
        await self._book.change("loading", server=server, started_s=monotonic())
        return server

    async def _take_over(self, server: ProcessId) -> ProcessId:
        """Go on where a killed keeper was: with its answers, or with a stop or a restart that it did not finish."""
        self._key = await self._disk.do(read_key, self._record.spec)
        for answer in self._record.answers:
            self._recorder.begin(answer)
        state = self._record.state
        if state == "stopping":
            self.request_stop()
        elif state == "restarting":
            self.request_restart()
        else:
            await self._book.change(state if state in ("ready", "sleeping") else "loading")
        return server

    async def _keep(self, server: ProcessId) -> ProcessId | None:
        """Watch over the server until it ends or is ended; the one that is started in its place.

        Raises an ExceptionGroup of TaskDiedErrors when one of the tasks ends by what nobody foresaw.
        """
        spec, socket = self._record.spec, Path(self._record.spec.socket)
        work = {
            "The health check": follow_health(self._book, self._key),
            "The look at log and memory": look_after(self._book, self._paths, self._disk, self._oom_watch),
            "The wait for the server's owner": follow_owner(self._book, self.request_stop),
            "The keeping of prompt caches": keep_before_sleep(spec.argv, server, socket, self._key),
        }
        async with asyncio.TaskGroup() as tasks:
            ended = tasks.create_task(named("The wait for the server's end", wait_ended(server)))
            told = tasks.create_task(named("The wait for requests", _wait_for(self._told)))
            helpers = [tasks.create_task(named(f"{what} of the supervisor", one)) for what, one in work.items()]
            await asyncio.wait((ended, told), return_when=asyncio.FIRST_COMPLETED)
            over = ended.done()
            for task in (*helpers, ended, told):
                task.cancel()
        return await (self._go_on_after(server) if over else self._end(server))

    async def _end(self, server: ProcessId) -> ProcessId | None:
        """End the server as it was wished, and start it again if that was the wish."""
        hangs = self.status().hangs
        await self._book.change("stopping" if self._wish == "stop" else "restarting", cause=None, remedy=None)
        self._recorder.server_stops()
        if not await end_server(server, self._record.spec, [] if hangs else self._record.answers, hangs=hangs):
            await self._fail(*undead(server))
            return None
        exit_status = self._collect()
        with whatever_happens("The end of the answers' records"):
            await self._recorder.close(stopped=True)
        if self._wish == "stop":
            await self._stopped(exit_status)
            return None
        self._wish = None
        self._told.clear()
        again = self._endings("It was ended on request.", "It starts again.")
        self._book.replace(failures=0, restarts=self._record.restarts + 1, endings=again)
        return await self._start()

    async def _go_on_after(self, server: ProcessId) -> ProcessId | None:
        """The server ended by itself: start it again, after a while or with less, or give up."""
        exit_status = self._collect()
        await in_thread(kill_session, server)
        lines = await self._disk.do(last_lines, self._paths.server_log, with_older=self._record.log_capped)
        spec, oom_killed = self._record.spec, self._oom_watch.killed()
        diagnosis = diagnose(lines, exit_status, oom_killed=oom_killed, variant=spec.fetched_as)
        with whatever_happens("The end of the answers' records"):
            await self._recorder.close(stopped=False)
        on_gpu = diagnosis.kind == "gpu_memory"
        learning = in_thread(learn_too_large, self._paths, spec) if on_gpu else asyncio.sleep(0)
        again = what_next(self._record, diagnosis, exit_status, monotonic())
        if again is None:
            cause = diagnosis.cause + gave_up(self._record)
            self._book.replace(kind=diagnosis.kind)
            await self._fail(cause, diagnosis.remedy, diagnosis.evidence, exit_status)
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
            remedy=again.words,
            evidence=list(diagnosis.evidence),
            **(with_less(self._record, again.smaller) if again.smaller else {}),
        )
        await learning
        await in_thread(wait_vram_free, server.pid)
        with suppress(TimeoutError):
            await asyncio.wait_for(self._told.wait(), again.delay_s)
        if self._wish == "stop":
            await self._stopped(exit_status)
            return None
        self._wish = None
        self._told.clear()
        return await self._start()

    def _endings(self, cause: str, then: str, kind: str = "") -> list[Ending]:
        ending = Ending(cause=cause, next=then, kind=kind, plan=self._record.spec.plan)
        return [*self._record.endings, ending][-MOST_ENDINGS:]

    def _collect(self) -> int | None:
        """The exit status of our child; None of a server that was taken over."""
        child, self._child = self._child, None
        return child.wait() if child is not None else None

    async def _kill_child(self) -> int | None:
        """Have nothing of ours run on, whatever went wrong; its exit status, if it has ended by now."""
        if self._child is None:
            return None
        self._child.kill()  # nothing, to one that has ended
        with suppress(subprocess.TimeoutExpired):
            await in_thread(self._child.wait, KILL_S)
            return self._collect()
        return None

    async def _stopped(self, exit_status: int | None) -> None:
        await self._book.erase(partial(clean_up, self._paths, self._record.spec))
        self._book.tell(state="stopped", exit_status=exit_status, answers=[])

    async def _fail(
        self, cause: str, remedy: str, evidence: tuple[str, ...] = (), exit_status: int | None = None
    ) -> None:
        fields = {"cause": cause, "remedy": remedy, "evidence": list(evidence), "exit_status": exit_status}
        self._book.replace(**fields, answers=[])
        await self._book.change("failed")
        cleaning = self._disk.put(clean_up, self._paths, self._record.spec, keep_state=True)
        await self._disk.patiently(cleaning, DISK_S)

    async def _give_up(self, error: Exception) -> None:
        """After what nobody foresaw: end the server in order, and say by what it came."""
        first = error.exceptions[0] if isinstance(error, ExceptionGroup) else error
        died = first if isinstance(first, TaskDiedError) else None
        told = unforeseen((died and died.__cause__) or first, died.what if died else "The supervisor")
        remedy = f"{START_AGAIN} {told.remedy}".strip()
        server = self._record.server
        if server is None and self._child is not None:  # it died between spawning and telling
            with whatever_happens("The look for the server"):
                server = identify(self._child.pid)
        if server is not None:
            with whatever_happens("Telling of the end"):
                await self._book.change("stopping", cause=told.cause, remedy=remedy)
            try:
                await end_server(server, self._record.spec, self._record.answers)
            except Exception as second:
                unforeseen(second, "Ending the server")
                await in_thread(stop, server)
            with whatever_happens("The end of the answers' records"):
                await self._recorder.close(stopped=False)
        exit_status = await self._kill_child()
        with whatever_happens("Telling of the end"):
            await self._fail(told.cause, remedy, exit_status=exit_status)


_FRESH: dict[str, Any] = {"server": None, "ready_s": None, "log_capped": False, "answers": []}
"""What of a record is no more when its server starts."""


def _make_ready(spec: ServerSpec, paths: Paths) -> str | None:
    """Put out of the way what llama-server stumbles over; the key that was made for it, if it wants one.

    Raises OSError, R1tuiError.
    """
    begin_log(paths.server_log)
    if (kept := folder_of(spec.argv)) is not None:  # llama-server refuses one that is not there
        kept.mkdir(mode=0o700, parents=True, exist_ok=True)
    Path(spec.socket).unlink(missing_ok=True)  # llama-server refuses one that is left over
    return new_api_key(Path(spec.key_file)) if spec.key_file else None


async def _wait_for(event: asyncio.Event) -> None:
    await event.wait()
