"""How fast things are read: memory and disk of this machine, a bus by a driver's library that stands in for CUDA's."""

import os
import subprocess
from pathlib import Path

import pytest

from r1tui.machine import bandwidth
from r1tui.machine import bus_probe as pcie
from r1tui.machine.bandwidth import Bandwidth, bus_rates, disk_rate, load_bandwidth, measure, memory_rate
from r1tui.machine.cpu_probe import prompt_gflops
from r1tui.machine.hardware import detect_machine
from r1tui.system.paths import Paths

LIBCUDA = """
#include <stdlib.h>
#include <string.h>
int cuInit(unsigned f) { return FAILS; }
int cuDeviceGetCount(int *n) { *n = 2; return 0; }
int cuDeviceGet(int *d, int i) { *d = i; return 0; }
int cuDevicePrimaryCtxRetain(void **c, int d) { *c = &*c; return 0; }
int cuCtxSetCurrent(void *c) { return 0; }
int cuMemHostAlloc(void **p, size_t n, unsigned f) { *p = malloc(n); return *p ? 0 : 2; }
int cuMemAlloc_v2(unsigned long long *p, size_t n) { *p = (unsigned long long)malloc(n); return *p ? 0 : 2; }
int cuMemcpyHtoD_v2(unsigned long long to, void *from, size_t n) { memcpy((void *)to, from, n); return 0; }
int cuCtxSynchronize(void) { return 0; }
"""


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A libcuda with two devices, where the loader looks first."""
    source = tmp_path / "cuda.c"
    source.write_text(LIBCUDA)
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    return source


def compile_driver(source: Path, *, fails: int = 0) -> None:
    library = str(source.with_name(pcie.LIBRARY))
    command = ["c++", "-x", "c", f"-DFAILS={fails}", "-shared", "-fPIC", "-o", library, str(source)]
    subprocess.run(command, check=True, capture_output=True)


def test_memory_is_read_at_a_rate_that_memory_has() -> None:
    assert 0.5 < memory_rate(0.2) < 5000


def test_the_bus_of_each_device(driver: Path) -> None:
    compile_driver(driver)
    rates = bus_rates()
    assert set(rates) == {0, 1}
    assert all(rate > 0 for rate in rates.values())


def test_what_the_cpu_computes_is_told_by_llama_bench(llama_server: Path, tmp_path: Path) -> None:
    gflops = prompt_gflops(llama_server.with_name("llama-bench"), 1)
    assert gflops is not None
    assert 0.1 < gflops < 10_000
    assert prompt_gflops(tmp_path / "nothing", 1) is None
    assert prompt_gflops(Path("/bin/true"), 1) is None


def test_a_driver_that_fails_or_is_not_there_has_no_rates(driver: Path) -> None:
    driver.with_name(pcie.LIBRARY).write_bytes(b"no library")
    assert bus_rates() == {}
    driver.with_name(pcie.LIBRARY).unlink()
    compile_driver(driver, fails=100)
    assert bus_rates() == {}


def test_a_file_of_holes_and_a_small_one_say_nothing_of_the_disk(tmp_path: Path) -> None:
    holes, small = tmp_path / "holes", tmp_path / "small"
    with holes.open("wb") as file:
        os.truncate(file.fileno(), bandwidth.SMALLEST_FILE_BYTES * 2)
    small.write_bytes(b"x" * 1000)
    assert disk_rate(holes, 0.1) is None
    assert disk_rate(small, 0.1) is None


def test_what_was_measured_is_kept_for_this_machine(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bandwidth, "MEMORY_S", 0.1)
    machine = detect_machine().fingerprint
    assert load_bandwidth(paths, machine) is None
    measured = measure(paths, None)
    assert load_bandwidth(paths, machine) == measured
    assert load_bandwidth(paths, "another machine") is None
    (paths.state / "bandwidth.json").write_text("{")
    assert load_bandwidth(paths, machine) is None


def test_a_later_measurement_without_a_model_keeps_the_disks(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bandwidth, "disk_rate", lambda path, seconds: 2.5)
    monkeypatch.setattr(bandwidth, "memory_rate", lambda seconds: 100.0)
    assert measure(paths, paths.models) == Bandwidth(detect_machine().fingerprint, 100.0, {}, 2.5)
    assert measure(paths, None).disk_gbps == 2.5
    monkeypatch.setattr(bandwidth, "prompt_gflops", lambda bench, cores: 500.0)
    assert measure(paths, None, Path("llama-bench")).cpu_gflops == 500.0
    assert measure(paths, None).cpu_gflops == 500.0
