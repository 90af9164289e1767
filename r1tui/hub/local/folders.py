"""Which folder a model is fetched into: r1tui's own, unless one of the user's `model_folders` has room or is faster."""

import os
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from r1tui.config import Config
from r1tui.errors import R1tuiError
from r1tui.hub.local.disks import ModelDisk, existing, inspect_disk, is_network
from r1tui.hub.local.places import model_roots
from r1tui.remedies import ListModels
from r1tui.system.lazy import psutil
from r1tui.system.paths import Paths

RESERVE_BYTES = 256 << 20
"""Left free on the disk beside the model."""
GB = 1e9
SLOW_BYTES_PER_S = 250e6
"""Below this a 131 GiB model takes ten minutes and more to load; a SATA SSD is twice as fast."""
WORTH_IT = 1.5
"""Another folder has to be faster by this factor."""
_NOT_FOR_MODELS = ("/boot", "/dev", "/etc", "/proc", "/run", "/snap", "/sys", "/tmp", "/var/tmp")  # noqa: S108


@dataclass(frozen=True)
class Folder:
    """The root that a model goes below, and why, where there is something to say."""

    root: Path
    reason: str = ""


def choose_folder(
    name: str, need_bytes: int, paths: Paths, config: Config, have: Callable[[Path], int] = lambda root: 0
) -> Folder:
    """Where a model of `need_bytes` goes; `have` says how much of it a root has already, which then counts.

    Raises R1tuiError, with the numbers, when no folder has room. Only places that the user named are candidates;
    others are suggested.
    """
    disks = [inspect_disk(root, paths) for root in dict.fromkeys(model_roots(paths, config))]
    lacks = {disk.folder: need_bytes - have(disk.folder) for disk in disks}
    fitting = [disk for disk in disks if disk.writable and lacks[disk.folder] + RESERVE_BYTES <= disk.free_bytes]
    begun = [disk for disk in fitting if lacks[disk.folder] < need_bytes]
    default = disks[0]
    if begun:
        there = min(begun, key=lambda disk: lacks[disk.folder]).folder
        return Folder(there, "" if there == default.folder else f"It goes on in {there}, where part of it is.")
    if not fitting:
        raise _no_room(name, disks, lacks)
    if default not in fitting:
        best = max(fitting, key=_speed)
        return Folder(best.folder, f"It goes to {best.folder}: {_obstacle(default, lacks[default.folder])}.")
    if not (drawback := _drawback(default)):
        return Folder(default.folder)
    others = [disk for disk in fitting if disk != default and _is_faster(disk, default)]
    if others:
        best = max(others, key=_speed)
        return Folder(best.folder, f"It goes to {best.folder}{_at(best)}: {default.folder} {drawback}.")
    return Folder(
        default.folder,
        f"{default.folder} {drawback}, and a model there loads slowly; "
        "a folder on a local disk in the config's `model_folders` would be taken instead.",
    )


def _speed(disk: ModelDisk) -> tuple[bool, float]:
    return (not disk.network, disk.read_bytes_per_s or 0.0)


def _is_faster(disk: ModelDisk, default: ModelDisk) -> bool:
    if disk.read_bytes_per_s is None or default.read_bytes_per_s is None:
        return default.network and not disk.network
    return disk.read_bytes_per_s >= WORTH_IT * default.read_bytes_per_s


def _drawback(disk: ModelDisk) -> str:
    """Why one would rather have another disk; empty for one that is good enough, or of which nothing is known."""
    rate = disk.read_bytes_per_s
    if rate is not None:
        return f"is read at {rate / 1e6:.0f} MB/s" if rate < SLOW_BYTES_PER_S else ""
    return "is on a network volume" if disk.network else ""


def _at(disk: ModelDisk) -> str:
    return f" ({disk.read_bytes_per_s / 1e6:,.0f} MB/s)" if disk.read_bytes_per_s else ""


def _obstacle(disk: ModelDisk, lacking_bytes: int) -> str:
    if not disk.writable:
        return f"{disk.folder} is not there or cannot be written"
    return f"{disk.folder} has {disk.free_bytes / GB:.1f} GB free for {lacking_bytes / GB:.1f} GB"


def _no_room(name: str, disks: list[ModelDisk], lacks: dict[Path, int]) -> R1tuiError:
    default, *others = disks
    needed = lacks[default.folder]
    more = "".join(f" {_obstacle(disk, lacks[disk.folder])}." for disk in others)
    suggestion = next(iter(suggested_folders(needed + RESERVE_BYTES, {existing(disk.folder) for disk in disks})), None)
    remedy = "Make room, set R1TUI_HOME to a larger disk, or choose a smaller model."
    if suggestion is not None:
        free = shutil.disk_usage(suggestion).free
        remedy = (
            f"{suggestion} has {free / GB:,.0f} GB free: make a folder there and name it in the config, "
            f"`model_folders: [{suggestion}/models]`. Or make room, or choose a smaller variant."
        )
    if not default.writable:
        return R1tuiError(f"{_obstacle(default, needed)}.{more}", remedy, ListModels())
    return R1tuiError(
        f"{name} needs {needed / GB:.1f} GB more, and the disk of {default.folder} has "
        f"{default.free_bytes / GB:.1f} GB free.{more}",
        remedy,
        ListModels(),
    )


def suggested_folders(need_bytes: int, besides: Iterable[Path]) -> list[Path]:
    """Local volumes with room where this user may write: the mount point, or a folder of the user's right below it."""
    taken = {path.stat().st_dev for path in besides}
    found = []
    for partition in psutil.disk_partitions(all=False):
        mount = Path(partition.mountpoint)
        try:
            if not mount.is_dir() or mount.stat().st_dev in taken or is_network(mount):
                continue
            if str(mount).startswith(_NOT_FOR_MODELS) or shutil.disk_usage(mount).free < need_bytes:
                continue
            if (place := _writable(mount)) is not None:
                found.append(place)
        except OSError:
            continue
    return found


def _writable(mount: Path) -> Path | None:
    if os.access(mount, os.W_OK | os.X_OK):
        return mount
    own = [path for path in mount.iterdir() if path.is_dir() and path.stat().st_uid == os.getuid()]
    return next((path for path in sorted(own) if os.access(path, os.W_OK | os.X_OK)), None)
