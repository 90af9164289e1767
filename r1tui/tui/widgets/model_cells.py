"""The cells of the list of models: how wide each is, and what it shows of a model."""

import re
from collections.abc import Callable
from typing import NamedTuple

from rich.style import Style
from rich.text import Text

from r1tui.catalog.variants import Variant
from r1tui.listing.overview import Group, MemoryNeeds, ModelEntry
from r1tui.plan.verdict import Verdict
from r1tui.text import part_of, percent, shortened, size
from r1tui.tui.widgets.gauges import Ink, bar, elided, one_line

GROUPS: dict[Group, str] = {
    "here": "On this machine",
    "well": "Runs well here",
    "rest": "Slow, too large, or no room on disk",
}


class Sign(NamedTuple):
    """A verdict for the eye: a sign that needs no colour, a colour of the theme, and words."""

    sign: str
    color: str
    words: str


VERDICTS: dict[Verdict | None, Sign] = {
    "gpu": Sign("✓", "success", "VRAM"),
    "hybrid": Sign("✓", "primary", "VRAM + RAM"),
    "cpu": Sign("✓", "primary", "RAM"),
    "disk": Sign("!", "warning", "disk: slow"),
    "no": Sign("✗", "foreground", "too large"),
    None: Sign("?", "foreground", ""),
}
SHORT = {"VRAM + RAM": "VRAM+RAM", "disk: slow": "slow"}
DISK_FULL = Sign("✗", "warning", "disk full")
UNUSABLE = Sign("✗", "warning", "unusable")
TITLES = {
    "n": "#", "name": "  model", "size": "size", "here": "here", "verdict": "  runs in", "needs": "needs",
    "tps": "tokens/s", "bits": "bits", "quality": "quality",
}  # fmt: skip
RIGHT = ("size", "tps", "bits")
NARROW = {"n": 1, "name": 13, "size": 7, "verdict": 11, "needs": 5, "tps": 8}
"""By key: the cells of the columns, for 60 columns of the terminal; a gap follows each."""
MIDDLE = {"n": 1, "name": 18, "size": 9, "here": 9, "verdict": 13, "needs": 5, "tps": 8}
WIDE = {"n": 1, "name": 23, "size": 9, "here": 9, "verdict": 13, "needs": 13, "tps": 12, "bits": 5, "quality": 15}


BELOW_ONE = re.compile(r"\b(0\.[1-9])\d\b")
"""A speed in two digits, of which a narrow column shows one."""
SHARE_CELLS = 5
"""Width of `100 %`."""
NEEDS_BAR = 4
"""Cells of the bar beside the share of all memory that a model needs, and the gap after it, where there is room."""


def columns(room: int) -> dict[str, int]:
    """The widths of the columns that fit, by key, each with its gap; the name takes what is left."""
    for widths in (WIDE, MIDDLE, NARROW):
        if (left := room - sum(widths.values()) - len(widths)) >= 0:
            break
    more = 0 if widths is WIDE else max(0, min(left, NEEDS_BAR))
    name = widths["name"] + max(0, min(left - more, 12))
    return {key: width + 1 for key, width in (widths | {"name": name, "needs": widths["needs"] + more}).items()}


class Cells:
    """Makes the cells for one theme and one set of widths."""

    def __init__(self, widths: dict[str, int], ink: Ink, color: Callable[[str], Style], current: str | None) -> None:
        """`color` gives the style of a colour of the theme; `current` is the name of the model that runs."""
        self._widths = {key: width - 1 for key, width in widths.items()}
        self._ink = ink
        self._color = color
        self._current = current

    def title(self, key: str, *, has_vram: bool) -> Text:
        """The column's heading."""
        width = self._widths[key]
        if key == "needs" and width >= WIDE["needs"]:
            return Text(f"{'VRAM':<{(width - 1) // 2}} RAM" if has_vram else "RAM")
        return self._fitted(key, "tok/s" if key == "tps" and width < WIDE["tps"] else TITLES[key])

    def heading(self, group: Group) -> dict[str, Text]:
        """The row above a group: its name, which goes on over the columns beside it."""
        cells, left = {}, GROUPS[group]
        for key, width in self._widths.items():
            part, left = ("", left) if key == "n" else (left[: width + 1], left[width + 1 :])
            cells[key] = Text(part, Style(bold=True) + self._color("secondary"), no_wrap=True)
        return cells

    def of(self, entry: ModelEntry, number: int | None = None) -> dict[str, Text]:
        """The cells of a model, by key; `number` is the digit that takes it."""
        variant = entry.variant
        cells = {
            "n": Text(str(number) if number is not None else "", self._color("accent"), no_wrap=True),
            "name": self._fitted("name", f"{self._mark(entry)} {one_line(variant.name)}"),
            "size": self._fitted("size", self._size(entry)),
            "here": self._fitted("here", f"↓ {entry.here}" if entry.downloading else entry.here),
            "verdict": self._verdict(entry),
            "needs": self._needs(entry.needs),
            "tps": self._fitted("tps", self._speed(entry)),
            "bits": self._fitted("bits", f"{variant.bits:g}" if variant.bits is not None else ""),
            "quality": self._fitted("quality", one_line(variant.quality)),
        }
        return {key: cells[key] for key in self._widths}

    def unknown(self, variant: Variant, number: int | None = None) -> dict[str, Text]:
        """The cells of a model that has not been looked at."""
        cells = self.of(ModelEntry(variant, None, variant.size_gib, None), number)
        return cells | {"verdict": Text("  …", no_wrap=True)}

    def _mark(self, entry: ModelEntry) -> str:
        if entry.variant.name == self._current:
            return "●"
        return "↓" if entry.progress is not None or entry.downloading else " "

    def _size(self, entry: ModelEntry) -> str:
        number, _, unit = entry.size.partition(" ")
        if len(entry.size) <= self._widths["size"]:
            return entry.size
        return f"{float(number.replace(',', '')):.0f} {unit}"

    def _speed(self, entry: ModelEntry) -> str:
        said = "" if entry.speed == "unknown" else entry.speed.replace("~ ", "~").replace(" to ", "–").replace(",", "")
        if len(said) > self._widths["tps"]:
            said = BELOW_ONE.sub(r"\1", said)
        return said.removeprefix("~") if len(said) > self._widths["tps"] else said

    def _verdict(self, entry: ModelEntry) -> Text:
        shown = VERDICTS[entry.verdict]
        if entry.no_room is not None:
            shown = DISK_FULL
        elif entry.problem and entry.verdict != "no":
            shown = UNUSABLE
        guess = "" if entry.exact or shown in (DISK_FULL, UNUSABLE) or entry.verdict is None else "~"
        is_short = self._widths["verdict"] < WIDE["verdict"]
        words = SHORT.get(shown.words, shown.words) if is_short else shown.words
        return Text(f"{shown.sign} {guess}{words}", self._color(shown.color), no_wrap=True)

    def _needs(self, needs: MemoryNeeds | None) -> Text:
        """Two bars, of VRAM and of RAM; one where there is no GPU; in a narrow column the share of both in figures."""
        if needs is None or not needs.ram_total_mib:
            return Text("")
        if self._widths["needs"] < WIDE["needs"]:
            return self._share(needs)
        ram, width = needs.ram_mib / needs.ram_total_mib, self._widths["needs"]
        if not needs.vram_total_mib:
            return self._bar(ram, width, "secondary")
        part = (width - 1) // 2
        vram = self._bar(needs.vram_mib / needs.vram_total_mib, part, "primary")
        return Text.assemble(vram, " ", self._bar(ram, part, "secondary"), no_wrap=True)

    def _share(self, needs: MemoryNeeds) -> Text:
        needed_mib = needs.vram_mib + needs.ram_mib + needs.disk_mib
        share = needed_mib / (needs.vram_total_mib + needs.ram_total_mib)
        said, width = percent(share) if share < 10 else f"{share:.0f} ×", self._widths["needs"] - SHARE_CELLS - 1
        said = said.rjust(SHARE_CELLS)
        return Text.assemble(self._bar(share, width, "primary"), " ", said, no_wrap=True) if width > 1 else Text(said)

    def _bar(self, share: float, width: int, color: str) -> Text:
        plain = bar(share, width, self._ink).plain
        if self._ink.ansi:
            track = plain.count("░")
            return Text.assemble((plain[: width - track], self._color(color)), (plain[width - track :], "dim"))
        return Text(plain, self._color(color) + Style(bgcolor=self._color("track").color))

    def _fitted(self, key: str, text: str) -> Text:
        """The text in its column, cut where it is too long: a name in its middle."""
        width = self._widths.get(key, 0)
        if len(text) > width:
            text = text[:2] + elided(text[2:], width - 2) if key == "name" else shortened(text, width)
        return Text(text.rjust(width) if key in RIGHT else text, no_wrap=True)


def memory(needs: MemoryNeeds) -> str:
    """`71.2 of 79.6 GiB VRAM + 60.1 of 64.0 GiB RAM + 22.4 GiB from disk`."""
    vram = f"{of_mib(needs.vram_mib, needs.vram_total_mib)} VRAM + " if needs.vram_mib else ""
    return f"{vram}{of_mib(needs.ram_mib, needs.ram_total_mib)} RAM{from_disk(needs.disk_mib)}"


def from_disk(mib: float) -> str:
    """` + 22.4 GiB from disk`; empty for nothing."""
    return f" + {size(mib * 2**20)} from disk" if mib else ""


def of_mib(mib: float, total_mib: float) -> str:
    """`71.2 of 79.6 GiB`."""
    return part_of(mib * 2**20, total_mib * 2**20)
