"""What the faults share: folders of their own with a model and a supervisor, and what is true of them afterwards."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, sleep
from typing import Any, Literal

import msgspec

from r1tui.chat.conversation import Conversation
from r1tui.config import Config, EngineSettings, SamplingSettings, ServerSettings
from r1tui.messages import Status
from r1tui.supervisor import client
from r1tui.system.paths import Paths
from r1tui.system.processes import command_line, identify, wait
from r1tui.text import shortened
from tests.ptys import Terminal
from tests.stored import conversations
from tests.supervisor_rig import SocketConnection, call, spec_for, start_ready, until, watch

RESTARTS = [0.2, 0.5, 1.0]
PATIENCE_S = 120.0
ANSWER_TOKENS = 3000
NEW_CHAT = "\x0e"  # ctrl+n


class NotTriedError(Exception):
    """A fault that cannot be made on this machine."""


@dataclass(frozen=True)
class Ran:
    """A command that has ended."""

    code: int
    words: str
    seconds: float

    def told(self, name: str) -> str:
        """It in a few words: its first line where it failed."""
        said = self.words.partition("Error: ")[2] or self.words
        why = "" if self.code == 0 else f" ({shortened(said.strip(), 90)})"
        return f"{name} {self.code} in {self.seconds:.1f} s{why}"


@dataclass
class Home:
    """One fault's folders, its engine, its model, and one that takes seconds to load."""

    paths: Paths
    server: Path
    model: Path
    large: Path
    children: list["subprocess.Popen[bytes]"] = field(default_factory=list)

    def ready(self, *extra: str, max_tokens: int = 100_000, **fields: Any) -> Status:
        """A ready server under a supervisor that starts it again."""
        spec = spec_for(self.server, self.model, self.paths, "--n-predict", str(max_tokens), *extra,
                        **{"restart_delays_s": RESTARTS, **fields})  # fmt: skip
        return start_ready(spec, self.paths)

    def settled(self) -> Status:
        """What it comes to."""
        return next(status for status in watch(self.paths) if status.settled)

    def command(self, *arguments: str, within_s: float = 60.0, ok: bool = False, foreseen: bool = True) -> Ran:
        """Run `r1tui`; fails when it hangs, ends in a traceback or without a cause, or not well though it is to.

        An error that r1tui itself did not foresee is none unless it was made on purpose (`foreseen`).
        """
        started_s = monotonic()
        name = " ".join(arguments[:2])
        try:
            ran = subprocess.run(
                [sys.executable, "-m", "r1tui", *arguments], stdin=subprocess.DEVNULL, capture_output=True,
                timeout=within_s, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise AssertionError(f"`{name}` still runs after {within_s:.0f} s") from None
        said, error = ran.stdout.decode(errors="replace"), ran.stderr.decode(errors="replace")
        assert "Traceback" not in said + error, f"`{name}` ends in a traceback: {error[-300:]}"
        assert not foreseen or "unexpected error" not in error, f"`{name}`: {error}"
        assert ran.returncode == 0 or (error or said).strip(), f"`{name}` fails without a word"
        assert not ok or ran.returncode == 0, f"`{name}` ends with {ran.returncode}: {error}"
        return Ran(ran.returncode, error or said, monotonic() - started_s)

    def meanwhile(self, child: "subprocess.Popen[bytes]") -> None:
        """A process that goes on beside; it is collected at the end."""
        self.children.append(child)

    def processes(self) -> list[int]:
        """The processes of these folders, whether `status` knows them or not."""
        return [
            pid for pid in (int(name) for name in os.listdir("/proc") if name.isdigit())  # noqa: PTH208
            if pid != os.getpid() and str(self.paths.state.parent) in " ".join(command_line(pid)) and identify(pid)
        ]  # fmt: skip

    def servers(self) -> list[int]:
        """Those of them that are a llama-server."""
        return [pid for pid in self.processes() if command_line(pid)[0].endswith("llama-server")]

    def strangers(self) -> list[int]:
        """Those of them that `status` does not name."""
        now = client.status(self.paths)
        return [pid for pid in self.processes() if pid not in (now.pid, now.supervisor_pid)]

    def sweep(self) -> None:
        """Kill what is left, whatever state it is in."""
        for pid in self.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for child in self.children:
            child.kill()
            child.wait()

    def conversation(self) -> Conversation | None:
        """The newest conversation as it is on the disk now, whoever holds it."""
        found = conversations(self.paths) if self.paths.conversations.exists() else []
        return found[0] if found else None

    def records(self) -> set[Path]:
        """The records of answers that have begun."""
        return {path for path in self.paths.answers.glob("*.sse") if path.stat().st_size}

    def ask(self, terminal: Terminal, question: str = "hello") -> None:
        """Ask in a new chat, and see the answer begin."""
        before = self.records()
        terminal.wait_for("Models")
        terminal.type(f"{NEW_CHAT}{question}")
        terminal.wait_for(question)
        deadline_s = monotonic() + PATIENCE_S
        while not self.records() - before:
            assert monotonic() < deadline_s, "the answer did not begin"
            terminal.type("\r")  # a question that comes before the model is ready waits in the prompt
            sleep(1.0)

    def come_back(self) -> Conversation | None:
        """What the next screen has once the answer that it found running has ended; a server is supervised by then."""
        with Terminal() as terminal:
            until(lambda: b"Models" in terminal.shown or b"Back" in terminal.shown, PATIENCE_S)  # the chat, or the list
            until(lambda: (now := client.status(self.paths)).supervisor_pid is not None or now.pid is None, PATIENCE_S)
            until(lambda: (found := self.conversation()) is None or not found.running, PATIENCE_S)
            terminal.kill()
        return self.conversation()

    def knows(self, answer_id: str) -> bool:
        """Whether llama-server has this answer, or a part of it, in its buffer."""
        body = {"conversation_ids": [answer_id]}
        code, reply = call(SocketConnection(self.paths.server_socket), "POST", "/v1/streams/lookup", body)
        assert code == 200, reply
        return answer_id.encode() in reply

    def keep_on_exit(self) -> None:
        """A screen that is left asks nothing, and leaves the server."""
        self.set_longest_answer(ANSWER_TOKENS, on_exit="keep")

    def set_longest_answer(self, tokens: int, on_exit: Literal["ask", "keep"] = "ask") -> None:
        """What screens that start from now on ask for."""
        settings = Config(
            engine=EngineSettings(source=str(self.server)),
            server=ServerSettings(threads=1, on_exit=on_exit),
            sampling=SamplingSettings(max_tokens=tokens, temperature=0.0),
        )
        self.paths.config_file.write_bytes(msgspec.json.encode(settings))


@contextmanager
def home(server: Path, model: Path, large: Path) -> Iterator[Home]:
    """Folders of its own for the block; whatever happened, one stop leaves nothing."""
    folder = Path(tempfile.mkdtemp(prefix="r1tui-faults-"))
    os.environ["R1TUI_HOME"] = str(folder / "home")
    paths = Paths.from_environment()
    paths.config_file.parent.mkdir(parents=True)
    here = Home(paths, server, model, large)
    here.set_longest_answer(ANSWER_TOKENS)
    try:
        yield here
        until(lambda: not here.strangers(), 10)  # a supervisor that has failed ends a moment later
        here.command("stop", ok=True)
        left = [str(path) for path in paths.run.iterdir()] if paths.run.exists() else []
        assert not left, f"left over: {left}"
        until(lambda: not here.processes(), 10)
    finally:
        here.sweep()
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Raise AssertionError in the block after so long."""

    def over(number: int, frame: object) -> None:
        raise AssertionError(f"it still went on after {seconds:.0f} s")

    before = signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def kill(pid: int | None, number: signal.Signals = signal.SIGKILL) -> None:
    """Send the signal, and wait for the end that it brings."""
    assert pid is not None
    process = identify(pid)
    os.kill(pid, number)
    if number == signal.SIGKILL and process is not None:
        assert wait(process, 10)


def told(status: Status) -> str:
    """State and cause in one line."""
    return f"{status.state}, {status.restarts} restarts" + (f": {status.cause}" if status.cause else "")
