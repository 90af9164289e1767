"""What looking at the machine costs: `python -m tests.bench.sampling [SECONDS]`, at most 1 % of a core.

The sampler runs for SECONDS (20) as the screen runs it, once a second, with this process in the server's place; then
one look is timed by itself. Where there is no NVIDIA driver, a fake of NVML's binding with eight GPUs stands in for it:
that is our own part, without the driver's.
"""

import os
import sys
from collections.abc import Callable
from time import monotonic, process_time, sleep, thread_time

from r1tui.machine.hardware import memory_available_bytes, memory_total_bytes, usable_logical_cpus
from r1tui.machine.nvml import NvmlSession
from r1tui.machine.nvml_binding import NvmlError
from r1tui.machine.telemetry import ROOT, HostReader, Limits, Sampler
from tests.fake_nvml import fake_nvml

LOOKS = 200
TARGET_PERCENT = 1.0


def limits() -> Limits:
    """As the screen has them."""
    return Limits(usable_logical_cpus(), memory_total_bytes(), memory_available_bytes)


def cost_of(look: Callable[[], object]) -> tuple[float, float]:
    """Milliseconds of CPU and of time that one look takes."""
    look()
    cpu_s, began_s = thread_time(), monotonic()
    for _ in range(LOOKS):
        look()
    return (thread_time() - cpu_s) / LOOKS * 1e3, (monotonic() - began_s) / LOOKS * 1e3


def running(seconds: float) -> float:
    """Per cent of one core that the whole sampler takes."""
    sampler = Sampler(os.getpid, limits=limits())
    sampler.start()
    sleep(2.0)  # its imports are no cost of sampling
    before_s = process_time()
    sleep(seconds)
    busy_s = process_time() - before_s
    sampler.stop()
    return busy_s / seconds * 100


def main(seconds: float = 20.0) -> int:
    """Print the table; the exit status says whether it stays below the target."""
    whose = "the driver's NVML"
    try:
        session = NvmlSession()
    except NvmlError:
        whose = "a fake NVML"
        sys.modules["pynvml"] = fake_nvml(nvmlDeviceGetCount=lambda: 8)  # type: ignore[assignment]
        session = NvmlSession()
    percent = running(seconds)
    host = HostReader(os.getpid, limits(), ROOT)
    rows = [
        ("machine and server", *cost_of(lambda: host.read(None, None, None))),
        (f"{len(session.read())} GPUs, {whose}", *cost_of(lambda: session.read(os.getpid()))),
    ]
    print(f"{'one look':<32}{'CPU':>12}{'time':>12}")
    for name, cpu_ms, time_ms in rows:
        print(f"{name:<32}{cpu_ms:>9.2f} ms{time_ms:>9.2f} ms")
    print(f"{f'the sampler for {seconds:g} s':<32}{percent:>10.2f} %{TARGET_PERCENT:>10.2f} % at most")
    return int(percent > TARGET_PERCENT)


if __name__ == "__main__":
    sys.exit(main(*map(float, sys.argv[1:2])))
