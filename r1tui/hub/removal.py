"""Deletes a model's files: only r1tui's own, and never while somebody fetches them."""

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from r1tui.catalog.variants import Variant
from r1tui.config import Config
from r1tui.errors import R1tuiError, os_error
from r1tui.hub.download.part import JOURNAL, PART
from r1tui.hub.download.staging import staging_folder, unpin
from r1tui.hub.listing.names import choose, choose_by_name
from r1tui.hub.listing.remote import Known, known_files
from r1tui.hub.local.found import ModelSearch, download_lock, own_folders
from r1tui.hub.local.places import OWNERS, model_roots
from r1tui.hub.local.records import RECORD_NAME, FetchRecord, own_folder, select_counted
from r1tui.remedies import ListModels, StopServer
from r1tui.system.files import delete
from r1tui.system.locks import holder, locked
from r1tui.system.paths import Paths

_UNFINISHED = (PART, JOURNAL, ".damaged", ".incomplete")


@dataclass(frozen=True)
class ModelRemoval:
    """The files that deleting a variant deletes."""

    variant: Variant
    files: tuple[Path, ...]
    freed_bytes: int
    """On the disk; a link frees nothing."""


def find_removal(variant: Variant, paths: Paths, config: Config, in_use: Path | None = None) -> ModelRemoval:
    """The variant's files that are r1tui's, unfinished ones too. `in_use` is the model of the server that runs.

    Raises R1tuiError when there are none, and while they are used or being fetched.
    """
    files = tuple(sorted(set(_files(variant, paths, config))))
    if not files:
        raise _nothing_ours(variant, paths, config)
    if in_use is not None and os.path.realpath(in_use) in map(os.path.realpath, files):
        raise R1tuiError(f"The running server uses {variant.name}.", StopServer())
    if (pid := holder(download_lock(variant, paths))) is not None:
        raise R1tuiError(
            f"{variant.name} is being downloaded (PID {pid}).", "Stop the download first; what was downloaded is kept."
        )
    return ModelRemoval(variant, files, sum(map(_freed_bytes, files)))


def remove(removal: ModelRemoval, paths: Paths, config: Config) -> None:
    """Delete the files, and the folders that are empty then. Raises R1tuiError while the variant is being fetched."""
    variant = removal.variant
    with locked(download_lock(variant, paths), f"The download of {variant.name}"):
        try:
            for file in removal.files:
                file.unlink(missing_ok=True)
        except OSError as error:
            raise os_error(error) from error
        for folder in own_folders(variant, paths, config):
            _forget(folder, removal.files)
        roots = model_roots(paths, config)
        for root in roots:
            unpin(variant, root)
        for folder in {file.parent for file in removal.files}:
            _prune(folder, {*roots, *(above for root in roots for above in root.parents)})


def _nothing_ours(variant: Variant, paths: Paths, config: Config) -> R1tuiError:
    found = ModelSearch(paths, config).find(variant)
    if found is None:
        return R1tuiError(f"{variant.name} is not on this machine.", ListModels())
    whose = "is" if found.owner == "file" else "belongs to"
    return R1tuiError(
        f"{found.path} {whose} {OWNERS[found.owner]}: r1tui deletes only what it downloaded.",
        "Delete it yourself." if found.owner == "file" else "Delete it with that program, or yourself.",
    )


def _files(variant: Variant, paths: Paths, config: Config) -> Iterator[Path]:
    known = known_files(variant, paths)
    for folder in own_folders(variant, paths, config):
        if variant.package is not None:
            yield from (path for path in folder.glob("*") if path.is_file())
            continue
        root = folder.parent.parent
        recorded = FetchRecord.load(folder).files
        apart = variant.pinned is not None and folder == own_folder(variant, paths, root)
        for path in _of_variant(folder, variant, known):
            name = _finished(path).relative_to(folder).as_posix()
            ours = root == paths.models or name in recorded
            if ours and (apart or select_counted(variant, folder, [name], paths)):
                yield path
        yield from _of_variant(staging_folder(variant, root), variant, known)


def _of_variant(folder: Path, variant: Variant, known: Known | None) -> Iterator[Path]:
    """The variant's files in a folder that is laid out as its repository; others of the same repository stay."""
    here = {
        path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file() or path.is_symlink()
    }
    names = {name: str(_finished(Path(name))) for name in here}
    listed = {file.path for file in known.listing.files} if known else set()
    select = choose_by_name if known else choose
    chosen = listed | set(select(set(names.values()), variant.repo or "", variant.pattern or ""))
    yield from (here[name] for name, finished in names.items() if finished in chosen)


def _finished(path: Path) -> Path:
    """The file that an unfinished or damaged one is, or was to become."""
    while path.suffix in _UNFINISHED:
        path = path.with_suffix("")
    return path


def _freed_bytes(path: Path) -> int:
    with suppress(OSError):
        info = path.lstat()
        if not path.is_symlink() and info.st_nlink == 1:
            return min(info.st_size, info.st_blocks * 512) if path.suffix == PART else info.st_size  # it has holes
    return 0


def _forget(folder: Path, files: tuple[Path, ...]) -> None:
    record = FetchRecord.load(folder)
    left = {name: known for name, known in record.files.items() if folder / name not in files}
    with suppress(OSError):
        if left:
            FetchRecord(left).save(folder)
        else:
            delete(folder / RECORD_NAME)


def _prune(folder: Path, keep: set[Path]) -> None:
    """Remove the folder and those above it as long as they are empty."""
    with suppress(OSError):
        while folder not in keep:
            folder.rmdir()
            folder = folder.parent
