"""Cuts a growing Markdown text into finished blocks, with the same result however the text arrives.

In CommonMark a block that a later line has closed never changes again, so only the last one has to be parsed anew.
Reference definitions would break that rule (they turn earlier text into links) and are plain text here, as is HTML.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from r1tui.system.lazy import markdown_it

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.rules_inline import StateInline
    from markdown_it.token import Token

MAX_BLOCK_CHARS = 12_000
"""A list, quote or paragraph beyond this is cut, so that parsing one never takes long. Fenced code is never cut."""

_FENCE = re.compile(r" {0,3}(?:(`{3,})[^`\n]*|(~{3,})[^\n]*)\n")
_BLANK = re.compile(r"(?:[ \t]*\n)+")
# A line that closes any list or quote before it; a longer unfinished block is parsed again only when one is seen.
_CLOSES = re.compile(r"\n[ \t]*\n(?=[^\s\d>*+|-])|\n(?=#{1,6} |```|~~~)")
_GOES_ON = re.compile(r"[\s\d>*+|-]")
_OFTEN_CHARS = 1_000
# The beginning of a line that may become a list, a fence, a rule, a heading or the underline of one.
_UNDECIDED = re.compile(r"[ \t>]*(?:[-*+=~`#_]*|\d{1,9}[.)]?|[-*+][ \t]+\[.?\]?|(?:```|~~~)[^`]*)[ \t]*")
_MARKS = re.compile(r"\\.|`+|\*\*|\*|~~")
_OPENS = re.compile(r"\W?[*~]+[^\s*~]")
_OPEN_LINK = re.compile(r"\[[^\]\n]*\]\((<)?[^\s)>]*$")


@dataclass(frozen=True)
class MarkdownBlock:
    """A top-level block: its source and markdown-it's block tokens, inline text not yet parsed."""

    source: str
    tokens: "tuple[Token, ...]"


def open_listing(text: str) -> str | None:
    """A text that begins with a fence as a listing is shown: its language, if it says one, and its lines; else None."""
    opening = _FENCE.match(text)
    if opening is None:
        return None
    language = opening[0].strip().lstrip("`~").split()[:1]
    return "\n".join([*language, text[opening.end() :]])


def as_it_will_be(text: str) -> str:
    """Growing Markdown as it probably goes on: without the marks at its end that may become others, and with those
    closed that are open in its last line."""
    before, newline, last = text.rpartition("\n")
    if _UNDECIDED.fullmatch(last):
        return before + newline
    open_marks: list[str] = []
    end = len(last)
    for found in _MARKS.finditer(last):
        mark = found[0]
        is_code, in_code = mark[0] == "`", bool(open_marks) and open_marks[-1][0] == "`"
        if mark in open_marks and is_code == in_code:
            del open_marks[open_marks.index(mark) :]
        elif mark[0] != "\\" and found.end() == end and is_code >= in_code:
            end = found.start()
        elif mark[0] != "\\" and not in_code and (is_code or _OPENS.match(last, max(found.start() - 1, 0))):
            open_marks.append(mark)
    last = last[:end].rstrip()
    if not open_marks and _UNDECIDED.fullmatch(last):
        return before + newline
    if not open_marks and (link := _OPEN_LINK.search(last)):
        last += ">)" if link[1] else ")"
    return before + newline + last + "".join(reversed(open_marks))


class MarkdownSplitter:
    """Feed it text, then step until nothing comes; `unfinished` is what belongs to no finished block yet."""

    def __init__(self) -> None:
        self.unfinished = ""
        self.closed = False
        self._parse_at = 0
        self._looked_to = 0

    def feed(self, text: str) -> None:
        """Append text, free of control characters but tabs and newlines."""
        self.unfinished += text

    def close(self) -> None:
        self.closed = True

    def step(self) -> list[MarkdownBlock]:
        """The next blocks that are surely finished; none when more text is needed. Looks at a bounded piece of text."""
        blank = _BLANK.match(self.unfinished)
        if blank:
            self._drop(blank.end())
        if self.closed and not self.unfinished.strip():
            self.unfinished = ""
        if not self.unfinished:
            return []
        opening = _FENCE.match(self.unfinished if not self.closed else self.unfinished + "\n")
        return self._fence(opening) if opening else self._parse()

    def _fence(self, opening: re.Match[str]) -> list[MarkdownBlock]:
        mark = opening[1] or opening[2]
        closing = re.compile(rf"^ {{0,3}}{re.escape(mark[0])}{{{len(mark)},}}[ \t]*(\n|\Z)", re.MULTILINE)
        found = closing.search(self.unfinished, max(opening.end(), self._looked_to))
        if found and (found[1] or self.closed):
            return self._take(found.end())
        if self.closed:
            return self._take(len(self.unfinished))
        self._looked_to = self.unfinished.rfind("\n") + 1
        return []

    def _parse(self) -> list[MarkdownBlock]:
        whole = len(self.unfinished) if self.closed else self.unfinished.rfind("\n") + 1
        if not self.closed and not self._worth_parsing(whole):
            return []
        end = whole
        if end > MAX_BLOCK_CHARS:
            end = self.unfinished.find("\n", MAX_BLOCK_CHARS) + 1 or len(self.unfinished)
            end = min(end, whole)
        tokens = block_parser().parse(self.unfinished[:end])
        is_finished = self.closed or (tokens[-1].type != "fence" and self._is_finished(whole))
        is_all = end == whole and is_finished
        spans = _spans(tokens)
        offsets = [0, *(match.end() for match in re.finditer("\n", self.unfinished[:end])), end]
        if not is_all and len(spans) > 1:
            spans = spans[:-1]
        elif not is_all and end > MAX_BLOCK_CHARS:
            return self._cut(tokens, end, offsets)
        elif not is_all:
            self._parse_at = max(whole + 1, whole * 5 // 4 if whole > _OFTEN_CHARS else 0)
            return []
        blocks = [
            MarkdownBlock(self.unfinished[offsets[first] : offsets[last]], tuple(tokens[begin:stop]))
            for begin, stop, first, last in spans
        ]
        self._drop(end if is_all else offsets[spans[-1][3]])
        return blocks

    def _is_finished(self, whole: int) -> bool:
        """True if what follows these whole lines belongs to none of their blocks: text after an empty line."""
        return (
            whole < len(self.unfinished)
            and self.unfinished[:whole].rstrip(" \t").endswith("\n\n")
            and _GOES_ON.match(self.unfinished, whole) is None
        )

    def _worth_parsing(self, whole: int) -> bool:
        if self._is_finished(whole):
            return True
        before, self._looked_to = self._looked_to, whole
        if whole <= before:
            return False
        return whole >= self._parse_at or _CLOSES.search(self.unfinished, max(before - 80, 0), whole) is not None

    def _cut(self, tokens: "list[Token]", end: int, offsets: list[int]) -> list[MarkdownBlock]:
        """Cut an endless block: a list before its last item, anything else after the last line."""
        items = [token.map[0] for token in tokens if token.type == "list_item_open" and token.level == 1 and token.map]
        return self._take(offsets[items[-1]] if len(items) > 1 else end)

    def _take(self, end: int) -> list[MarkdownBlock]:
        source = self.unfinished[:end]
        self._drop(end)
        return [MarkdownBlock(source, tuple(block_parser().parse(source)))]

    def _drop(self, end: int) -> None:
        self.unfinished = self.unfinished[end:]
        self._parse_at = 0
        self._looked_to = 0


def _spans(tokens: "list[Token]") -> list[tuple[int, int, int, int]]:
    """Per top-level block: its first token and the one after its last, its first line and the one after its last."""
    spans: list[tuple[int, int, int, int]] = []
    begin = 0
    for index, token in enumerate(tokens):
        if token.level == 0 and token.nesting <= 0:
            first, last = tokens[begin].map or (0, 0)
            spans.append((begin, index + 1, first, last))
            begin = index + 1
    return spans


@cache
def block_parser() -> "MarkdownIt":
    """Parses block structure only; inline tokens keep their text for `parse_inline`."""
    parser = markdown_it.MarkdownIt("commonmark", {"html": False, "maxNesting": 60}).enable(["table", "strikethrough"])
    parser.disable(["html_block", "html_inline", "reference", "entity"])
    parser.inline.ruler.before("escape", "math", _math)
    parser.core.ruler.enableOnly(["normalize", "block"])
    return parser


def parse_inline(text: str) -> "Iterator[Token]":
    """The inline tokens of a block's text; `math` tokens hold TeX as it was written."""
    tokens: list[Token] = []
    parser = block_parser()
    parser.inline.parse(text, parser, {}, tokens)
    return iter(tokens)


def _math(state: "StateInline", silent: bool) -> bool:
    r"""Inline rule: `\(…\)` and `\[…\]` are TeX, in which neither backslashes nor stars mean Markdown."""
    opening = state.src[state.pos : state.pos + 2]
    closing = {r"\(": r"\)", r"\[": r"\]"}.get(opening)
    end = state.src.find(closing, state.pos + 2, state.posMax) if closing else -1
    if end < 0:
        return False
    if not silent:
        state.push("math", "", 0).content = state.src[state.pos : end + 2]
    state.pos = end + 2
    return True
