"""The GPUs' memory is seen to be free before a stop is done; without a GPU nothing waits, and never for ever."""

from pathlib import Path

import pytest

from r1tui.machine import nvml
from r1tui.supervisor import ending

GIB = 1 << 30


class Gpus:
    """NVML whose used memory and processes change from one look to the next."""

    def __init__(self, used_gib: list[int], pids: list[set[int]]) -> None:
        self.used_gib, self._pids = used_gib, pids
        self.looks = 0

    def __call__(self) -> "Gpus":
        return self

    def read(self) -> tuple[nvml.GpuUse, ...]:
        self.looks += 1
        return (nvml.GpuUse(0, "H100", self.used_gib[min(self.looks, len(self.used_gib)) - 1] * GIB, 80 * GIB),)

    def pids(self) -> set[int]:
        return self._pids[min(self.looks, len(self._pids)) - 1]

    def close(self) -> None:
        """Nothing is open."""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "nvidiactl").touch()
    monkeypatch.setattr(ending, "NVIDIA_DEVICE", tmp_path / "nvidiactl")
    monkeypatch.setattr(ending, "VRAM_POLL_S", 0.0)


def test_it_waits_until_the_process_is_gone_and_the_memory_is_steady(
    here: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpus = Gpus([70, 70, 40, 3, 3], [{42}, {42}, {42}, set()])
    monkeypatch.setattr(ending, "NvmlSession", gpus)
    ending.wait_vram_free(42)
    assert gpus.looks == 5


def test_what_others_hold_is_not_waited_for(here: None, monkeypatch: pytest.MonkeyPatch) -> None:
    gpus = Gpus([30], [{7}])
    monkeypatch.setattr(ending, "NvmlSession", gpus)
    ending.wait_vram_free(42)
    assert gpus.looks == 2


def test_it_does_not_wait_for_ever(here: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ending, "VRAM_S", 0.05)
    monkeypatch.setattr(ending, "NvmlSession", Gpus([70], [{42}]))
    ending.wait_vram_free(42)


def test_without_a_gpu_nothing_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ending, "NVIDIA_DEVICE", tmp_path / "none")
    monkeypatch.setattr(ending, "NvmlSession", lambda: pytest.fail("NVML was asked"))
    ending.wait_vram_free(42)
