"""Headers of models that are not here: a few MB by range from the hub, kept as files of full length without weights."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from time import sleep, time

from r1tui.catalog.variants import Variant
from r1tui.errors import R1tuiError
from r1tui.gguf.parse import read_architecture
from r1tui.gguf.stub import write_stub
from r1tui.hub.listing.answers import (
    LOST_TRIES,
    MAGIC,
    SURE_TRIES,
    RetryError,
    check_beginning,
    check_range,
    status_error,
)
from r1tui.hub.listing.names import choose_by_name, is_complete, is_gguf
from r1tui.hub.listing.ready import ready_endpoint
from r1tui.hub.listing.refusals import explain_refusals
from r1tui.hub.listing.remembered import ask_hub, known_files
from r1tui.hub.listing.remote import RemoteFile, RemoteFiles
from r1tui.hub.local.records import other_commits
from r1tui.system.files import make_folder
from r1tui.system.lazy import hub_utils, huggingface_hub
from r1tui.system.outside import component, inside
from r1tui.system.paths import Paths

IGNORED_RANGE_BYTES = 64 << 20
"""A server that ignores Range sends the file from its start; we read on to a place no farther than this."""
TIMEOUT_S = 30.0
PAUSES_S = (0.5, 2.0)
"""Before an answer that was cut is asked for again."""


class HubSource:
    """A file of a repository, read in ranges with huggingface_hub's own session, token and endpoint."""

    def __init__(self, listing: RemoteFiles, file: RemoteFile) -> None:
        endpoint = ready_endpoint()
        self.name = file.path
        self.size_bytes = file.size_bytes
        self._repo = listing.repo
        self._url = huggingface_hub.hf_hub_url(listing.repo, file.path, revision=listing.revision, endpoint=endpoint)
        self._headers: Mapping[str, str] = hub_utils.build_hf_headers(library_name="r1tui")

    def read_at(self, offset: int, length: int) -> bytes:
        """The bytes from `offset`, all that there are of `length`; raises R1tuiError when they cannot be had."""
        length = min(length, self.size_bytes - offset)
        if length <= 0:
            return b""
        for pause_s in (*PAUSES_S, None):
            try:
                with explain_refusals(self._repo):
                    return self._ask(offset, length)
            except RetryError as error:
                if pause_s is None or error.tries == SURE_TRIES:
                    raise R1tuiError(f"{self.name} cannot be read on the hub: {error.reason}.", error.remedy) from error
                sleep(pause_s)
        raise AssertionError  # the last try has returned or raised

    def _ask(self, offset: int, length: int) -> bytes:
        """One try; raises RetryError, and what huggingface_hub and httpx2 raise."""
        headers = {**self._headers, "Range": f"bytes={offset}-{offset + length - 1}", "Accept-Encoding": "identity"}
        session = hub_utils.get_session()
        with session.stream("GET", self._url, headers=headers, follow_redirects=True, timeout=TIMEOUT_S) as response:
            if response.status_code not in (200, 206):
                hub_utils.hf_raise_for_status(response)
                raise status_error(response.status_code, response.headers)
            first, stop = check_range(response, offset, offset + length, self.size_bytes)
            if offset - first > IGNORED_RANGE_BYTES:
                raise R1tuiError(f"The hub sends {self.name} only whole.", "Unset HF_ENDPOINT, or fetch the model.")
            wanted = min(stop, offset + length) - first
            read = bytearray()
            for chunk in response.iter_bytes(1 << 20):
                if len(read) < len(MAGIC) <= len(read) + len(chunk) and first == 0:
                    check_beginning(bytes(read + chunk[: len(MAGIC) + 60]), response, self.size_bytes)
                read += chunk
                if len(read) >= wanted:
                    break
        if len(read) < offset - first + length:
            raise RetryError("the answer ended early", tries=LOST_TRIES)
        return bytes(read[offset - first : offset - first + length])


def known_headers(variant: Variant, paths: Paths, within_s: float | None = None) -> Path | None:
    """The (first) file of the variant's headers that were fetched before (so recently); None without.

    Asks no network.
    """
    if variant.repo is None or variant.pattern is None:
        return None
    known, others = known_files(variant, paths), other_commits(variant, paths)
    revisions = sorted(_folder(variant, paths).glob("*/"), key=lambda path: path.stat().st_mtime, reverse=True)
    for folder in revisions:
        if within_s is not None and time() - folder.stat().st_mtime > within_s:
            break
        if variant.pinned is None and folder.name in others:
            continue
        if known is not None:
            if _has_all(folder, known.listing, variant):
                return inside(folder, known.listing.files[0].path)
            continue
        here = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if is_gguf(path.name)]
        chosen = choose_by_name(here, variant.repo, variant.pattern)
        if chosen and is_complete(chosen) and variant.pinned in (None, folder.name):
            return folder / chosen[0]
    return None


def _has_all(folder: Path, listing: RemoteFiles, variant: Variant) -> bool:
    """Whether a revision's folder has the headers of these very files; an earlier revision's will do for the newest."""
    if folder.name != listing.revision and variant.pinned is not None:
        return False
    targets = [(inside(folder, file.path), file.size_bytes) for file in listing.files]
    return all(target.is_file() and target.stat().st_size == size_bytes for target, size_bytes in targets)


def fetch_headers(
    variant: Variant, paths: Paths, check_architecture: Callable[[str], None] = lambda architecture: None
) -> Path:
    """The headers of the variant's files as the hub has them now, as one file of full length for each.

    What was fetched before is used again, and alone where the hub cannot be reached. Raises R1tuiError, and what
    `check_architecture` raises for what stands in the first bytes; nothing else is fetched then.
    """
    try:
        listing = ask_hub(variant, paths)
    except R1tuiError:
        if (known := known_headers(variant, paths)) is not None:
            return known
        raise
    folder = _folder(variant, paths) / component(listing.revision)
    first = listing.files[0]
    if not inside(folder, first.path).is_file() and (said := read_architecture(HubSource(listing, first))) is not None:
        check_architecture(said)
    for file in listing.files:
        target = inside(folder, file.path)
        if not target.is_file() or target.stat().st_size != file.size_bytes:
            make_folder(target.parent)
            write_stub(HubSource(listing, file), target)
    os.utime(folder)
    return folder / listing.files[0].path


def place_in_repository(stub: Path, variant: Variant, paths: Paths) -> Path:
    """The path in its repository of a file that this module made."""
    inside = stub.relative_to(_folder(variant, paths))
    return inside.relative_to(inside.parts[0])


def _folder(variant: Variant, paths: Paths) -> Path:
    return paths.cache / "headers" / (variant.repo or "").replace("/", "--")
