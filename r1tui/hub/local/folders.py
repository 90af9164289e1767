"""Which folder a model is fetched into: r1tui's own, unless one of the user's `model_folders` has room or is faster."""

import os
import shutil
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from time import time

import msgspec

from r1tui.config import Config
from r1tui.errors import R1tuiError
from r1tui.hub.listing.remote import save_note
from r1tui.hub.local.places import gguf_files, model_roots
from r1tui.machine.bandwidth import disk_rate
from r1tui.remedies import AnyRemedy, ListModels
from r1tui.system.files import read_json_if_any
from r1tui.system.lazy import psutil
from r1tui.system.paths import Paths
from r1tui.text import size

RESERVE_BYTES = 256 << 20
"""Left free on the disk beside the model."""
SLOW_BYTES_PER_S = 250e6
"""Below this a 131 GiB model takes ten minutes and more to load; a SATA SSD is twice as fast."""
WORTH_IT = 1.5
"""Another folder has to be faster by this factor."""
SAMPLE_S = 0.4
KEPT_S = 7 * 24 * 3600.0
NETWORK_TYPES = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "ceph", "glusterfs", "afs", "davfs"})
_NOT_FOR_MODELS = ("/boot", "/dev", "/etc", "/proc", "/run", "/snap", "/sys", "/tmp", "/var/tmp")  # noqa: S108


@dataclass(frozen=True)
class ModelDisk:
    """A folder for models and the file system that holds it."""

    folder: Path
    free_bytes: int
    writable: bool
    """False too for a folder of the user's that is not there: its disk may not be mounted."""
    network: bool
    """True when reads are known to wait for a network."""
    read_bytes_per_s: float | None
    """Measured; None where there was nothing to read."""

    @property
    def speed(self) -> tuple[bool, float]:
        """Sort key, the fastest last."""
        return (not self.network, self.read_bytes_per_s or 0.0)

    @property
    def drawback(self) -> str:
        """The reason to prefer another disk; empty for one that is good enough or unknown."""
        rate = self.read_bytes_per_s
        if rate is not None:
            return f"is read at {rate / 1e6:.0f} MB/s" if rate < SLOW_BYTES_PER_S else ""
        return "is on a network volume" if self.network else ""

    def obstacle(self, lacking_bytes: int) -> str:
        """The reason why so many bytes do not fit."""
        if not self.writable:
            return f"{self.folder} does not exist or is not writable"
        return f"{self.folder} has {size(self.free_bytes)} free of the {_needed(lacking_bytes, [self])} needed"

    def is_faster(self, than: "ModelDisk") -> bool:
        """True when it is so much faster that a model goes there instead."""
        if self.read_bytes_per_s is None or than.read_bytes_per_s is None:
            return than.network and not self.network
        return self.read_bytes_per_s >= WORTH_IT * than.read_bytes_per_s


class NoRoomError(R1tuiError):
    """No folder for models has room; the one with the most would need `lacking_bytes` more."""

    def __init__(self, lacking_bytes: int, cause: str, *remedies: str | AnyRemedy) -> None:
        super().__init__(cause, *remedies)
        self.lacking_bytes = lacking_bytes


def choose_folder(
    name: str, need_bytes: int, paths: Paths, config: Config, have: Callable[[Path], int] = lambda root: 0
) -> tuple[Path, str]:
    """The root that a model of `need_bytes` goes below, and why, where there is something to say.

    `have` is how much of it a root has already, which then counts. Raises R1tuiError, with the numbers, when no folder
    has room. Only places that the user named are candidates; others are suggested.
    """
    disks = [inspect_disk(root, paths) for root in dict.fromkeys(model_roots(paths, config))]
    fitting = fitting_disks(name, need_bytes, disks, have)
    lacks = {disk.folder: need_bytes - have(disk.folder) for disk in disks}
    begun = [disk for disk in fitting if lacks[disk.folder] < need_bytes]
    default = disks[0]
    if begun:
        there = min(begun, key=lambda disk: lacks[disk.folder]).folder
        return there, "" if there == default.folder else f"Continuing in {there}, where part of it already is."
    if default not in fitting:
        best = max(fitting, key=lambda disk: disk.speed)
        return best.folder, f"Downloading to {best.folder}: {default.obstacle(lacks[default.folder])}."
    if not default.drawback:
        return default.folder, ""
    if others := [disk for disk in fitting if disk != default and disk.is_faster(default)]:
        best = max(others, key=lambda disk: disk.speed)
        rate = f" ({best.read_bytes_per_s / 1e6:,.0f} MB/s)" if best.read_bytes_per_s else ""
        return best.folder, f"Downloading to {best.folder}{rate}: {default.folder} {default.drawback}."
    return default.folder, (
        f"{default.folder} {default.drawback}, and a model there loads slowly. "
        "To use a local disk, add a folder on it to `model_folders` in the config."
    )


def model_disks(paths: Paths, config: Config) -> list[ModelDisk]:
    """The disks of the folders for models, r1tui's own first; no speed is measured."""
    return [look_at_disk(root, paths) for root in dict.fromkeys(model_roots(paths, config))]


def fitting_disks(
    name: str, need_bytes: int, disks: list[ModelDisk], have: Callable[[Path], int] = lambda root: 0
) -> list[ModelDisk]:
    """Disks with room for a model of `need_bytes`, of which a folder may `have` some; raises NoRoomError for none."""
    needed = {disk.folder: need_bytes - have(disk.folder) + RESERVE_BYTES for disk in disks}
    fitting = [disk for disk in disks if disk.writable and needed[disk.folder] <= disk.free_bytes]
    if not fitting:
        raise _no_room(name, need_bytes, disks, needed)
    return fitting


def _no_room(name: str, need_bytes: int, disks: list[ModelDisk], needed: dict[Path, int]) -> NoRoomError:
    first = needed[disks[0].folder]
    said = [
        f"{disk.folder} has {size(disk.free_bytes)} free"
        if disk.writable
        else f"{disk.folder} does not exist or is not writable"
        for disk in disks
    ]
    lacking_bytes = first - RESERVE_BYTES
    least = min(needed[disk.folder] - (disk.free_bytes if disk.writable else 0) for disk in disks)
    found = suggest_folders(first, {nearest_folder(disk.folder) for disk in disks})
    more = " more" if lacking_bytes < need_bytes else ""
    if found:
        places = [f"{folder / 'models'} ({size(shutil.disk_usage(folder).free)} free)" for folder in found[:2]]
        remedy = f"Make {' or '.join(places)}, and name it in the config's `model_folders`."
    else:
        remedy = f"Free {size(least)}, or name a folder on a larger disk in the config's `model_folders`."
    return NoRoomError(
        least, f"{name} needs {_needed(lacking_bytes, disks)}{more}; {', '.join(said)}.", remedy, ListModels()
    )


def _needed(lacking_bytes: int, disks: Iterable[ModelDisk]) -> str:
    """The size as the list of models has it; what is left free beside it is said where it decides."""
    beside = any(lacking_bytes <= disk.free_bytes < lacking_bytes + RESERVE_BYTES for disk in disks)
    return size(lacking_bytes) + (f" and {size(RESERVE_BYTES)} beside it" if beside else "")


def suggest_folders(need_bytes: int, besides: Iterable[Path]) -> list[Path]:
    """Local volumes with room where this user may write: the mount point, or a folder of the user's right below it."""
    taken = {path.stat().st_dev for path in besides}
    found = []
    for partition in psutil.disk_partitions(all=False):
        mount = Path(partition.mountpoint)
        with suppress(OSError):
            if not mount.is_dir() or mount.stat().st_dev in taken or is_network(mount):
                continue
            if str(mount).startswith(_NOT_FOR_MODELS) or shutil.disk_usage(mount).free < need_bytes:
                continue
            places = [mount] if _is_writable(mount) else [path for path in sorted(mount.iterdir()) if path.is_dir()]
            mine = [path for path in places if path == mount or path.stat().st_uid == os.getuid()]
            found += list(filter(_is_writable, mine))[:1]
    return found


def _is_writable(folder: Path) -> bool:
    return os.access(folder, os.W_OK | os.X_OK)


def inspect_disk(folder: Path, paths: Paths) -> ModelDisk:
    """Describe the folder's file system, how fast it is read included; creates nothing there."""
    return replace(look_at_disk(folder, paths), read_bytes_per_s=read_rate(folder, paths))


def look_at_disk(folder: Path, paths: Paths) -> ModelDisk:
    """Describe the folder's file system without measuring its speed; creates nothing there."""
    place = nearest_folder(folder)
    return ModelDisk(
        folder,
        shutil.disk_usage(place).free,
        _is_writable(place) and (folder.is_dir() or folder == paths.models),
        is_network(place.resolve()),
        None,
    )


def nearest_folder(folder: Path) -> Path:
    """The folder, or the nearest above it that is there."""
    return next((path for path in (folder, *folder.parents) if path.is_dir()), Path("/"))


def is_network(folder: Path) -> bool:
    """True when the folder's file system is reached over a network."""
    mounts = [one for one in psutil.disk_partitions(all=True) if folder.is_relative_to(one.mountpoint)]
    kind = sorted(mounts, key=lambda one: len(one.mountpoint))[-1].fstype if mounts else ""  # the last covers others
    return kind in NETWORK_TYPES or kind.startswith("fuse.")


class _Rate(msgspec.Struct, frozen=True):
    bytes_per_s: float
    measured_s: float


def read_rate(folder: Path, paths: Paths) -> float | None:
    """Bytes a second that a folder for models is read with, by the largest one there; None where that cannot be known.

    Takes half a second at the most, and none when it was measured this week.
    """
    place = paths.cache / "disks.json"
    rates = read_json_if_any(place, dict[str, _Rate]) or {}
    known = rates.get(str(folder))
    if known is not None and 0 <= time() - known.measured_s < KEPT_S:
        return known.bytes_per_s
    largest = max(gguf_files(folder), key=lambda file: file.stat().st_size, default=None)
    if largest is None or (gbps := disk_rate(largest, SAMPLE_S)) is None:
        return None
    save_note(place, rates | {str(folder): _Rate(gbps * 1e9, time())})
    return gbps * 1e9
