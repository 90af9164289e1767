"""An asynchronous generator is closed where it is left, not when the garbage is collected."""

import ast
from pathlib import Path

import pytest

import r1tui

FILES = sorted(Path(r1tui.__file__).parent.rglob("*.py"))
OF_HTTPX = ("aiter_raw", "aiter_bytes")
"""They end with their response, which is closed."""


def iterated_calls(tree: ast.AST) -> list[str]:
    """What is iterated over in the place where it is made, so that nobody can close it."""
    loops = [node.iter for node in ast.walk(tree) if isinstance(node, ast.AsyncFor)]
    loops += [node.iter for node in ast.walk(tree) if isinstance(node, ast.comprehension) and node.is_async]
    calls = [call for call in loops if isinstance(call, ast.Call)]
    return [
        f"line {call.lineno}: {ast.unparse(call)}"
        for call in calls
        if not (isinstance(call.func, ast.Attribute) and call.func.attr in OF_HTTPX)
    ]


@pytest.mark.parametrize("file", FILES, ids=str)
def test_what_is_iterated_over_is_closed(file: Path) -> None:
    assert iterated_calls(ast.parse(file.read_text())) == []


def test_one_that_is_not_would_be_found() -> None:
    assert iterated_calls(ast.parse("async def f():\n async for x in g(): pass")) == ["line 2: g()"]
