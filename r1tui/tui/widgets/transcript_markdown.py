"""A Markdown block as rows, one at a time, so that whoever wants them can stop in between."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from r1tui.chat.markdown import parse_inline
from r1tui.tui.widgets.transcript_code import BESIDE_BAR, code_lines
from r1tui.tui.widgets.transcript_rows import Row, Span, fitting, row_of, wrap, wrap_spans
from r1tui.tui.widgets.transcript_table import Cell, table_rows

if TYPE_CHECKING:
    from markdown_it.token import Token

BULLETS = "•◦▪"
CODE_BAR: Span = ("▎", "code mark")
QUOTE_BAR: Span = ("▌ ", "mark")
_KEEPS_BACKSLASH = set("()[]{},;:!|")  # TeX that a model wrote without its brackets
_INLINE_ROLES = {"strong": "strong", "em": "em", "s": "strike", "link": "link"}


def render(tokens: Sequence[Token], width: int, margin: tuple[Span, ...] = ()) -> Iterator[Row]:
    """The rows of a block's tokens, each beginning with the margin."""
    return _Renderer(width).blocks(list(tokens), margin, margin, 0)


class _Renderer:
    """Renders at one width. A prefix is what stands before a nested block: `first` on its first row, then `rest`."""

    def __init__(self, width: int) -> None:
        self._width = width
        self._listings = 0

    def blocks(self, tokens: list[Token], first: tuple[Span, ...], rest: tuple[Span, ...], depth: int) -> Iterator[Row]:
        """Several blocks with a blank row between them, none where the source is a tight list."""
        begin = 0
        was_tight = used = False
        for end, token in enumerate(tokens):
            if token.level != tokens[begin].level or token.nesting > 0:
                continue
            group, begin = tokens[begin : end + 1], end + 1
            if used and not was_tight and not group[0].hidden:
                yield row_of(*rest)
            was_tight = group[0].hidden
            prefix, used = rest if used else first, True
            yield from self._block(group, prefix, rest, depth)
        if not used:
            yield row_of(*first)

    def _block(self, tokens: list[Token], first: tuple[Span, ...], rest: tuple[Span, ...], depth: int) -> Iterator[Row]:
        opening = tokens[0]
        inside = tokens[1:-1]
        match opening.type:
            case "paragraph_open" | "heading_open":
                role = opening.tag if opening.type == "heading_open" else "answer"
                yield from self._prefixed(wrap_spans(inline_spans(inside[0], role), self._room(rest)), first, rest)
            case "fence" | "code_block":
                yield from self._code(opening, first, rest)
            case "bullet_list_open" | "ordered_list_open":
                yield from self._list(opening, inside, first, rest, depth)
            case "blockquote_open":
                yield from self.blocks(inside, *self._nest(first, rest, QUOTE_BAR, QUOTE_BAR), depth)
            case "table_open":
                cells = _cells(inside)
                lines = table_rows(cells, self._room(rest)) if cells else []
                yield from self._prefixed(lines, first, rest)
            case _:
                yield row_of(*first, ("─" * self._room(rest), "rule"))

    def _list(
        self, opening: Token, inside: list[Token], first: tuple[Span, ...], rest: tuple[Span, ...], depth: int
    ) -> Iterator[Row]:
        items = _children(inside)
        number = int(opening.attrs.get("start", 1))
        ordered = opening.type == "ordered_list_open"
        mark_width = len(str(number + len(items) - 1)) + 2 if ordered else 2
        loose = any(token.type == "paragraph_open" and not token.hidden for item in items for token in item[1:2])
        for index, item in enumerate(items):
            mark = f"{number + index}." if ordered else BULLETS[depth % len(BULLETS)]
            spans = (mark.rjust(mark_width - 1) + " ", "mark"), (" " * mark_width, "")
            if index and loose:
                yield row_of(*rest)
            yield from self.blocks(item[1:-1], *self._nest(rest if index else first, rest, *spans), depth + 1)

    def _code(self, token: Token, first: tuple[Span, ...], rest: tuple[Span, ...]) -> Iterator[Row]:
        language = (token.info.split() or [""])[0]
        room = max(self._room(rest) - 2, 2)
        prefix = first
        self._listings += 1
        number = self._listings
        if language:
            name = language[: fitting(language, 0, len(language), room)]
            yield row_of(*prefix, CODE_BAR, (" ", "code"), (name, "code comment"), fill="code", place=(number, 0))
            prefix = rest
        for line, spans in enumerate(code_lines(token.content, language.lower()), 1):
            for piece, row in enumerate(_chopped(spans, room)):
                yield row_of(*prefix, CODE_BAR, BESIDE_BAR[piece > 0], *row, fill="code", place=(number, line))
                prefix = rest

    def _prefixed(self, rows: list[tuple[Span, ...]], first: tuple[Span, ...], rest: tuple[Span, ...]) -> Iterator[Row]:
        prefix = first
        for row in rows:
            yield row_of(*prefix, *row)
            prefix = rest

    def _nest(
        self, first: tuple[Span, ...], rest: tuple[Span, ...], mark: Span, blank: Span
    ) -> tuple[tuple[Span, ...], tuple[Span, ...]]:
        """The prefixes one level deeper; beyond half the width, levels no longer move to the right."""
        if self._room(rest) - len(blank[0]) < self._width // 2:
            return first, rest
        return (*first, mark), (*rest, blank)

    def _room(self, prefix: tuple[Span, ...]) -> int:
        return max(self._width - sum(len(text) for text, _ in prefix), 2)


def inline_spans(inline: Token, role: str) -> list[Span]:
    """The spans of an inline token; its markup becomes roles on top of `role`."""
    spans: list[Span] = []
    roles = [role]
    hrefs: list[str] = []
    for token in parse_inline(inline.content):
        kind = token.type.removesuffix("_open").removesuffix("_close")
        match token.type:
            case "text" | "math":
                spans.append((token.content, " ".join(roles)))
            case "text_special":
                kept = token.markup if token.content in _KEEPS_BACKSLASH else token.content
                spans.append((kept, " ".join(roles)))
            case "code_inline":
                spans.append((token.content, f"{' '.join(roles)} inline"))
            case "softbreak" | "hardbreak":
                spans.append(("\n", role))
            case "image":
                spans.append((f"[{token.content}]({token.attrs.get('src', '')})", f"{' '.join(roles)} link"))
            case _ if token.nesting > 0 and kind in _INLINE_ROLES:
                roles.append(_INLINE_ROLES[kind])
                if kind == "link":
                    hrefs.append(str(token.attrs.get("href", "")) if token.info != "auto" else "")
            case _ if token.nesting < 0 and kind in _INLINE_ROLES:
                roles.pop()
                if kind == "link" and (href := hrefs.pop()):
                    spans.append((f" ({href})", f"{role} rule"))
            case _:
                spans.append((token.content, " ".join(roles)))
    return [(text.replace("\t", " "), where) for text, where in spans if text]


def _chopped(spans: list[Span], width: int) -> Iterator[list[Span]]:
    """A line of code in rows of at most this many cells, cut anywhere."""
    text = "".join(piece for piece, _ in spans)
    if fitting(text, 0, len(text), width) >= len(text):
        yield [span for span in spans if span[0]]
        return
    for start, end in wrap(text, 0, len(text), width, words=False):
        position = 0
        row: list[Span] = []
        for piece, role in spans:
            cut = piece[max(start - position, 0) : max(end - position, 0)]
            if cut:
                row.append((cut, role))
            position += len(piece)
        yield row


def _children(tokens: list[Token]) -> list[list[Token]]:
    """The tokens of each block at the level of the first one."""
    if not tokens:
        return []
    level = tokens[0].level
    bounds = [index for index, token in enumerate(tokens) if token.level == level and token.nesting >= 0]
    return [tokens[begin:end] for begin, end in pairwise([*bounds, len(tokens)])]


def _cells(tokens: list[Token]) -> list[list[Cell]]:
    """The cells of a table's rows, the head's first."""
    rows: list[list[Cell]] = []
    for index, token in enumerate(tokens):
        if token.type == "tr_open":
            rows.append([])
        elif token.type in ("th_open", "td_open"):
            head = token.type == "th_open"
            style = str(token.attrs.get("style", ""))
            align = "right" if "right" in style else "center" if "center" in style else "left"
            rows[-1].append(Cell(inline_spans(tokens[index + 1], "strong" if head else "answer"), align))
    return rows
