"""Holds a card's memory so that it looks smaller: `python -m tests.gpu.ballast FREE_MIB`, until its stdin is closed."""

import ctypes
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

LIBRARY = "libcuda.so.1"


@contextmanager
def ballast(free_mib: int) -> Iterator[None]:
    """The first card with so much memory free, for the block. Raises OSError where that cannot be had."""
    command = [sys.executable, "-m", "tests.gpu.ballast", str(free_mib)]
    holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with holder:
        assert holder.stdout is not None
        if holder.stdout.readline().strip() != "held":
            _, said = holder.communicate()
            raise OSError(f"no ballast: {said.strip()[-200:]}")
        yield
        holder.communicate()


def _call(library: ctypes.CDLL, name: str, *arguments: object) -> None:
    if status := getattr(library, name)(*arguments):
        raise OSError(f"{name}: CUDA error {status}")


def _hold(free_mib: int) -> None:
    """Take all but so much; the process's own context is counted, since what is free is asked after it is made."""
    library = ctypes.CDLL(LIBRARY)
    device, context, held = ctypes.c_int(), ctypes.c_void_p(), ctypes.c_uint64()
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    _call(library, "cuInit", 0)
    _call(library, "cuDeviceGet", ctypes.byref(device), 0)
    _call(library, "cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
    _call(library, "cuCtxSetCurrent", context)
    _call(library, "cuMemGetInfo_v2", ctypes.byref(free), ctypes.byref(total))
    _call(library, "cuMemAlloc_v2", ctypes.byref(held), ctypes.c_size_t(free.value - (free_mib << 20)))
    print("held", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    _hold(int(sys.argv[1]))
