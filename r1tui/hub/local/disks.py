"""How fast the folders for models are read: measured where there is something to read, and remembered."""

import os
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import time

import msgspec

from r1tui.hub.listing.remembered import save_note
from r1tui.hub.local.walk import gguf_files
from r1tui.machine.bandwidth import disk_rate
from r1tui.system.files import read_json_if_any
from r1tui.system.paths import Paths

SAMPLE_S = 0.4
KEPT_S = 7 * 24 * 3600.0
NETWORK_TYPES = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "ceph", "glusterfs", "afs", "davfs"})


class _Rate(msgspec.Struct, frozen=True):
    bytes_per_s: float
    measured_s: float


@dataclass(frozen=True)
class ModelDisk:
    """A folder for models and the file system that holds it."""

    folder: Path
    free_bytes: int
    writable: bool
    """False too for a folder of the user's that is not there: its disk may not be mounted."""
    network: bool
    """Whether it is known to be somewhere else: reads wait for a network."""
    read_bytes_per_s: float | None
    """As measured; None where there was nothing to read."""


def inspect_disk(folder: Path, paths: Paths) -> ModelDisk:
    """What the folder's file system is like; makes nothing there."""
    place = existing(folder)
    return ModelDisk(
        folder,
        shutil.disk_usage(place).free,
        os.access(place, os.W_OK | os.X_OK) and (folder.is_dir() or folder == paths.models),
        is_network(place.resolve()),
        read_rate(folder, paths),
    )


def existing(folder: Path) -> Path:
    """The folder, or the nearest above it that is there."""
    return next((path for path in (folder, *folder.parents) if path.is_dir()), Path("/"))


def read_rate(folder: Path, paths: Paths) -> float | None:
    """Bytes a second that a folder for models is read with, by the largest one there; None where that cannot be known.

    Takes half a second at the most, and none when it was measured this week.
    """
    place = paths.cache / "disks.json"
    rates = read_json_if_any(place, dict[str, _Rate]) or {}
    known = rates.get(str(folder))
    if known is not None and 0 <= time() - known.measured_s < KEPT_S:
        return known.bytes_per_s
    files = [(file.stat().st_size, file) for file in gguf_files(folder) if file.is_file()]
    if not files or (gbps := disk_rate(max(files)[1], SAMPLE_S)) is None:
        return None
    save_note(place, rates | {str(folder): _Rate(gbps * 1e9, time())})
    return gbps * 1e9


def is_network(folder: Path, mounts: str | None = None) -> bool:
    """Whether the folder's file system is reached over a network; `mounts` stands in for /proc/self/mounts."""
    if mounts is None:
        with suppress(OSError):
            mounts = Path("/proc/self/mounts").read_text("utf-8", "replace")
    best, kind = Path("/"), ""
    for row in map(str.split, (mounts or "").splitlines()):
        place = Path(row[1].replace("\\040", " "))
        if folder.is_relative_to(place) and len(place.parts) >= len(best.parts):
            best, kind = place, row[2]
    return kind in NETWORK_TYPES or kind.startswith("fuse.")
