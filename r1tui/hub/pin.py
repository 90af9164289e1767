"""What a download has begun with: its list of files in one revision, kept until all are here.

So a new upload half-way changes nothing, and going on needs no list from the hub.
"""

import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec

from r1tui.catalog import Variant
from r1tui.hub.remote import Listing


def pinned(staging: Path, variant: Variant) -> Listing | None:
    """The list that an unfinished download of this variant goes by."""
    try:
        found = msgspec.json.decode(_place(staging, variant).read_bytes(), type=dict[str, Any])
        return msgspec.convert(found["listing"], Listing) if found["asked"] == _asked(variant) else None
    except (OSError, msgspec.DecodeError, msgspec.ValidationError, KeyError):
        return None


def pin(staging: Path, variant: Variant, listing: Listing) -> None:
    """Keep the list."""
    staging.mkdir(parents=True, exist_ok=True)
    place = _place(staging, variant)
    new = place.with_name(f"{place.name}.new")
    new.write_bytes(msgspec.json.encode({"asked": _asked(variant), "listing": asdict(listing)}))
    new.replace(place)


def unpin(staging: Path, variant: Variant) -> None:
    """The download is over, or begins anew."""
    _place(staging, variant).unlink(missing_ok=True)


def _asked(variant: Variant) -> list[str | None]:
    return [variant.repo, variant.pattern, variant.revision]


def _place(staging: Path, variant: Variant) -> Path:
    return staging / f"{re.sub(r'[^A-Za-z0-9._-]+', '_', variant.pattern or '').strip('_')}.files.json"
