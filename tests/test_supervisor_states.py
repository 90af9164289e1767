"""Any sequence of commands and kills, at any moment: one server at most, a true status, and an end of every wait."""

import os
import signal
import tempfile
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from time import monotonic, sleep

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from r1tui.errors import R1tuiError
from r1tui.messages import Status
from r1tui.supervisor import client
from r1tui.system.paths import Paths
from r1tui.system.processes import command_line, identify
from tests.supervisor_rig import SocketConnection, Toy, call, until

PATIENCE_S = 90.0


class Commands(RuleBasedStateMachine):
    """Commands are given and processes killed without waiting for what went before."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        home = Path(self._folder.name)
        os.environ["R1TUI_HOME"] = str(home)
        self.paths = Paths.from_environment()
        self.toy = Toy(self.paths, home)

    @rule()
    def start(self) -> None:
        """Start, unless there is one already, which is then named."""
        refused = ""
        try:
            assert client.start(self.toy.spec(restart_delays_s=[0.0] * 20), self.paths).running
        except R1tuiError as error:
            refused = error.cause
        assert not refused or "is already running" in refused

    @rule()
    def stop(self) -> None:
        """A stop is done when it returns, in whatever state."""
        assert client.stop(self.paths) == Status()
        assert self.servers() == []

    @rule()
    def restart(self) -> None:
        """Wish for another start."""
        client.restart(self.paths)

    @rule()
    def adopt(self) -> None:
        """Whoever comes next takes over what is there."""
        before = client.status(self.paths)
        after = client.adopt(self.paths)
        if before.pid is not None and before.pid == after.pid:
            assert after.supervisor_pid is not None

    @rule(which=st.sampled_from(["pid", "supervisor_pid"]), number=st.sampled_from([signal.SIGKILL, signal.SIGTERM]))
    def kill(self, which: str, number: signal.Signals) -> None:
        """End the server or its supervisor, whatever it is doing."""
        pid = getattr(client.status(self.paths), which)
        if pid is not None and str(self.paths.state.parent) in " ".join(command_line(pid)):
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    @rule()
    def settle(self) -> None:
        """Every wait ends, and what is said then is true."""
        until(self.is_true, PATIENCE_S)

    def is_true(self) -> bool:
        """Whether the server is in a settled state and what the status says of it is so."""
        now = self.adopted()
        if not now.settled or (now.running and now.supervisor_pid is None):
            return False
        if not now.running:
            return self.servers() == []
        with suppress(OSError, HTTPException):
            health = call(SocketConnection(self.paths.server_socket), "GET", "/health")
            return health[0] == 200 and [now.pid] == self.servers()
        return False

    @invariant()
    def one_server_at_most(self) -> None:
        """Never two at once."""
        assert len(self.servers()) <= 1

    def adopted(self) -> Status:
        """The status, with a supervisor where there is a server."""
        with suppress(R1tuiError):
            client.adopt(self.paths)
        return client.status(self.paths)

    def servers(self) -> list[int]:
        """The pids of all servers of this home."""
        pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]  # noqa: PTH208
        return [pid for pid in pids if command_line(pid)[: len(self.toy.argv())] == self.toy.argv() and identify(pid)]

    def teardown(self) -> None:
        """Whatever happened: one stop, and nothing is left."""
        client.stop(self.paths)
        assert self.servers() == []
        assert not self.paths.run.exists() or list(self.paths.run.iterdir()) == []
        deadline_s = monotonic() + 5
        while self.paths.state_file.exists() and monotonic() < deadline_s:
            sleep(0.01)
        self._folder.cleanup()


def test_any_sequence_of_commands_and_kills(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("R1TUI_HOME", str(paths.state.parent))  # restored afterwards
    few = settings(
        max_examples=8,
        stateful_step_count=10,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(Commands, settings=few)
