"""Prints GB/s from host memory to each CUDA device as JSON: `python -m r1tui.machine.bus_probe`."""

import ctypes
import json
import sys
from time import monotonic

BLOCK_BYTES, ROUNDS = 64 << 20, 16
LIBRARY = "libcuda.so.1"


def cuda(name: str, *arguments: object) -> None:
    """Call a function of the driver's library; raises OSError when there is none, or it fails."""
    status = getattr(ctypes.CDLL(LIBRARY), name)(*arguments)
    if status:
        raise OSError(f"{name}: CUDA error {status}")


def rate_gbps(index: int) -> float:
    """GB/s of copies from pinned memory to one device."""
    device, context = ctypes.c_int(), ctypes.c_void_p()
    host, there = ctypes.c_void_p(), ctypes.c_uint64()
    size = ctypes.c_size_t(BLOCK_BYTES)
    cuda("cuDeviceGet", ctypes.byref(device), index)
    cuda("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
    cuda("cuCtxSetCurrent", context)
    cuda("cuMemHostAlloc", ctypes.byref(host), size, 0)
    cuda("cuMemAlloc_v2", ctypes.byref(there), size)
    cuda("cuMemcpyHtoD_v2", there, host, size)  # the first one wakes the bus
    cuda("cuCtxSynchronize")
    began_s = monotonic()
    for _ in range(ROUNDS):
        cuda("cuMemcpyHtoD_v2", there, host, size)
    cuda("cuCtxSynchronize")
    return ROUNDS * BLOCK_BYTES / (monotonic() - began_s) / 1e9  # the process ends, and with it what was allocated


def main() -> int:
    """Measure every device; 1 where there is no driver or it fails."""
    count = ctypes.c_int()
    try:
        cuda("cuInit", 0)
        cuda("cuDeviceGetCount", ctypes.byref(count))
        print(json.dumps({index: rate_gbps(index) for index in range(count.value)}))  # noqa: T201
    except OSError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
