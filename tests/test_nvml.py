"""What NVML says once, at its own boundary: cards, drivers and bindings that fail in every way."""

import sys
import threading
from contextlib import closing, suppress
from types import SimpleNamespace
from typing import Any

import pytest
from textual.widgets import DataTable

from r1tui.cli import run
from r1tui.config import Config
from r1tui.machine import nvml as nvml_module
from r1tui.machine.nvml import NvmlSession, read_nvidia
from r1tui.machine.nvml_binding import NvmlError
from r1tui.system.paths import Paths
from r1tui.tui.app import R1App
from tests.conftest import TinyModel
from tests.fake_nvml import GIB, NVMLError, fails, fake_nvml, unsupported
from tests.tui_rig import opened, until


def test_a_gpu_with_everything_that_nvml_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", fake_nvml())
    found = read_nvidia()
    (gpu,) = found.gpus
    assert (gpu.name, gpu.uuid, gpu.architecture) == ("NVIDIA H100 80GB HBM3", "GPU-0", "90")
    assert (gpu.total_bytes, gpu.free_bytes, gpu.used_bytes) == (80 * GIB, 60 * GIB, 20 * GIB)
    assert (found.driver_version, found.cuda_version, found.reason) == ("580.65.06", (13, 0), None)
    assert gpu.memory_gbps == pytest.approx(3352, rel=0.01)  # as in its data sheet
    assert gpu.tflops == pytest.approx(66.9, rel=0.01)
    assert gpu.bus_gbps == pytest.approx(63, rel=0.01)


def test_what_the_driver_keeps_for_itself_is_nobody_s(monkeypatch: pytest.MonkeyPatch) -> None:
    """As an H200 says it: 143,771 MiB with the driver's own 616, which the older call counts as used."""
    mib = 1 << 20

    def memory(_: Any, version: int | None = None) -> SimpleNamespace:
        if version is None:
            return SimpleNamespace(total=143771 * mib, free=143155 * mib, used=616 * mib)
        return SimpleNamespace(total=143771 * mib, reserved=616 * mib, free=143155 * mib, used=0)

    monkeypatch.setitem(sys.modules, "pynvml", fake_nvml(nvmlDeviceGetMemoryInfo=memory, nvmlMemory_v2=2))
    (gpu,) = read_nvidia().gpus
    assert (gpu.total_bytes, gpu.free_bytes, gpu.used_bytes) == (143155 * mib, 143155 * mib, 0)
    with closing(NvmlSession()) as session:
        (use,) = session.read()
    assert (use.total_bytes, use.used_bytes) == (143155 * mib, 0)
    monkeypatch.setitem(sys.modules, "pynvml", fake_nvml(nvmlDeviceGetMemoryInfo=memory))  # an older binding
    assert read_nvidia().gpus[0].used_bytes == 616 * mib


def test_calls_that_a_card_does_not_support_leave_gaps(monkeypatch: pytest.MonkeyPatch) -> None:
    optional = ("nvmlDeviceGetM", "nvmlDeviceGetC", "nvmlSystem")
    changes = {name: unsupported for name in vars(fake_nvml()) if name.startswith(optional)}
    del changes["nvmlDeviceGetCount"]
    monkeypatch.setitem(sys.modules, "pynvml", fake_nvml(**changes))
    found = read_nvidia()
    assert found.gpus[0].total_bytes is None
    assert found.gpus[0].architecture is None
    assert (found.gpus[0].memory_gbps, found.gpus[0].tflops, found.gpus[0].bus_gbps) == (None, None, None)
    assert (found.driver_version, found.cuda_version) == (None, None)


@pytest.mark.parametrize("call", ["nvmlDeviceGetHandleByIndex", "nvmlDeviceGetMemoryInfo"])
def test_a_card_that_fell_off_the_bus_hides_no_other(monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    right = getattr(fake_nvml(), call)
    changes = {"nvmlDeviceGetCount": lambda: 2, call: lambda index: right(index) if index == 0 else fails()}
    monkeypatch.setitem(sys.modules, "pynvml", fake_nvml(**changes))
    found = read_nvidia()
    assert [gpu.index for gpu in found.gpus] == [0]
    assert [(card.index, card.problem) for card in found.lost] == [(1, "GPU is lost")]
    assert found.reason == "GPU 1: GPU is lost"


@pytest.mark.parametrize("call", ["nvmlInit", "nvmlDeviceGetCount"])
def test_a_driver_that_fails_is_a_reason(monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", fake_nvml(**{call: fails}))
    assert read_nvidia().gpus == ()
    assert read_nvidia().reason == "GPU is lost"


def test_a_missing_binding_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert "missing" in (read_nvidia().reason or "")


def undecodable(*_arguments: Any) -> str:
    """The name of a card under WSL2's driver 555."""
    return b"\xf8\x9e NVIDIA".decode()


@pytest.mark.parametrize("call", ["nvmlDeviceGetName", "nvmlDeviceGetUUID", "nvmlSystemGetDriverVersion"])
def test_a_text_that_cannot_be_decoded_leaves_the_card(monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", fake_nvml(**{call: undecodable}))
    found = read_nvidia()
    assert [(gpu.total_bytes, gpu.architecture) for gpu in found.gpus] == [(80 * GIB, "90")]
    assert found.reason is None
    if call == "nvmlDeviceGetName":
        assert found.gpus[0].name == "NVIDIA GPU"


ERRORS = [
    UnicodeDecodeError("utf-8", b"\xf8", 0, 1, "invalid start byte"), ZeroDivisionError(), OSError(5, "I/O"),
    AttributeError("no such function"), TypeError("an integer is required"), NVMLError(), RuntimeError("a\nb"),
]  # fmt: skip


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("call", [name for name in vars(fake_nvml()) if name.startswith("nvml")])
def test_no_call_ends_anything_whatever_it_raises(monkeypatch: pytest.MonkeyPatch, call: str, error: Exception) -> None:
    def raises(*_arguments: Any) -> None:
        raise error

    monkeypatch.setitem(sys.modules, "pynvml", fake_nvml(**{call: raises}))
    found = read_nvidia()
    assert found.gpus or found.reason
    assert "\n" not in (found.reason or "")
    with suppress(NvmlError):
        session = NvmlSession()
        session.pids()
        session.close()
        assert session.read(4242)


NONSENSE: list[object] = [
    None, "", b"\xff", -1, [], SimpleNamespace(), {}, [SimpleNamespace()], (None,), True, float("nan"), 1 << 80,
    "\x1b[31mred\nline", ("a", "b"), SimpleNamespace(total=-1, free=float("nan"), used="x"),
    SimpleNamespace(gpu=-5, memory=None), [SimpleNamespace(pid=4242, usedGpuMemory=-1)],
]  # fmt: skip


@pytest.mark.parametrize("answer", NONSENSE)
@pytest.mark.parametrize("call", [name for name in vars(fake_nvml()) if name.startswith("nvml")])
def test_no_answer_ends_anything_whatever_it_is(monkeypatch: pytest.MonkeyPatch, call: str, answer: object) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", fake_nvml(**{call: lambda *_arguments: answer}))
    found = read_nvidia()
    assert found.gpus or found.reason
    for gpu in found.gpus:
        assert gpu.name.isprintable()
        assert all(isinstance(one, int) and one >= 0 for one in (gpu.total_bytes, gpu.free_bytes) if one is not None)
    with suppress(NvmlError):
        session = NvmlSession()
        session.pids()
        session.close()
        for use in session.read(4242):
            assert use.busy_percent is None or 0 <= use.busy_percent <= 100
            assert all(held is None or held >= 0 for held in (use.used_bytes, use.own_bytes))


@pytest.mark.parametrize("call", [name for name in vars(fake_nvml()) if name.startswith("nvml")])
def test_an_old_binding_that_lacks_a_call_ends_nothing(monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    binding = fake_nvml()
    delattr(binding, call)
    monkeypatch.setitem(sys.modules, "pynvml", binding)
    found = read_nvidia()
    assert found.gpus or found.reason


def test_a_driver_that_hangs_is_a_reason_and_is_not_waited_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()
    monkeypatch.setitem(sys.modules, "pynvml", fake_nvml(nvmlInit=released.wait))
    try:
        assert read_nvidia(0.05).reason == "NVML has not answered for 0 s"
        assert read_nvidia(3600.0).reason == "NVML does not answer"
    finally:
        released.set()
    monkeypatch.setitem(sys.modules, "pynvml", fake_nvml())
    for look in list(nvml_module._hanging):
        look.join(30.0)
    assert read_nvidia().gpus


@pytest.mark.parametrize("command", [["status"], ["variants"], ["doctor"], ["plan", "--model", "MODEL"]], ids=" ".join)
def test_commands_on_wsl_with_a_name_that_cannot_be_decoded(
    command: list[str],
    paths: Paths,
    tiny_r1: TinyModel,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", fake_nvml(nvmlDeviceGetName=undecodable))
    assert run([str(tiny_r1()) if word == "MODEL" else word for word in command]) in (0, 1)
    said = "".join(capsys.readouterr())
    assert said.strip()
    assert "unexpected" not in said


async def test_the_screen_on_wsl_with_a_name_that_cannot_be_decoded(
    paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", fake_nvml(nvmlDeviceGetName=undecodable))
    app = R1App(paths, Config())
    async with opened(app) as pilot:
        await until(pilot, lambda: app.screen.query(DataTable).first().row_count > len(app.services.models.catalog))
    assert app.failure is None
