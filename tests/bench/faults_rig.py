"""What the faults share: folders of their own with a model and a keeper, and what is true of them afterwards."""

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import msgspec

from r1tui.chat.conversation import Conversation
from r1tui.config import Config, EngineSettings, SamplingSettings, ServerSettings
from r1tui.keeper import client
from r1tui.keeper.state import Status
from r1tui.paths import Paths
from r1tui.process import command_line, identify, wait
from tests.keeper_rig import SocketConnection, call, spec_for, start_ready, until
from tests.ptys import Terminal
from tests.stored import conversations

RESTARTS = [0.2, 0.5, 1.0]
PATIENCE_S = 120.0
ANSWER_TOKENS = 3000
NEW_CHAT = "\x0e"  # ctrl+n


@dataclass
class Home:
    """One fault's folders, its engine and its model."""

    paths: Paths
    server: Path
    model: Path

    def ready(self, *extra: str, max_tokens: int = 100_000, **fields: Any) -> Status:
        """A ready server under a keeper that starts it again."""
        spec = spec_for(self.server, self.model, self.paths, "--n-predict", str(max_tokens), *extra,
                        **{"restart_delays_s": RESTARTS, **fields})  # fmt: skip
        return start_ready(spec, self.paths)

    def settled(self) -> Status:
        """What it comes to."""
        return next(status for status in client.watch(self.paths) if status.settled)

    def strangers(self) -> list[int]:
        """Processes of these folders that `status` does not name."""
        found = [
            pid for pid in (int(name) for name in os.listdir("/proc") if name.isdigit())  # noqa: PTH208
            if pid != os.getpid() and str(self.paths.state.parent) in " ".join(command_line(pid)) and identify(pid)
        ]  # fmt: skip
        now = client.status(self.paths)
        return [pid for pid in found if pid not in (now.pid, now.keeper_pid)]

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
        """What the next screen has once the answer that it found running has ended; a server has a keeper by then."""
        with Terminal() as terminal:
            until(lambda: b"Models" in terminal.shown or b"Back" in terminal.shown, PATIENCE_S)  # the chat, or the list
            until(lambda: (now := client.status(self.paths)).keeper_pid is not None or now.pid is None, PATIENCE_S)
            until(lambda: (found := self.conversation()) is None or not found.running, PATIENCE_S)
            terminal.kill()
        return self.conversation()

    def knows(self, answer_id: str) -> bool:
        """Whether llama-server has this answer, or a part of it, in its buffer."""
        body = {"conversation_ids": [answer_id]}
        code, reply = call(SocketConnection(self.paths.server_socket), "POST", "/v1/streams/lookup", body)
        assert code == 200, reply
        return answer_id.encode() in reply

    def set_longest_answer(self, tokens: int) -> None:
        """What screens that start from now on ask for."""
        settings = Config(
            engine=EngineSettings(source=str(self.server)),
            server=ServerSettings(threads=1),
            sampling=SamplingSettings(max_tokens=tokens, temperature=0.0),
        )
        self.paths.config_file.write_bytes(msgspec.json.encode(settings))


@contextmanager
def home(server: Path, model: Path) -> Iterator[Home]:
    """Folders of its own for the block; whatever happened, one stop leaves nothing."""
    folder = Path(tempfile.mkdtemp(prefix="r1tui-faults-"))
    os.environ["R1TUI_HOME"] = str(folder / "home")
    paths = Paths.from_environment()
    paths.config_file.parent.mkdir(parents=True)
    here = Home(paths, server, model)
    here.set_longest_answer(ANSWER_TOKENS)
    try:
        yield here
        until(lambda: not here.strangers(), 10)  # a keeper that has failed ends a moment later
        client.stop(paths)
        left = [str(path) for path in paths.run.iterdir()] if paths.run.exists() else []
        assert not left, f"left over: {left}"
        assert not here.strangers(), "a process outlives the stop"
    finally:
        with suppress(Exception):
            client.stop(paths)
        shutil.rmtree(folder, ignore_errors=True)


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
