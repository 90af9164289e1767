"""The package may be replaced under a supervisor that runs: it has imported all that it can need before it is up."""

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

import r1tui
from r1tui.messages import DevicePlan, FallbackPlan, PlanSummary
from r1tui.planning.history import read_histories, records_file
from r1tui.server.record import record_file
from r1tui.supervisor import client
from r1tui.supervisor.protocol import new_conversation_id
from r1tui.system.paths import Paths
from tests.conftest import TinyModel
from tests.supervisor_rig import Toy, open_stream, spec_for, start_ready, until

OUT_OF_MEMORY = "E ggml_backend_cuda: allocating 2438.00 MiB on device 0: cudaMalloc failed: out of memory"
MOST_MIB = 36
HOOK = """
import os, sys

class Imports:
    def find_spec(self, name, path=None, target=None):
        os.write(imports, (name + "\\n").encode())

def note(event, args):
    if event == "socket.connect" and os.path.exists({fail!r}):
        raise RuntimeError("nobody foresaw this")

if "r1tui.supervisor" in sys.orig_argv:
    imports = os.open({imports!r}, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    sys.meta_path.insert(0, Imports())
    sys.addaudithook(note)
"""


class Package:
    """A copy of r1tui that supervisors run, which notes what they import; it can be replaced by what none can."""

    def __init__(self, folder: Path) -> None:
        self._code = folder / "r1tui"
        self._imports = folder / "imports"
        self._fail = folder / "fail"
        shutil.copytree(Path(r1tui.__file__).parent, self._code, ignore=shutil.ignore_patterns("__pycache__"))
        hook = HOOK.format(imports=str(self._imports), fail=str(self._fail))
        (folder / "sitecustomize.py").write_text(hook)
        self._known = 0

    def replace(self) -> None:
        """From now on every import of it fails."""
        self._known = len(self.imported_since)
        assert self._known > 0
        shutil.rmtree(self._code)
        self._code.mkdir()
        (self._code / "__init__.py").write_text("raise ImportError('replaced')\n")

    def fail(self) -> None:
        """From now on no supervisor can connect to anything, for a reason that it does not know."""
        self._fail.touch()

    @property
    def imported_since(self) -> list[str]:
        """What was imported after it was replaced."""
        return self._imports.read_text().splitlines()[self._known :]


@pytest.fixture
def package(paths: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Package]:
    folder = tmp_path / "code"
    folder.mkdir()
    monkeypatch.setenv("PYTHONPATH", str(folder))
    yield Package(folder)
    client.stop(paths)


def test_a_server_is_kept_restarted_recorded_and_stopped(
    package: Package, paths: Paths, llama_server: Path, tiny_r1: TinyModel
) -> None:
    spec = spec_for(llama_server, tiny_r1(loop=True), paths, restart_delays_s=[0.01])
    client.start(spec, paths)
    package.replace()
    first = until(lambda: (now := client.status(paths)).state == "ready" and now)
    os.kill(first.pid, signal.SIGKILL)
    again = until(lambda: (now := client.status(paths)).state == "ready" and now.restarts == 1 and now)
    assert again.supervisor_pid == first.supervisor_pid
    name = new_conversation_id()
    client.answer_started(paths, name)
    open_stream(paths.server_socket, name, max_tokens=100_000).close()
    record = record_file(paths.answers, name)
    until(lambda: record.exists() and record.stat().st_size)
    with Path(f"/proc/{first.supervisor_pid}/status").open() as facts:
        resident_mib = next(int(line.split()[1]) for line in facts if line.startswith("VmRSS")) >> 10
    client.stop(paths)
    assert client.status(paths).state == "stopped"
    assert b"data:" in record.read_bytes()
    assert package.imported_since == []
    assert resident_mib <= MOST_MIB


def test_what_does_not_fit_is_learned_and_started_with_less(
    package: Package, paths: Paths, tmp_path: Path, tiny_r1: TinyModel
) -> None:
    toy = Toy(paths, tmp_path)
    toy.acts({"say": [OUT_OF_MEMORY], "exit": 1}, {})
    plan = PlanSummary(devices=(DevicePlan("CUDA0", 12, 12, 9, 2, 1),))
    less = FallbackPlan(argv=toy.argv("less"), plan=PlanSummary(ctx_size=4096), words="a context of 4096")
    client.start(toy.spec(model=str(tiny_r1()), plan=plan, smaller=[less]), paths)
    package.replace()
    until(lambda: client.status(paths).state == "ready")
    [record] = until(lambda: read_histories(records_file(paths)))
    assert [run.failed for run in record.runs] == [True]
    client.stop(paths)
    assert package.imported_since == []


def test_what_nobody_foresaw_is_told_with_its_traceback(package: Package, paths: Paths, tmp_path: Path) -> None:
    start_ready(Toy(paths, tmp_path).spec(silence_s=0.2), paths)
    package.replace()
    package.fail()
    until(lambda: client.status(paths).state == "failed")
    until(lambda: client.status(paths).supervisor_pid is None)
    assert "nobody foresaw this" in paths.own_log.read_text()
    assert package.imported_since == []
