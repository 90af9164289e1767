"""What the list of models says below its table of the model under the cursor."""

from collections.abc import Iterator

from r1tui.catalog.variants import Variant
from r1tui.hub.local.places import OWNERS
from r1tui.listing.overview import ModelEntry
from r1tui.text import duration, percent
from r1tui.tui.widgets.model_cells import memory


def words_before_check(variant: Variant) -> Iterator[str]:
    """Details of a model before it has been checked."""
    yield " · ".join(filter(None, (variant.title, variant.quality)))
    yield "Checking…"


def details(entry: ModelEntry, columns: int, *, runs: bool) -> Iterator[str]:
    """Details beside the table, in four lines of so many columns."""
    yield title(entry, columns)
    yield entry.problem or needs(entry, columns)
    if entry.path is not None:
        yield f"{entry.path}{f' ({OWNERS[entry.owner]})' if entry.owner else ''}"
    elif entry.progress is not None:
        yield f"{percent(entry.progress)} is here{'; it is being downloaded.' if entry.downloading else '.'}"
    elif entry.variant.file is not None:
        yield f"{entry.variant.file} is not there."
    else:
        yield f"Not on this machine; the disk has room{f' for its {entry.size}' if entry.size else ''}."
    does = "<variants.choose> starts it." if entry.path is not None else "<variants.choose> downloads and starts it."
    if entry.path is None and entry.variant.file is not None:
        does = "Nothing can fetch it."
    age = f" Size from the hub, {duration(entry.listed_age_s)} ago." if entry.listed_age_s is not None else ""
    yield f"{'It runs now.' if runs else does}{age}"


def title(entry: ModelEntry, columns: int) -> str:
    """Its name for people, how good it is and how fast."""
    speed = f"{entry.speed} tokens/s" if entry.speed not in ("", "unknown") else ""
    return _fitting(columns, entry.variant.title, entry.variant.quality, speed)


def _fitting(columns: int, *parts: str) -> str:
    """The parts as far as they fit on a line: none but the first is cut."""
    said = ""
    for part in filter(None, parts):
        if said and len(said) + len(part) + 3 > columns:
            break
        said = f"{said} · {part}" if said else part
    return said


def needs(entry: ModelEntry, columns: int) -> str:
    """What it takes of VRAM and RAM, and the key that reads exact values; empty if nothing is known."""
    takes, layers = memory(entry.needs) if entry.needs is not None else "", entry.layers
    if entry.needs is not None and entry.needs.disk_mib:
        layers = layers.removesuffix(", weights from disk")
    said = _fitting(columns, takes, layers)
    if entry.exact:
        return said
    exactly = "<variants.ask_hub> reads exact values." if entry.variant.repo else ""
    return " ".join(filter(None, (f"~ {said};" if said and exactly else said and f"~ {said}", exactly)))
