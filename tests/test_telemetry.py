"""What the machine is doing, read from this very machine; NVML at its own boundary: failing, hanging, losing cards."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic, sleep
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from r1tui.machine.telemetry import Limits, Rate, Sample, Sampler
from tests.fake_nvml import fails, fake_nvml, unsupported

GIB = 1 << 30
INTERVAL_S = 0.01


class Samples:
    """A running sampler whose samples are waited for."""

    def __init__(self, **options: Any) -> None:
        self._seen: Sample | None = None
        self.sampler = Sampler(interval_s=INTERVAL_S, nvml_retry_s=INTERVAL_S, **options)
        self.sampler.start()

    def until(self, wanted: Callable[[Sample], object]) -> Sample:
        """The first sample that is as wanted."""
        deadline_s = monotonic() + 120
        while monotonic() < deadline_s:
            sample = self.sampler.latest()
            if sample is not None and sample is not self._seen:
                self._seen = sample
                if wanted(sample):
                    return sample
            sleep(INTERVAL_S / 10)
        raise AssertionError("no sample is as wanted")


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def install(**changes: Any) -> None:
        monkeypatch.setitem(sys.modules, "pynvml", fake_nvml(**changes))

    return install


@pytest.fixture
def sampling() -> Iterator[Callable[..., Samples]]:
    running: list[Samples] = []

    def start(**options: Any) -> Samples:
        running.append(Samples(**options))
        return running[-1]

    yield start
    for samples in running:
        samples.sampler.stop()


def test_a_gpu_at_work(nvml: Callable[..., None], sampling: Callable[..., Samples]) -> None:
    nvml()
    sample = sampling().until(lambda sample: sample.gpus)
    assert sample.gpus is not None
    gpu = sample.gpus[0]
    assert (gpu.name, gpu.used_bytes, gpu.total_bytes) == ("NVIDIA H100 80GB HBM3", 20 * GIB, 80 * GIB)
    assert (gpu.busy_percent, gpu.temperature_c, gpu.power_w) == (87, 63, 412.5)
    assert (gpu.clock_mhz, gpu.memory_clock_mhz, gpu.fan_percent, gpu.pcie_link) == (1755, 2619, None, (5, 16))
    assert sample.gpus_reason is None
    assert sample.gpus_age_s is not None


def test_what_a_card_does_not_tell_is_none(nvml: Callable[..., None], sampling: Callable[..., Samples]) -> None:
    names = ("MemoryInfo", "UtilizationRates", "TemperatureV", "PowerUsage", "ClockInfo", "CurrPcieLinkWidth")
    nvml(**{f"nvmlDeviceGet{name}": unsupported for name in names})
    sample = sampling().until(lambda sample: sample.gpus)
    assert sample.gpus is not None
    gpu = sample.gpus[0]
    assert [gpu.used_bytes, gpu.busy_percent, gpu.temperature_c, gpu.power_w, gpu.problem] == [None] * 5
    assert (gpu.clock_mhz, gpu.memory_clock_mhz, gpu.pcie_link) == (None, None, None)


def test_an_older_driver_tells_the_temperature_its_way(
    nvml: Callable[..., None], sampling: Callable[..., Samples]
) -> None:
    nvml(nvmlDeviceGetTemperatureV=unsupported, nvmlDeviceGetTemperature=lambda handle, sensor: 41)
    sample = sampling().until(lambda sample: sample.gpus)
    assert sample.gpus is not None
    assert sample.gpus[0].temperature_c == 41


def test_a_lost_card_hides_no_other(nvml: Callable[..., None], sampling: Callable[..., Samples]) -> None:
    memory = SimpleNamespace(total=80 * GIB, used=GIB)
    nvml(
        nvmlDeviceGetCount=lambda: 3,
        nvmlDeviceGetHandleByIndex=lambda index: fails() if index == 0 else index,
        nvmlDeviceGetMemoryInfo=lambda handle: fails() if handle == 1 else memory,
    )
    sample = sampling().until(lambda sample: sample.gpus)
    assert sample.gpus is not None
    assert [gpu.used_bytes for gpu in sample.gpus] == [None, None, GIB]
    assert sample.gpus_reason == "GPU 0: GPU is lost; GPU 1: GPU is lost"


@pytest.mark.parametrize("call", ["nvmlInit", "nvmlDeviceGetCount", "nvmlDeviceGetMemoryInfo"])
def test_a_failing_nvml_says_why_and_is_asked_again(
    nvml: Callable[..., None], sampling: Callable[..., Samples], call: str
) -> None:
    nvml(**{call: fails})
    samples = sampling()
    failed = samples.until(lambda sample: sample.gpus_reason and "lost" in sample.gpus_reason)
    assert failed.gpus is None
    nvml()
    assert samples.until(lambda sample: sample.gpus).gpus_reason is None


def test_a_card_that_is_lost_on_the_way_and_comes_back(
    nvml: Callable[..., None], sampling: Callable[..., Samples]
) -> None:
    lost = threading.Event()
    memory = SimpleNamespace(total=80 * GIB, used=GIB)
    nvml(nvmlDeviceGetMemoryInfo=lambda handle: fails() if lost.is_set() else memory)
    samples = sampling()
    samples.until(lambda sample: sample.gpus)
    lost.set()
    gone = samples.until(lambda sample: sample.gpus_reason == "GPU 0: GPU is lost")
    assert gone.gpus is None
    assert gone.gpus_age_s is not None
    lost.clear()
    samples.until(lambda sample: sample.gpus)


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        ({"nvmlInit": lambda: 1 / 0}, "NVML failed (division by zero)"),
        ({"nvmlDeviceGetMemoryInfo": lambda handle: 1 / 0}, "GPU 0: NVML failed (division by zero)"),
    ],
)
def test_a_binding_that_is_not_what_it_should_be(
    nvml: Callable[..., None], sampling: Callable[..., Samples], broken: dict[str, Any], reason: str
) -> None:
    nvml(**broken)
    sample = sampling().until(lambda sample: sample.gpus_reason and "failed" in sample.gpus_reason)
    assert sample.gpus_reason == reason


def test_a_name_that_cannot_be_decoded_leaves_the_figures(
    nvml: Callable[..., None], sampling: Callable[..., Samples]
) -> None:
    nvml(nvmlDeviceGetName=lambda handle: b"\xf8\x9e".decode())
    sample = sampling().until(lambda sample: sample.gpus)
    assert sample.gpus is not None
    assert (sample.gpus[0].name, sample.gpus[0].used_bytes) == ("NVIDIA GPU", 20 * GIB)


def test_no_binding_at_all(monkeypatch: pytest.MonkeyPatch, sampling: Callable[..., Samples]) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    sample = sampling().until(lambda sample: sample.gpus_reason and "missing" in sample.gpus_reason)
    assert sample.gpus is None


@pytest.mark.parametrize("call", ["nvmlInit", "nvmlDeviceGetMemoryInfo"])
def test_an_nvml_that_hangs_stops_no_other_figure_and_no_stop(
    nvml: Callable[..., None], sampling: Callable[..., Samples], call: str
) -> None:
    hanging, released = threading.Event(), threading.Event()
    if call == "nvmlInit":
        hanging.set()

    def hangs(*_arguments: Any) -> SimpleNamespace:
        if hanging.is_set():
            released.wait(240)
        return SimpleNamespace(total=80 * GIB, used=GIB)

    nvml(**{call: hangs})
    samples = sampling()
    if call == "nvmlInit":
        hung = samples.until(lambda sample: sample.cpu_percent is not None)
        assert hung.gpus_reason == "NVML has not answered yet"
        assert hung.gpus_age_s is None
    else:
        samples.until(lambda sample: sample.gpus)
        hanging.set()
        hung = samples.until(lambda sample: sample.gpus is None)
        assert hung.gpus_reason is not None
        assert hung.gpus_reason.startswith("NVML has not answered for")
        assert hung.gpus_age_s is not None
    assert hung.memory_total_bytes > 0
    samples.sampler.stop()  # returns, though the call does not
    released.set()


def test_memory_and_cpu_are_those_of_this_machine(sampling: Callable[..., Samples]) -> None:
    sample = sampling().until(lambda sample: sample.cpu_percent is not None)
    assert sample.memory_total_bytes == psutil.virtual_memory().total
    assert 0 < sample.memory_used_bytes < sample.memory_total_bytes
    assert 0 <= sample.page_cache_bytes <= sample.memory_available_bytes
    assert sample.cpu_percent is not None
    assert 0 <= sample.cpu_percent <= 100


def test_each_cpu_that_can_be_used_has_its_share(sampling: Callable[..., Samples], child: object) -> None:
    sample = sampling().until(lambda sample: max(sample.cores_percent, default=0.0) > 0)
    cpus = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    assert len(sample.cores_percent) == len(cpus)
    assert all(0 <= percent <= 100 for percent in sample.cores_percent)


def test_a_limit_on_memory_is_all_there_is(sampling: Callable[..., Samples]) -> None:
    limits = Limits(memory_total_bytes=GIB, memory_available_bytes=lambda: GIB // 4)
    sample = sampling(limits=limits).until(bool)
    assert sample.memory_total_bytes == GIB
    assert sample.memory_used_bytes == GIB - GIB // 4
    assert sample.page_cache_bytes <= GIB // 4


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="CPU quotas are Linux's")
@pytest.mark.parametrize(
    ("name", "spent"),
    [("cpu.stat", "usage_usec {}000000\nuser_usec 1"), ("cpuacct/cpuacct.usage", "{}000000000")],
)
def test_under_a_quota_the_container_s_own_time_counts(
    tmp_path: Path, sampling: Callable[..., Samples], monkeypatch: pytest.MonkeyPatch, name: str, spent: str
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: frozenset(range(64)))
    file = tmp_path / "sys/fs/cgroup" / name
    file.parent.mkdir(parents=True)
    file.write_text(spent.format(100))
    samples = sampling(limits=Limits(cpus=2), root=tmp_path)
    assert samples.until(lambda sample: sample.cpu_percent is not None).cpu_percent == 0
    replacement = file.with_suffix(".new")
    replacement.write_text(spent.format(900))
    replacement.replace(file)
    assert samples.until(lambda sample: sample.cpu_percent).cpu_percent == 100
    assert samples.until(bool).cores_percent == ()


@pytest.fixture
def child() -> Iterator["subprocess.Popen[str]"]:
    """A process that takes 64 MiB of its own and a CPU."""
    program = "memory = b'x' * (64 << 20)\nprint('ready', flush=True)\nwhile True: pass"
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
        process.kill()


def test_the_server_s_memory_by_kind_and_its_cpu(
    child: "subprocess.Popen[str]", sampling: Callable[..., Samples]
) -> None:
    sample = sampling(server_pid=lambda: child.pid).until(lambda sample: sample.server and sample.server.cpu_percent)
    server = sample.server
    assert server is not None
    assert server.pid == child.pid
    assert server.rss_bytes > 64 << 20
    if Path("/proc").exists():
        assert server.anonymous_bytes is not None
        assert server.mapped_bytes is not None
        assert server.anonymous_bytes > 64 << 20
        assert server.mapped_bytes < 64 << 20


def test_a_server_that_ends_or_never_was(child: "subprocess.Popen[str]", sampling: Callable[..., Samples]) -> None:
    samples = sampling(server_pid=lambda: child.pid)
    samples.until(lambda sample: sample.server)
    child.kill()
    child.wait()
    samples.until(lambda sample: sample.server is None)


def process_list(**held: int | None) -> Callable[[Any], list[SimpleNamespace]]:
    return lambda handle: [SimpleNamespace(pid=int(pid[1:]), usedGpuMemory=used) for pid, used in held.items()]


@pytest.mark.parametrize(
    ("pid", "change", "own_bytes"),
    [
        (4242, {}, 15 * GIB),
        (4242, {"nvmlDeviceGetComputeRunningProcesses": process_list(p4242=GIB, p7=GIB)}, GIB),
        (None, {}, None),
        (5, {}, None),
        (4242, {"nvmlDeviceGetComputeRunningProcesses": process_list(p4242=None)}, None),
        (4242, {"nvmlDeviceGetComputeRunningProcesses": process_list()}, None),
        (4242, {"nvmlDeviceGetComputeRunningProcesses": unsupported}, None),
    ],
)
def test_what_the_server_holds_of_a_gpu_where_the_driver_tells(
    nvml: Callable[..., None],
    sampling: Callable[..., Samples],
    pid: int | None,
    change: dict[str, Any],
    own_bytes: int | None,
) -> None:
    nvml(**change)
    sample = sampling(server_pid=lambda: pid).until(lambda sample: sample.gpus)
    assert sample.gpus is not None
    assert sample.gpus[0].own_bytes == own_bytes
    assert sample.gpus[0].used_bytes == 20 * GIB


def test_who_holds_memory_of_a_gpu_computing_or_drawing(
    nvml: Callable[..., None], sampling: Callable[..., Samples]
) -> None:
    nvml(nvmlDeviceGetGraphicsRunningProcesses=process_list(p9=GIB // 4, p77=GIB))
    sample = sampling(server_pid=lambda: 4242).until(lambda sample: sample.gpus)
    assert sample.gpus is not None
    assert {(one.pid, one.name, one.held_bytes) for one in sample.gpus[0].processes} == {
        (4242, "llama-server", 15 * GIB), (77, "python3", 4 * GIB), (9, "Xorg", GIB // 4),
    }  # fmt: skip


def test_processes_that_the_driver_cannot_name(nvml: Callable[..., None], sampling: Callable[..., Samples]) -> None:
    nvml(nvmlSystemGetProcessName=unsupported, nvmlDeviceGetGraphicsRunningProcesses=unsupported)
    sample = sampling(server_pid=lambda: 4242).until(lambda sample: sample.gpus)
    assert sample.gpus is not None
    assert [(one.pid, one.name) for one in sample.gpus[0].processes] == [(4242, ""), (77, "")]


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="/proc is Linux's")
def test_what_the_server_reads_from_disk(tmp_path: Path, sampling: Callable[..., Samples]) -> None:
    counts = tmp_path / f"proc/{os.getpid()}/io"
    counts.parent.mkdir(parents=True)
    counts.write_text("rchar: 7\nread_bytes: 1000\nwrite_bytes: 3\n")
    samples = sampling(server_pid=os.getpid, root=tmp_path)
    still = samples.until(lambda sample: sample.server and sample.server.read_bytes_per_s is not None)
    assert still.server is not None
    assert still.server.read_bytes_per_s == 0
    replacement = counts.with_suffix(".new")
    replacement.write_text("rchar: 7\nread_bytes: 9000000\nwrite_bytes: 3\n")
    replacement.replace(counts)
    samples.until(lambda sample: sample.server and sample.server.read_bytes_per_s)
    counts.unlink()
    samples.until(lambda sample: sample.server and sample.server.read_bytes_per_s is None)


def test_what_the_disks_read_is_of_the_time_between_two_looks(
    sampling: Callable[..., Samples], monkeypatch: pytest.MonkeyPatch
) -> None:
    read = iter(range(0, 1 << 40, 1 << 20))
    monkeypatch.setattr(psutil, "disk_io_counters", lambda: SimpleNamespace(read_bytes=next(read)))
    sample = sampling().until(lambda sample: sample.disk_bytes_per_s)
    assert sample.disk_bytes_per_s is not None
    assert sample.disk_bytes_per_s <= (1 << 20) / INTERVAL_S
    monkeypatch.setattr(psutil, "disk_io_counters", lambda: None)  # as in some containers
    assert sampling().until(lambda sample: sample.cpu_percent is not None).disk_bytes_per_s is None


def test_a_rate_is_of_one_counter_alone() -> None:
    rate = Rate()
    assert rate.look(1.0, 100) is None
    assert rate.look(3.0, 300) == 100
    assert rate.look(3.0, 500) is None
    assert rate.look(4.0, 500, "another") is None
    assert rate.look(5.0, 400, "another") == 0
    assert rate.look(6.0, None, "another") is None
    assert rate.look(7.0, 400, "another") is None


def test_a_stopped_sampler_leaves_no_thread(nvml: Callable[..., None]) -> None:
    nvml()
    before = threading.active_count()
    samples = Samples()
    samples.until(lambda sample: sample.gpus)
    samples.sampler.stop()
    assert threading.active_count() == before
