"""Every sentence that a user can see, one a line, to be read in one go: python -m tests.tools.strings [PACKAGE ...].

A string counts when it has two words and is neither a docstring nor code for another language: a pattern, SQL, CSS, a
command. What is filled in stands in braces.
"""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent.parent
WORDS = re.compile(r"[A-Za-z][a-z']+[,:;.]? +(?:[A-Za-z{`][a-z']*|\d)")
SQL = re.compile(r"^\s*(SELECT|INSERT|UPDATE|DELETE|CREATE|PRAGMA|BEGIN|WITH|ALTER|DROP|ATTACH|FROM|WHERE)\b")
CSS = re.compile(r"[a-z-]+: [^;{}]+;\s")
MATCHERS = {"compile", "search", "match", "fullmatch", "sub", "findall", "finditer", "namedtuple", "NewType", "TypeVar"}
"""Functions whose texts are for a machine."""


class Sentence(NamedTuple):
    path: Path
    line: int
    text: str


def sentences(path: Path) -> Iterator[Sentence]:
    """The visible strings of a module, from top to bottom."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    hidden = {id(part) for node in ast.walk(tree) for part in _for_machines(node)}
    inner = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in ast.walk(node)} - {
        id(node) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr | ast.Constant) and id(node) not in hidden | inner:
            text = _text(node)
            if WORDS.search(text) and not SQL.match(text) and not CSS.search(text):
                yield Sentence(path, node.lineno, " ".join(text.split()))


def _text(node: ast.expr) -> str:
    """The text of a string; what an f-string fills in stands in braces."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=parts):
            return "".join(_text(part) for part in parts)
        case ast.FormattedValue(value=value):
            return f"{{{ast.unparse(value)}}}"
    return ""


def _for_machines(node: ast.AST) -> Iterator[ast.AST]:
    """The parts of this node whose strings nobody sees: docstrings, what a matcher takes, annotations."""
    match node:
        case ast.Expr(value=ast.Constant() as docstring):
            yield docstring
        case ast.Call(func=ast.Attribute(attr=name) | ast.Name(id=name), args=args) if name in MATCHERS:
            yield from (part for argument in args for part in ast.walk(argument))
        case ast.arg(annotation=ast.expr() as annotation) | ast.AnnAssign(annotation=annotation):
            yield from ast.walk(annotation)


def all_sentences(*packages: str) -> list[Sentence]:
    """The visible strings of r1tui, or of the packages that are named (`tui`, `hub`)."""
    folders = [ROOT / "r1tui" / package for package in packages] or [ROOT / "r1tui"]
    paths = sorted(path for folder in folders for path in folder.rglob("*.py"))
    return sorted(sentence for path in paths for sentence in sentences(path))


if __name__ == "__main__":
    for path, line, text in all_sentences(*sys.argv[1:]):
        print(f"{path.relative_to(ROOT)}:{line}  {text}")
