"""Faults against the real llama-server, as a table: `python -m tests.bench.faults [ROUNDS [WORD]]`.

Each fault has folders, a keeper and a server of its own; afterwards nothing may run that `status` does not know, and
one stop must end it. `ROUNDS` (20) is how often screen, keeper or both are killed at a random moment; with WORD only
the faults that have it in their name.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import msgspec

from r1tui.chat.conversation import Conversation
from r1tui.config import Config, EngineSettings, SamplingSettings, ServerSettings
from r1tui.engine import build_engine
from r1tui.keeper import client
from r1tui.keeper.state import Status
from r1tui.paths import Paths
from r1tui.process import command_line, identify, wait
from tests.engine_figures import running_worker
from tests.keeper_rig import SocketConnection, call, open_stream, spec_for, start_ready, until
from tests.ptys import Terminal
from tests.stored import last_conversation, last_states
from tests.tiny_r1 import build

THINK, WORDS = "Hm.\n", "one two three four.\n\n"
RESTARTS = [0.2, 0.5, 1.0]
PATIENCE_S = 120.0


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
        now = client.status(self.paths)
        return [
            pid for pid in (int(name) for name in os.listdir("/proc") if name.isdigit())  # noqa: PTH208
            if pid not in (now.pid, now.keeper_pid, os.getpid())
            and str(self.paths.state.parent) in " ".join(command_line(pid)) and identify(pid)
        ]  # fmt: skip

    def conversation(self) -> Conversation:
        """The screen's conversation."""
        return last_conversation(self.paths)

    def ask(self, terminal: Terminal) -> None:
        """Ask in the screen, and see the answer begin."""
        before = {path.name for path in self.paths.answers.glob("*.sse")}
        terminal.wait_for("Models")
        terminal.type("hello")
        terminal.wait_for("hello")
        deadline_s = monotonic() + PATIENCE_S
        while not {path.name for path in self.paths.answers.glob("*.sse") if path.stat().st_size} - before:
            assert monotonic() < deadline_s, "the answer did not begin"
            terminal.type("\r")  # a question that comes before the model is ready waits in the prompt
            sleep(1.0)


@contextmanager
def home(server: Path, model: Path) -> Iterator[Home]:
    """Folders of its own for the block; whatever happened, one stop leaves nothing."""
    folder = Path(tempfile.mkdtemp(prefix="r1tui-faults-"))
    os.environ["R1TUI_HOME"] = str(folder / "home")
    paths = Paths.from_environment()
    paths.config_file.parent.mkdir(parents=True)
    settings = Config(
        engine=EngineSettings(source=str(server)),
        server=ServerSettings(threads=1),
        sampling=SamplingSettings(max_tokens=3000),
    )
    paths.config_file.write_bytes(msgspec.json.encode(settings))
    here = Home(paths, server, model)
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


def killed_idle(here: Home) -> str:
    """kill -9 of an idle server."""
    kill(here.ready().pid)
    return told(here.settled())


def killed_loading(here: Home) -> str:
    """kill -9 of a server that loads."""
    spec = spec_for(here.server, here.model, here.paths, restart_delays_s=RESTARTS)
    client.start(spec, here.paths)
    kill(until(lambda: client.status(here.paths).pid))
    return told(here.settled())


def killed_answering(here: Home) -> str:
    """kill -9 of a server in the middle of an answer."""
    pid = here.ready().pid
    open_stream(here.paths.server_socket, "c1").close()
    kill(pid)
    return told(here.settled())


def killed_keeper_answering(here: Home) -> str:
    """kill -9 of the keeper in the middle of an answer, then the next r1tui."""
    before = here.ready(max_tokens=2000)
    client.answer_started(here.paths, "c1")
    open_stream(here.paths.server_socket, "c1").close()
    kill(before.keeper_pid)
    after = client.adopt(here.paths)
    assert after.pid == before.pid
    until(lambda: not client.status(here.paths).answers, PATIENCE_S)
    return f"{told(here.settled())}, same server, answer recorded to its end"


def killed_both(here: Home) -> str:
    """kill -9 of keeper and server."""
    before = here.ready()
    kill(before.keeper_pid)
    kill(before.pid)
    return told(client.status(here.paths))


def stopped_server(here: Home) -> str:
    """SIGSTOP of a ready server, then Ctrl+R."""
    pid = here.ready(silence_s=1.0).pid
    kill(pid, signal.SIGSTOP)
    hanging = next(status for status in client.watch(here.paths) if status.hangs)
    client.restart(here.paths)
    until(lambda: (now := client.status(here.paths)).pid not in (None, pid) and now.state == "ready", PATIENCE_S)
    return f"{hanging.cause} then {told(client.status(here.paths))}"


def stopped_keeper(here: Home) -> str:
    """SIGSTOP of the keeper, then a stop."""
    kill(here.ready().keeper_pid, signal.SIGSTOP)
    started_s = monotonic()
    after = client.stop(here.paths)
    return f"{told(after)} after {monotonic() - started_s:.1f} s"


def broken_file(here: Home, change: Callable[[bytearray], None]) -> str:
    """A model's file that is not what it should be."""
    data = bytearray(here.model.read_bytes())
    change(data)
    here.model = here.model.parent / "broken.gguf"
    here.model.write_bytes(data)
    client.start(spec_for(here.server, here.model, here.paths, restart_delays_s=RESTARTS), here.paths)
    return told(here.settled())


def cut(data: bytearray) -> None:
    """Half of it is missing."""
    del data[len(data) // 2 :]


def zeroed(data: bytearray) -> None:
    """Its second half is zeros, which only a checksum tells."""
    data[len(data) // 2 :] = bytes(len(data) - len(data) // 2)


def missing_shard(here: Home) -> str:
    """The second shard is not there."""
    folder = here.paths.state.parent
    first = build(folder / "tiny.gguf", shard_tensors=40)
    for shard in first.parent.glob("*-00002-of-*"):
        shard.unlink()
    here.model = first
    client.start(spec_for(here.server, first, here.paths, restart_delays_s=RESTARTS), here.paths)
    return told(here.settled())


def removed_run_folder(here: Home) -> str:
    """The folder of the sockets is removed under a ready server."""
    ready = here.ready()
    pid = ready.pid
    shutil.rmtree(here.paths.run)
    before = client.adopt(here.paths)
    assert (before.pid, before.keeper_pid) == (ready.pid, ready.keeper_pid)
    client.stop(here.paths)
    assert pid is None or identify(pid) is None
    return f"{told(before)}; one stop ended it"


def full_disk(here: Home) -> str:
    """The disk under log and state is full (a tmpfs of 256 KiB)."""
    here.paths.state.mkdir(parents=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", here.paths.state], check=False, capture_output=True
    )
    if mounted.returncode:
        return "not tried: no right to mount"
    try:
        here.ready()
        with (here.paths.state / "filler").open("wb", buffering=0) as filler, suppress(OSError):
            while filler.write(bytes(4096)) == 4096:
                pass
        connection = SocketConnection(here.paths.server_socket)
        body = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 200}
        code = call(connection, "POST", "/v1/chat/completions", body)[0]
        return f"{told(client.status(here.paths))}; it answers {code}; {told(client.stop(here.paths))}"
    finally:
        client.stop(here.paths)
        subprocess.run(["umount", here.paths.state], check=False)


def too_little_memory(here: Home) -> str:
    """ulimit -v makes loading fail."""
    spec = spec_for(
        here.server, here.model, here.paths, "--ctx-size", "8000000", "--fit", "off", restart_delays_s=RESTARTS
    )
    limited = ["/bin/sh", "-c", 'ulimit -v 3000000; exec "$@"', "sh", *spec.argv]
    client.start(msgspec.structs.replace(spec, argv=limited), here.paths)
    return told(here.settled())


def lost_worker(here: Home) -> str:
    """The RPC worker is killed in the middle of an answer."""
    with running_worker(here.server) as worker:
        here.ready("--rpc", worker, "--n-gpu-layers", "99")
        stream = open_stream(here.paths.server_socket, "c1")
    until(lambda: client.status(here.paths).state == "failed", PATIENCE_S)
    stream.close()
    return told(client.status(here.paths))


def random_kills(here: Home, rounds: int) -> str:
    """kill -9 of screen, keeper or both at a random moment of start, load, chat and stop."""
    chance = random.Random(3407)  # noqa: S311
    lost = 0
    model = here.paths.state.parent / "model.gguf"
    shutil.copy(here.model, model)
    for number in range(rounds):
        with Terminal("--variant", str(model)) as terminal:
            if number % 2:
                here.ask(terminal)
            sleep(chance.uniform(0.0, 2.0))
            if number % 5 == 4:
                subprocess.Popen(
                    [sys.executable, "-m", "r1tui", "stop"], stderr=subprocess.DEVNULL
                )  # in the middle of it
            victims = chance.choice(["screen", "keeper", "both"])
            if victims != "screen" and (pid := client.status(here.paths).keeper_pid) is not None:
                with suppress(ProcessLookupError):
                    kill(pid)
            if victims != "keeper":
                terminal.kill()
            else:
                sleep(0.3)
                terminal.kill()
        until(lambda: not here.strangers(), 60)
        if number % 2 and not any(turn.question == "hello" for turn in here.conversation().turns):
            lost += 1
        if number % 4 == 3:
            client.stop(here.paths)
            until(lambda: not here.strangers(), 60)
    return f"{rounds} rounds, {lost} conversations lost, no stranger"


def lost_terminals(here: Home, rounds: int, how: str, later_s: float) -> str:
    """Terminals closed, or screens killed, in the middle of a 3,000-token answer; the next one has it whole."""
    here.ready(max_tokens=3000)
    body = {"messages": [{"role": "user", "content": "hello"}]}
    answer = json.loads(call(SocketConnection(here.paths.server_socket), "POST", "/v1/chat/completions", body)[1])
    whole = answer["choices"][0]["message"]["content"]
    same = 0
    for _ in range(rounds):
        shutil.rmtree(here.paths.conversations, ignore_errors=True)
        shutil.rmtree(here.paths.answers, ignore_errors=True)
        with Terminal() as terminal:
            here.ask(terminal)
            if how == "close":
                terminal.hang_up()
            else:
                terminal.kill()
        sleep(later_s)
        with Terminal() as terminal:
            until(lambda: last_states(here.paths) == ["done"], PATIENCE_S)
            terminal.kill()
        same += here.conversation().turns[-1].answer.content.text.lstrip() == whole.lstrip()
    return f"{same} of {rounds} answers identical to an undisturbed one"


def main(rounds: int = 20, word: str = "") -> int:
    """Print the table; the exit status says whether all went well."""
    server = build_engine(EngineSettings(), Paths.from_environment(), lambda event: None).server
    with tempfile.TemporaryDirectory() as folder:
        looping = build(Path(folder) / "loop.gguf", think=THINK, answer=WORDS, loop=True)
        faults: list[tuple[str, Callable[[Home], str]]] = [
            (fault.__doc__ or "", fault)
            for fault in (
                killed_idle, killed_loading, killed_answering, killed_keeper_answering, killed_both, stopped_server,
                stopped_keeper, missing_shard, removed_run_folder, full_disk, too_little_memory, lost_worker,
            )
        ]  # fmt: skip
        faults += [
            ("A file that was cut.", lambda here: broken_file(here, cut)),
            ("A file whose second half is zeros.", lambda here: broken_file(here, zeroed)),
            (f"{rounds} kill -9 at random moments.", lambda here: random_kills(here, rounds)),
            ("Ten terminals closed, back at once.", lambda here: lost_terminals(here, 10, "close", 0.0)),
            ("Ten screens killed, back at once.", lambda here: lost_terminals(here, 10, "kill", 0.0)),
            ("One terminal closed, back after 400 s.", lambda here: lost_terminals(here, 1, "close", 400.0)),
        ]
        failed = 0
        for name, fault in [one for one in faults if word in one[0]]:
            started_s = monotonic()
            try:
                with home(server, looping) as here:
                    outcome = fault(here)
            except Exception as error:
                failed += 1
                outcome = f"FAILED: {type(error).__name__}: {error}"
            print(f"| {name} | {outcome} | {monotonic() - started_s:.1f} s |", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 20, "".join(sys.argv[2:3])))
