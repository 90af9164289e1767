"""What a download has begun with: its list of files in one revision, kept until all are here.

So a new upload half-way changes nothing, and going on needs no list from the hub.
"""

import re
from pathlib import Path

import msgspec

from r1tui.catalog.variants import Variant
from r1tui.hub.listing.remote import RemoteFiles
from r1tui.system.files import delete, read_json_if_any, write_json
from r1tui.system.outside import is_relative


class _Pinned(msgspec.Struct, frozen=True):
    asked: list[str | None]
    listing: RemoteFiles


def pinned(staging: Path, variant: Variant) -> RemoteFiles | None:
    """The list that an unfinished download of this variant goes by."""
    found = read_json_if_any(_place(staging, variant), _Pinned)
    if found is None or found.asked != _asked(variant):
        return None
    sound = all(is_relative(file.path) and file.size_bytes >= 0 for file in found.listing.files)
    return found.listing if sound and found.listing.files and is_relative(found.listing.revision) else None


def pin(staging: Path, variant: Variant, listing: RemoteFiles) -> None:
    """Keep the list."""
    write_json(_place(staging, variant), _Pinned(_asked(variant), listing))


def unpin(staging: Path, variant: Variant) -> None:
    """The download is over, or begins anew."""
    delete(_place(staging, variant))


def _asked(variant: Variant) -> list[str | None]:
    return [variant.repo, variant.pattern, variant.revision]


def _place(staging: Path, variant: Variant) -> Path:
    return staging / f"{re.sub(r'[^A-Za-z0-9._-]+', '_', variant.pattern or '').strip('_')}.files.json"
