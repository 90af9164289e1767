"""A model to plan for: its header, from its file or from the hub."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from r1tui.catalog.variants import Variant
from r1tui.config import Config
from r1tui.errors import R1tuiError
from r1tui.gguf import GgufError, Header, read_header
from r1tui.gguf.errors import LackingSettingError
from r1tui.gguf.parse import read_architecture
from r1tui.gguf.source import FileSource
from r1tui.hub.download.headers import fetch_headers, known_headers, place_in_repository
from r1tui.hub.local.found import ModelSearch
from r1tui.hub.local.records import own_folder
from r1tui.remedies import Advice, FetchModel, with_variant
from r1tui.system.paths import Paths


@dataclass(frozen=True)
class Subject:
    """A model to plan for, which need not be here: a file of headers alone does for planning and for the engine."""

    header: Header
    file: Path
    """What can be read: the model's (first) file, or its header as a file of full length without weights."""
    model: Path
    """Path of the model, existing or not."""
    on_disk: bool


REPLACE = Advice("Replace it with a complete copy of the file.")
"""Remedy for a damaged file that r1tui cannot download."""
FRESH_S = 86400.0
"""Headers fetched so long ago are asked for again: models are uploaded anew."""


def find_subject(
    variant: Variant,
    paths: Paths,
    config: Config,
    *,
    fetch: bool = False,
    check_architecture: Callable[[str], None] = lambda architecture: None,
    search: ModelSearch | None = None,
) -> Subject | None:
    """The model as far as it is known here; `fetch` asks the hub for its headers, once what their first bytes say is
    checked; so is a file that cannot be read. Raises R1tuiError.

    One `search` for a whole list saves looking into the same folders again and again.
    """
    found = (search or ModelSearch(paths, config)).find(variant)
    if found is not None:
        return subject_of(variant, found.path, check_architecture)
    stub = known_headers(variant, paths, FRESH_S) if fetch else known_headers(variant, paths)
    if stub is None and fetch and variant.repo is not None:
        stub = fetch_headers(variant, paths, check_architecture)
    if stub is None:
        return None
    return Subject(read_header(stub), stub, own_folder(variant, paths) / place_in_repository(stub, variant, paths),
                   on_disk=False)  # fmt: skip


def subject_of(
    variant: Variant, model: Path, check_architecture: Callable[[str], None] = lambda architecture: None
) -> Subject:
    """The variant's file on this machine. Raises R1tuiError, which says what makes it whole again, and what
    `check_architecture` raises for a file that lacks what those that are known have."""
    try:
        return Subject(read_header(model), model, model, on_disk=True)
    except GgufError as error:
        if isinstance(error, LackingSettingError) and (said := _architecture_of(model)):
            check_architecture(said)
        remedies = with_variant(error.remedies, variant.fetched_as)
        if not variant.fetched_as:
            remedies = tuple(REPLACE if isinstance(one, FetchModel) else one for one in remedies)
        raise R1tuiError(error.cause, *remedies) from error


def _architecture_of(model: Path) -> str | None:
    with suppress(GgufError, OSError), FileSource(model) as source:
        return read_architecture(source)
    return None
