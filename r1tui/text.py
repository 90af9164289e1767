"""Text from models, files and programs, made safe and short for a terminal."""

import re
from collections.abc import Sequence
from time import localtime, strftime

# CSI, OSC and other string sequences, two-character escapes, then every control character but tab and newline.
_SEQUENCES = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[\]PX^_][^\x07\x1b\n]*(?:\x07|\x1b\\)?|\x1b[ -/]*[0-~]?"
    r"|\x9b[0-?]*[ -/]*[@-~]|[\x00-\x08\x0b-\x1f\x7f-\x9f]"
)

# Characters that nobody sees and that turn text around, join it, or hide text in it: soft hyphen, Arabic letter mark,
# zero-width and bidirectional controls, invisible operators, interlinear marks, tags, variation selectors 17 to 256.
# Right-to-left letters need none of them: terminals order those by themselves.
UNSEEN = "\u00ad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e0fff"
"""For the brackets of a regular expression."""
_UNSEEN = re.compile(f"[{UNSEEN}]")
_NO_CHARACTERS = re.compile("[\ud800-\udfff\u2028\u2029]")
_HIDDEN_IN_JSON = re.compile(f"[{UNSEEN}\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def plain(text: str) -> str:
    """The text as a terminal may have it: without control sequences, and without characters that nobody sees.

    Tabs and newlines stay. What is no character (a byte that was no UTF-8) is U+FFFD: it is never sent as it is.
    """
    return _NO_CHARACTERS.sub("\ufffd", _UNSEEN.sub("", without_controls(text)))


def without_controls(text: str) -> str:
    """The text without terminal control sequences and characters, for files and prompts; tabs and newlines stay."""
    return _SEQUENCES.sub("", text)


def safe_json(text: str) -> str:
    """The same JSON, whatever of it a terminal must not have, or nobody sees, written as `\\uXXXX`."""
    return _HIDDEN_IN_JSON.sub(_escaped, text)


def _escaped(found: re.Match[str]) -> str:
    units = found[0].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))


def one_line(text: str) -> str:
    """All of the text on one line."""
    return " ".join(plain(text).split())


def shortened(text: str, most: int = 40) -> str:
    """A text of one line in at most so many characters."""
    line = one_line(text)
    return line if len(line) <= most else f"{line[: most - 1].rstrip()}…"


def size(n_bytes: float) -> str:
    """Bytes in binary units: `131.2 GiB`."""
    return _in_unit(n_bytes, _unit_of(n_bytes))


def part_of(part_bytes: float, whole_bytes: float, between: str = " of ") -> str:
    """Two sizes in the unit of the whole: `71.2 of 79.6 GiB`."""
    unit = _unit_of(whole_bytes)
    part = _in_unit(part_bytes, unit).removesuffix(f" {unit}")
    return f"{'<0.1' if part == '0.0' and part_bytes > 0 else part}{between}{_in_unit(whole_bytes, unit)}"


def _unit_of(n_bytes: float) -> str:
    """GiB up to 4 TiB, so that models, memory and disks can be compared."""
    limits = (("B", 1024), ("KiB", 1024**2), ("MiB", 1024**3), ("GiB", 4 * 1024**4))
    return next((unit for unit, limit in limits if abs(n_bytes) < limit), "TiB")


def _in_unit(n_bytes: float, unit: str) -> str:
    if unit == "B":
        return f"{n_bytes:.0f} B"
    return f"{n_bytes / 1024 ** ('B', 'KiB', 'MiB', 'GiB', 'TiB').index(unit):,.1f} {unit}"


def percent(share: float) -> str:
    """A share of what is to be done: `43 %`; 100 only when all is done."""
    return f"{int(100 * share + 1e-6)} %"


def duration(seconds: float) -> str:
    """A time span as people say it: `45 s`, `7 min`, `2 h 05 min`, `3 days`."""
    whole = max(0, round(seconds))
    if whole < 90:
        return f"{whole} s"
    minutes = round(whole / 60)
    if minutes >= 48 * 60:
        return f"{round(minutes / (24 * 60))} days"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def day(time_s: float, now_s: float) -> str:
    """Format a Unix time in local time: `today 14:05`, `yesterday 09:12`, `2026-11-03 18:30`."""
    then, now, day_before = (localtime(one)[:3] for one in (time_s, now_s, now_s - 86400))
    words = {now: "today", day_before: "yesterday"}.get(then, "%Y-%m-%d")
    return strftime(f"{words} %H:%M", localtime(time_s))


def listed(words: Sequence[str]) -> str:
    """`A`, `A and B`, `A, B and C`."""
    return " and ".join(filter(None, (", ".join(words[:-1]), *words[-1:])))


def rough(low: float, high: float) -> str:
    """A range in two digits: `0.72 to 7.4`, `420`; one number where they are alike."""
    first, last = (f"{float(f'{value:.2g}'):,.9f}".rstrip("0").rstrip(".") for value in (low, high))
    return first if first == last else f"{first} to {last}"
