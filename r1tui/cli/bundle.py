"""The archive of a bug report: one file for this user alone, with the same layout every time."""

import io
import os
import tarfile
import zipfile
from collections.abc import Iterable
from pathlib import Path
from time import gmtime, time

from r1tui.errors import R1tuiError, UsageError
from r1tui.system.files import write_new

FOLDER = "r1tui-report"
LARGEST_BYTES = 16 << 20
"""All parts together, before they are packed."""


def check_target(target: Path) -> None:
    """Raise UsageError for a name that no archive has, and R1tuiError where there is a file, or no folder, already."""
    if not target.name.lower().endswith((".tar.gz", ".tgz", ".zip")):
        raise UsageError(f"{target.name}: unknown type of archive.", "Name it REPORT.tar.gz or REPORT.zip.")
    if os.path.lexists(target):
        raise R1tuiError(f"{target} already exists.", "Choose another name, or delete it first.")
    if not target.parent.is_dir():
        raise R1tuiError(f"{target.parent} is not a folder.", "Make it first, or name another one.")


def pack(target: Path, parts: Iterable[tuple[str, bytes]]) -> list[tuple[str, int]]:
    """Write the archive (0600) and return the names and sizes of its members. Raises R1tuiError, OSError.

    What comes after LARGEST_BYTES is left out, with its name in the last member.
    """
    members, left_out, total_bytes = [], [], 0
    for name, content in parts:
        if total_bytes + len(content) > LARGEST_BYTES:
            left_out.append(name)
            continue
        total_bytes += len(content)
        members.append((f"{FOLDER}/{name}", content))
    if left_out:
        members.append((f"{FOLDER}/left-out.txt", "\n".join([*left_out, ""]).encode()))
    _write(target, _zip(members) if target.name.lower().endswith(".zip") else _tar(members))
    return [(name, len(content)) for name, content in members]


def _write(target: Path, archive: bytes) -> None:
    try:
        write_new(target, archive)
    except FileExistsError as error:
        raise R1tuiError(f"{target} already exists.", "Choose another name, or delete it first.") from error


def _tar(members: Iterable[tuple[str, bytes]]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz", format=tarfile.PAX_FORMAT) as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size, info.mode, info.mtime = len(content), 0o600, int(time())
            archive.addfile(info, io.BytesIO(content))
    return packed.getvalue()


def _zip(members: Iterable[tuple[str, bytes]]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            info = zipfile.ZipInfo(name, gmtime()[:6])
            info.external_attr = 0o600 << 16
            archive.writestr(info, content, zipfile.ZIP_DEFLATED)
    return packed.getvalue()
