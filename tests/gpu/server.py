"""A llama-server on a port of its own, with its log, what it loaded in which time, and the speed of its answers."""

import random
import re
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep

import httpx2

from r1tui.plan.capabilities import HOST, Buffers
from r1tui.server.buffers import read_buffers
from r1tui.server.command import Tcp, with_free_port
from tests.gpu.rig import Rig
from tests.sparse_r1 import VOCAB

TROUBLE = re.compile(r" E |error|abort|ASSERT")
FREED_MIB, FREED_S = 64, 20.0


@dataclass(frozen=True)
class Timings:
    """Of one request; `error` is empty when it was answered."""

    prompt_tps: float = 0.0
    answer_tps: float = 0.0
    error: str = ""


@dataclass(frozen=True)
class End:
    """Seconds until the process was gone, and until the card's memory was free."""

    exit_s: float
    free_s: float


class Server:
    """It is ready or has ended when it is made; `is_ready` says which."""

    def __init__(self, rig: Rig, model: Path, *arguments: object, env: Mapping[str, str], wait_s: float) -> None:
        self._rig = rig
        self._port = with_free_port(Tcp("127.0.0.1", 0)).port
        self._log = rig.work / f"server-{self._port}-{monotonic():.0f}.log"
        self._client = httpx2.Client(base_url=f"http://127.0.0.1:{self._port}", trust_env=False)
        self.base_mib = rig.card.used_mib()
        command: list[object] = [
            rig.server, "-m", model, "--host", "127.0.0.1", "--port", self._port, "-lv", 4, "--parallel", 1,
            "--fit", "off", "--no-ui", *arguments,
        ]  # fmt: skip
        began_s = monotonic()
        with self._log.open("w") as log:
            self.process = subprocess.Popen(
                list(map(str, command)), stdout=log, stderr=subprocess.STDOUT, env={**rig.env, **env}
            )
        self.is_ready = self._becomes_ready(began_s + wait_s)
        self.load_s = monotonic() - began_s
        self.loaded_mib = self.grown_mib()

    def lines(self) -> list[str]:
        """Its log."""
        return self._log.read_text(errors="replace").splitlines()

    def trouble(self, count: int = 6) -> list[str]:
        """The last lines of its log that tell of an error."""
        return [line for line in self.lines() if TROUBLE.search(line)][-count:]

    def buffers(self) -> tuple[Buffers, ...]:
        """What it allocated, by its log."""
        return read_buffers(self.lines())

    def on_devices_mib(self) -> int:
        """Its buffers on the cards."""
        return sum(one.weights_mib + one.kv_mib + one.compute_mib for one in self.buffers() if one.name != HOST)

    def grown_mib(self) -> float:
        """What the cards hold now beyond what they held before it began."""
        return self._rig.card.used_mib() - self.base_mib

    def own_mib(self) -> float | None:
        """What the driver says that it holds."""
        return self._rig.card.own_mib(self.process.pid)

    def ask(self, n_prompt: int, n_predict: int = 1, *, timeout_s: float = 300) -> Timings:
        """A prompt of so many random tokens, read anew."""
        chosen = random.Random(n_prompt)  # noqa: S311
        body = {
            "prompt": [chosen.randrange(2, VOCAB) for _ in range(n_prompt)],
            "n_predict": n_predict,
            "cache_prompt": False,
            "temperature": 1.0,
            "ignore_eos": True,
        }
        try:
            answer = self._client.post("/completion", json=body, timeout=timeout_s)
            answer.raise_for_status()
            timings = answer.json()["timings"]
        except (httpx2.HTTPError, ValueError, KeyError) as error:
            return Timings(error=repr(error)[:200])
        return Timings(timings.get("prompt_per_second", 0.0), timings.get("predicted_per_second", 0.0))

    def status_within(self, seconds: float) -> int | None:
        """Its exit status, if it ends within so many seconds; an abort takes a moment after the failed request."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def end(self, *, kill: bool = False) -> End:
        """Stop it, and wait for the memory."""
        began_s = monotonic()
        if kill:
            self.process.kill()
        else:
            self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        exit_s = monotonic() - began_s
        self._client.close()
        while self._rig.card.used_mib() > self.base_mib + FREED_MIB and monotonic() - began_s < FREED_S:
            sleep(0.02)
        return End(exit_s, monotonic() - began_s)

    def _becomes_ready(self, deadline_s: float) -> bool:
        while monotonic() < deadline_s and self.process.poll() is None:
            try:
                if self._client.get("/health", timeout=5).status_code == 200:
                    return True
            except httpx2.HTTPError:
                pass
            sleep(0.05)
        return False


@contextmanager
def serving(
    rig: Rig, model: Path, *arguments: object, env: Mapping[str, str] | None = None, wait_s: float = 240
) -> Iterator[Server]:
    """A server for the block."""
    server = Server(rig, model, *arguments, env=env or {}, wait_s=wait_s)
    try:
        yield server
    finally:
        if server.process.returncode is None:
            server.end()


def signal_name(status: int | None) -> str:
    """An exit status in words: `signal 9`, `status 1`."""
    if status is None:
        return "still running"
    return f"signal {-status}" if status < 0 else f"status {status}"
