"""What the supervisor's tests share: specs for the real llama-server, raw requests to its socket, waiting."""

import asyncio
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, contextmanager
from functools import cache
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import msgspec

from r1tui.config import SamplingSettings, ServerSettings
from r1tui.messages import ProcessId, ServerRecord, ServerSpec, Status
from r1tui.plan.capabilities import Capabilities, parse_flags
from r1tui.server.command import compose, parse_tcp, with_free_port
from r1tui.supervisor import client
from r1tui.supervisor.status import read_record, write_record
from r1tui.system.paths import Paths
from r1tui.system.processes import wait


@cache
def capabilities_of(binary: Path) -> Capabilities:
    """What the binary says of itself."""
    shown = subprocess.run([str(binary), "--help"], capture_output=True, text=True, check=True, timeout=60)
    return Capabilities("test", None, parse_flags(shown.stdout))


def spec_for(binary: Path, model: Path, paths: Paths, *extra_args: str, tcp: bool = False, **fields: Any) -> ServerSpec:
    """A spec that runs the model with our usual arguments, and with a port and a key if `tcp`."""
    address = with_free_port(parse_tcp("127.0.0.1:0")) if tcp else None
    argv = compose(
        binary,
        capabilities_of(binary),
        model,
        ["--threads", "1"],  # two would wait for each other on busy cores
        server=ServerSettings(extra_args=list(extra_args)),
        sampling=SamplingSettings(),
        socket=paths.server_socket,
        tcp=address,
    )
    return ServerSpec(
        variant="tiny",
        model=str(model),
        argv=argv,
        socket=str(paths.server_socket),
        tcp=str(address) if address else None,
        key_file=str(paths.api_key) if tcp else None,
        **fields,
    )


def record_of(paths: Paths) -> ServerRecord:
    """What the state file says; there is one."""
    record = read_record(paths)
    assert record is not None
    return record


def change_record(paths: Paths, **fields: Any) -> None:
    """Have the state file say something else."""
    write_record(paths, msgspec.structs.replace(record_of(paths), **fields))


def kill(process: ProcessId | None) -> None:
    """End the process at once, and see it gone."""
    assert process is not None
    os.kill(process.pid, signal.SIGKILL)
    assert wait(process, PATIENCE_S)


def idle_spec(paths: Paths, *arguments: str) -> ServerSpec:
    """A spec whose server never becomes ready: enough where llama-server's own behaviour does not matter."""
    return ServerSpec(variant="idle", argv=["/bin/sleep", *(arguments or ("1000",))], socket=str(paths.server_socket))


def watch(paths: Paths) -> Iterator[Status]:
    """As `client.watch_async`, for tests without an event loop."""
    loop = asyncio.new_event_loop()
    statuses = client.watch_async(paths)
    try:
        while True:
            yield loop.run_until_complete(anext(statuses))
    except StopAsyncIteration:
        return
    finally:
        loop.run_until_complete(statuses.aclose())
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


async def settled(paths: Paths) -> Status:
    """The status once nothing more will happen by itself; waits as long as that takes."""
    async with aclosing(client.watch_async(paths)) as statuses:
        async for now in statuses:
            if now.settled:
                return now
    return client.status(paths)


def start_ready(spec: ServerSpec, paths: Paths) -> Status:
    """A started server that answers; waits for it beside the event loop that may run here."""
    client.start(spec, paths)
    with ThreadPoolExecutor(1) as beside:
        last = beside.submit(asyncio.run, settled(paths)).result()
    assert last.state == "ready", last
    until(lambda: client.status(paths).state in ("ready", "sleeping"))  # it is told before it is written
    return last


def until(fact: Callable[[], Any], within_s: float = 60.0) -> Any:
    """What `fact` returns as soon as that is true; fails when it does not become so in time."""
    deadline_s, pause_s = monotonic() + within_s, 0.005
    while not (value := fact()):
        assert monotonic() < deadline_s, "it did not come true in time"
        sleep(pause_s)
        pause_s = min(pause_s * 1.2, 0.1)  # whoever waits for long leaves the cores to what he waits for
    return value


PATIENCE_S = 120.0


class SocketConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=PATIENCE_S)
        self._path = path

    def connect(self) -> None:
        """Open the socket instead of a port."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(PATIENCE_S)
        self.sock.connect(str(self._path))


def call(
    connection: http.client.HTTPConnection, method: str, target: str, body: object = None, key: str | None = None
) -> tuple[int, bytes]:
    """One request and its whole answer."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    connection.request(method, target, None if body is None else json.dumps(body), headers)
    answer = connection.getresponse()
    return answer.status, answer.read()


def open_stream(path: Path, conversation_id: str, **fields: object) -> http.client.HTTPResponse:
    """A chat answer that is being streamed; its first line has been read."""
    connection = SocketConnection(path)
    body = {"messages": [{"role": "user", "content": "hi"}], "stream": True, "timings_per_token": True, **fields}
    connection.request("POST", "/v1/chat/completions", json.dumps(body), {"X-Conversation-Id": conversation_id})
    answer = connection.getresponse()
    assert answer.readline().startswith(b"data:")
    return answer


@contextmanager
def slowed(pid: int) -> Iterator[None]:
    """For the block the process has a tenth of its time."""

    def slow() -> None:
        while not over.wait(0.004):
            os.kill(pid, signal.SIGSTOP)
            over.wait(0.036)
            os.kill(pid, signal.SIGCONT)

    over = threading.Event()
    thread = threading.Thread(target=slow)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


TOY = Path(__file__).with_name("toy_server.py")


class Toy:
    """A server that does as its script says; `starts` are the arguments of each of its starts."""

    def __init__(self, paths: Paths, folder: Path) -> None:
        self._paths = paths
        self._script = folder / "script.json"
        self.acts({})

    def acts(self, *acts: dict[str, Any]) -> None:
        """What it does at each start; the last one at all that follow."""
        self._script.write_text(json.dumps(acts))

    @property
    def starts(self) -> list[str]:
        """One for each start so far."""
        file = self._script.with_name(self._script.name + ".starts")
        return file.read_text().splitlines() if file.exists() else []

    def argv(self, *arguments: str) -> list[str]:
        """Its command."""
        command = [sys.executable, "-S", str(TOY), str(self._paths.server_socket), str(self._script)]
        return [*command, *arguments]

    def spec(self, **fields: Any) -> ServerSpec:
        """A spec that runs it."""
        return ServerSpec(variant="toy", argv=self.argv(), socket=str(self._paths.server_socket), **fields)
