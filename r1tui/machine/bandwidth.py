"""Measures how fast memory, the bus to each GPU and the disk are read, from which tokens per second are estimated."""

import ctypes
import mmap
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import monotonic

import msgspec

from r1tui.machine.cpu_probe import prompt_gflops
from r1tui.machine.hardware import detect_machine, memory_available_bytes, usable_physical_cores
from r1tui.messages import decode_foreign
from r1tui.system.environment import CARD_ORDER
from r1tui.system.files import read_json_if_any, write_json
from r1tui.system.paths import Paths

MEMORY_S, DISK_S, BUS_TIMEOUT_S = 3.0, 3.0, 30.0
BUFFER_BYTES = 128 << 20
"""Each thread's own; together they must be several times the processor's caches."""
BLOCK_BYTES = 4 << 20
DISK_READERS = 4
"""Blocks in flight, as many as page faults of several threads keep there."""
SMALLEST_FILE_BYTES = 256 << 20
GB = 1e9


class Bandwidth(msgspec.Struct, frozen=True):
    """Read rates in GB/s (10⁹ bytes). `bus` is from host memory to each CUDA device, by its number."""

    machine: str
    """Machine of the measurements: `hardware.Machine.fingerprint`."""
    memory_gbps: float
    bus_gbps: dict[int, float] = {}
    disk_gbps: float | None = None
    """Of the disk with the models."""
    cpu_gflops: float | None = None
    """Prompt arithmetic of all cores, 10⁹ operations/s."""


def load_bandwidth(paths: Paths, machine: str) -> Bandwidth | None:
    """Earlier measurements of this machine; None if there are none, or for another machine with the same home."""
    found = read_json_if_any(_file(paths), Bandwidth)
    return found if found is not None and found.machine == machine else None


def measure(paths: Paths, model: Path | None, bench: Path | None = None) -> Bandwidth:
    """Measure everything and save it, while no model runs: `model` is read from the disk, `bench` is llama-bench.

    Raises OSError.
    """
    machine = detect_machine().fingerprint
    known = load_bandwidth(paths, machine)
    disk_gbps = disk_rate(model, DISK_S) if model is not None else None
    gflops = prompt_gflops(bench, usable_physical_cores()) if bench is not None else None
    measured = Bandwidth(
        machine,
        memory_rate(MEMORY_S),
        bus_rates(),
        disk_gbps or (known.disk_gbps if known else None),
        gflops or (known.cpu_gflops if known else None),
    )
    write_json(_file(paths), measured)
    return measured


def memory_rate(seconds: float) -> float:
    """GB/s that all cores together read from memory: libc's memchr, which looks for a byte that is not there."""
    threads = usable_physical_cores()
    size = min(BUFFER_BYTES, memory_available_bytes() // (4 * threads)) // mmap.PAGESIZE * mmap.PAGESIZE
    memchr = ctypes.CDLL(None).memchr  # ctypes lets other threads run meanwhile
    memchr.argtypes, memchr.restype = (ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t), ctypes.c_void_p

    def read(_: int) -> float:
        with mmap.mmap(-1, size) as memory:
            ctypes.memset(address := ctypes.addressof(ctypes.c_char.from_buffer(memory)), 1, size)
            began_s, rounds = monotonic(), 0
            while (took_s := monotonic() - began_s) < seconds:
                memchr(address, 0, size)
                rounds += 1
        return rounds * size / took_s

    with ThreadPoolExecutor(threads) as pool:
        return sum(pool.map(read, range(threads))) / GB


def disk_rate(path: Path, seconds: float) -> float | None:
    """GB/s of reads past the page cache; None for small or sparse files, and without O_DIRECT."""
    info = path.stat()
    direct = getattr(os, "O_DIRECT", 0)
    if not direct or info.st_size < SMALLEST_FILE_BYTES or info.st_blocks * 512 < info.st_size * 0.9:
        return None
    blocks = info.st_size // BLOCK_BYTES
    try:
        fd = os.open(path, os.O_RDONLY | direct)
    except OSError:
        return None
    ends_s = monotonic() + seconds

    def read(reader: int) -> int:
        done = 0
        with mmap.mmap(-1, BLOCK_BYTES) as block:  # O_DIRECT wants whole pages
            number = reader * blocks // DISK_READERS
            while monotonic() < ends_s and done < blocks * BLOCK_BYTES // DISK_READERS:
                done += os.preadv(fd, [block], number % blocks * BLOCK_BYTES)
                number += 1
        return done

    began_s = monotonic()
    try:
        with ThreadPoolExecutor(DISK_READERS) as pool:
            return sum(pool.map(read, range(DISK_READERS))) / (monotonic() - began_s) / GB
    except OSError:
        return None
    finally:
        os.close(fd)


def bus_rates() -> dict[int, float]:
    """GB/s from pinned host memory to each CUDA device; in its own process, since a CUDA context takes VRAM."""
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "r1tui.machine.bus_probe"],
            env={**CARD_ORDER, **os.environ},
            capture_output=True,
            timeout=BUS_TIMEOUT_S,
            check=False,
        )
        return decode_foreign(done.stdout, dict[int, float]) if done.returncode == 0 else {}
    except (OSError, subprocess.TimeoutExpired, msgspec.DecodeError):
        return {}


def _file(paths: Paths) -> Path:
    return paths.state / "bandwidth.json"
