"""Named long work as a detached process: started once, followed and stopped by whoever comes."""

import os
import sys
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path

import msgspec

from r1tui.events import Notice, Stage, StageEvent, decode_event
from r1tui.messages import ProcessId
from r1tui.system.files import read_json_if_any, write_json
from r1tui.system.lazy import asyncio
from r1tui.system.locks import locked
from r1tui.system.log_reader import follow
from r1tui.system.processes import (
    STOP_WAITS_S,
    alive,
    command_line,
    find_command,
    identify,
    is_suspended,
    spawn_detached,
    stop,
)


def r1tui_command(arguments: Sequence[str], config_file: str | None = None) -> list[str]:
    """The command line of an r1tui command as a job, with the same interpreter and settings as this one."""
    options = ["--config", config_file] if config_file else []
    return [sys.executable, "-P", "-m", "r1tui", *options, *arguments]


class JobRecord(msgspec.Struct, frozen=True):
    """Content of a job's identity file; `process` is None while it is being started."""

    argv: list[str]
    process: ProcessId | None = None


class Job:
    """A named piece of long work, one at a time: whoever comes second follows the one that runs.

    Beside each other in `folder`: NAME.jsonl, the log; NAME.json, who runs; NAME.lock, held while starting.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.name = name
        self.log = folder / f"{name}.jsonl"
        self._identity = folder / f"{name}.json"
        self._lock = folder / f"{name}.lock"

    def start(
        self, argv: Sequence[str], env: Mapping[str, str] | None = None, cwd: Path | None = None
    ) -> tuple[ProcessId, bool]:
        """Start it with a log of its own, unless it runs already: the process, and whether it is new."""
        with locked(self._lock, f"The job {self.name!r}", waiting=lambda pid: None):
            if (running := self.running()) is not None:
                return running, False
            self.log.unlink(missing_ok=True)
            self._record(JobRecord(list(argv)))
            process = spawn_detached(argv, os.environ if env is None else env, self.log, cwd)
            self._record(JobRecord(list(argv), process))
            return process, True

    def take(self) -> ProcessId | None:
        """Make this process the one that does the job, with an empty log; or return the one that does it already."""
        with locked(self._lock, f"The job {self.name!r}", waiting=lambda pid: None):
            if (running := self.running()) is not None:
                return running
            self.log.unlink(missing_ok=True)
            self.log.touch(0o600)
            self._record(JobRecord(command_line(os.getpid()), identify(os.getpid())))
            return None

    def running(self) -> ProcessId | None:
        """The process that does the job now, whoever started it."""
        record = read_json_if_any(self._identity, JobRecord)
        if record is None:
            return None
        if record.process is None:  # its starter was killed half-way
            return find_command(record.argv)
        return record.process if alive(record.process) else None

    async def follow(self, from_offset: int = 0) -> AsyncGenerator[str]:
        """The lines of the running or last job's log, until it has ended and all is read."""
        process = await asyncio.to_thread(self.running)
        async with aclosing(follow(self.log, from_offset, lambda: alive(process))) as lines:
            async for line in lines:
                yield line

    async def events(self, stage: Stage, from_offset: int = 0) -> AsyncGenerator[StageEvent | str, None]:
        """The events of the running or last job, until it has ended; a line that is no event comes as it is."""
        if (process := await asyncio.to_thread(self.running)) is not None and is_suspended(process.pid):
            yield Notice(stage, f"Process {process.pid} is suspended: `kill -CONT {process.pid}` continues it.")
        async with aclosing(self.follow(from_offset)) as lines:
            async for line in lines:
                try:
                    yield decode_event(line)
                except msgspec.DecodeError:
                    yield line

    def stop(self, waits_s: tuple[float, float, float] = STOP_WAITS_S) -> bool:
        """End it if it runs; True when it does not run any more."""
        process = self.running()
        return process is None or stop(process, waits_s)

    def _record(self, record: JobRecord) -> None:
        write_json(self._identity, record)
