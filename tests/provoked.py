"""Failures of a llama-server that are not of its own making, provoked for real: a library gone, a kill for memory."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.supervisor_rig import until

CGROUPS = Path("/sys/fs/cgroup")


def without_library(server: Path, copy: Path) -> Path:
    """A copy of the binary that wants a library which no machine has."""
    data = server.read_bytes()
    assert b"libstdc++.so.6\0" in data, "the binary is not linked with it"
    copy.write_bytes(data.replace(b"libstdc++.so.6\0", b"libstdcxx.so.6\0"))
    copy.chmod(0o700)
    return copy


@contextmanager
def memory_cgroup(limit_bytes: int) -> Iterator[Callable[[list[str]], list[str]] | None]:
    """Makes a command one that may take so much memory before the kernel kills it; None without the right to."""
    one = (CGROUPS / "memory").is_dir()  # version 1 of the interface
    group = CGROUPS / ("memory" if one else "") / f"r1tui-faults-{os.getpid()}"
    try:
        group.mkdir()
        (group / ("memory.limit_in_bytes" if one else "memory.max")).write_text(str(limit_bytes))
    except OSError:
        with suppress(OSError):
            group.rmdir()
        yield None
        return
    try:
        yield lambda argv: ["/bin/sh", "-c", f'echo $$ > {group}/cgroup.procs; exec "$@"', "sh", *argv]
    finally:
        until(lambda: not (group / "cgroup.procs").read_text())
        group.rmdir()
