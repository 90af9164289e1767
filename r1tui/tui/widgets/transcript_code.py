"""Code in colours: Pygments' tokens as spans, line by line, so that a long listing can be coloured in short turns."""

import re
from collections.abc import Iterator
from functools import cache, lru_cache
from typing import Any

from r1tui.chat.markdown import block_parser
from r1tui.tui.widgets.transcript_rows import TAB, Span

BESIDE_BAR: tuple[Span, Span] = (" ", "code"), ("↳", "code rule")
"""What stands before a line of code, and before the rest of it where it is longer than the row."""
MAX_LINE_CHARS = 2_000
"""Beyond this a listing is drawn without colours: lexers may take very long over such lines."""

_LANGUAGE = re.compile(r"[a-z0-9+#_.-]{1,30}")
# Names of Pygments' standard token types, the longest matching prefix wins.
_ROLES = {
    "Keyword": "keyword",
    "Name.Function": "name",
    "Name.Class": "name",
    "Name.Decorator": "name",
    "Name.Tag": "keyword",
    "Name.Builtin": "builtin",
    "Name.Exception": "builtin",
    "Name.Attribute": "name",
    "Literal.String": "string",
    "Literal.Number": "number",
    "Comment": "comment",
    "Operator.Word": "keyword",
    "Generic.Deleted": "deleted",
    "Generic.Inserted": "inserted",
    "Generic.Heading": "name",
    "Generic.Subheading": "name",
}


def code_lines(code: str, language: str) -> Iterator[list[Span]]:
    """The lines of a listing as spans; an unknown language has one role."""
    code = code.expandtabs(len(TAB)) if "\t" in code else code
    lines = code.removesuffix("\n").split("\n")
    lexer = _lexer(language) if max(map(len, lines)) <= MAX_LINE_CHARS else None
    if lexer is None:
        for line in lines:
            yield [(line, "code")]
        return
    spans: list[Span] = []
    left = len(lines)
    for _, kind, text in lexer.get_tokens_unprocessed("\n".join(lines) + "\n"):
        role = _role(str(kind))
        first, *more = text.split("\n")
        spans.append((first, role))
        for piece in more:
            if left > 0:
                yield spans
                left -= 1
            spans = [(piece, role)]


def warm_up() -> None:
    """Import what Markdown and the likeliest language need: a tenth of a second, for a thread to spend."""
    block_parser()
    for language in ("python", "bash", "no-such-language"):
        _lexer(language)


@lru_cache(64)
def _lexer(language: str) -> Any:
    """Pygments' lexer, or None; its classes are imported one by one."""
    from pygments import lexers, util  # noqa: PLC0415

    try:
        return lexers.get_lexer_by_name(language) if _LANGUAGE.fullmatch(language) else None
    except util.ClassNotFound:
        return None


@cache
def _role(kind: str) -> str:
    parts = kind.split(".")[1:]
    for length in range(len(parts), 0, -1):
        if role := _ROLES.get(".".join(parts[:length])):
            return f"code {role}"
    return "code"
