"""How much of a model is here while it is not all here: by what stands in r1tui's folders, without asking anybody."""

from pathlib import Path, PurePosixPath

from r1tui.catalog.variants import Variant
from r1tui.config import Config
from r1tui.gguf.header import SHARD_NAME
from r1tui.hub.download.part import saved_bytes
from r1tui.hub.listing.names import choose_by_name
from r1tui.hub.listing.remembered import Known, known_files
from r1tui.hub.listing.remote import RemoteFile
from r1tui.hub.local.found import own_folder
from r1tui.hub.local.places import model_roots
from r1tui.hub.local.revisions import folder_name
from r1tui.hub.local.walk import gguf_files
from r1tui.system.paths import Paths


def staging_folder(repo: str, root: Path, pinned: str | None = None) -> Path:
    """Where files of a repository (in a revision that is named) are on their way, below a folder for models."""
    return root / ".incoming" / folder_name(repo, pinned).replace("/", "--")


def progress_of(variant: Variant, paths: Paths, config: Config) -> float | None:
    """The share of an unfinished model that is here, above 0; None for nothing, and where it cannot be told."""
    if variant.repo is None:
        return None
    known = known_files(variant, paths)
    shares = [_share(variant, root, paths, known) for root in model_roots(paths, config)]
    best = max(shares, default=0.0)
    return best if best > 0 else None


def bytes_here(variant: Variant, root: Path, paths: Paths, files: tuple[RemoteFile, ...]) -> int:
    """How much of the hub's files is below a root already: whole ones, and what is safe of the others."""
    done, coming = own_folder(variant, paths, root), staging_folder(variant.repo or "", root, variant.pinned)
    return sum(
        file.size_bytes if _has(done, file) or _has(coming, file) else saved_bytes(coming, file) for file in files
    )


def _share(variant: Variant, root: Path, paths: Paths, known: Known | None) -> float:
    if known is not None:
        listing = known.listing
        return bytes_here(variant, root, paths, listing.files) / max(listing.size_bytes, 1)
    folder = own_folder(variant, paths, root)  # nothing is known of the sizes: by the number of shards
    here = [path.relative_to(folder).as_posix() for path in gguf_files(folder, lambda _path, _why: None)]
    chosen = [PurePosixPath(name).name for name in choose_by_name(here, variant.repo or "", variant.pattern or "")]
    match = SHARD_NAME.match(chosen[0]) if chosen else None
    return len(chosen) / max(int(match["count"]), 1) if match else 0.0


def _has(folder: Path, file: RemoteFile) -> bool:
    try:
        path = folder / file.path
        return path.is_file() and path.stat().st_size == file.size_bytes
    except OSError:
        return False
