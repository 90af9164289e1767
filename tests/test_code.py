"""Listings: their names, and whether they parse, which is found out in a process of its own."""

import asyncio
from pathlib import Path

import pytest

from r1tui.chat.code import CodeBlock, check, code_block
from tests.markdown_rig import split_markdown


@pytest.mark.parametrize(
    ("info", "code", "before", "name"),
    [
        ("python", "x = 1\n", "", "code.py"),
        ("", "x\n", "", "code.txt"),
        ("klingon", "x\n", "", "code.txt"),
        ("python", "# game.py\nx = 1\n", "", "game.py"),
        ("python", "# src/my-game.py - a game, needs pygame.display\n", "Save as `other.py`:", "my-game.py"),
        ("python", "#!/usr/bin/env python3.11\nx = 1\n", "", "code.py"),
        ("python", "import game.py\n", "", "code.py"),
        ("python title=\"app.py\"", "x = 1\n", "", "app.py"),
        ("js:web/index.mjs", "x\n", "", "index.mjs"),
        ("python", "x = 1\n", "Put `a.py` first, then **b.py**, which reads `data.json`.", "b.py"),
        ("", "FROM x\n", "In `compose.yaml`, e.g. for node.js:", "compose.yaml"),
        ("bash", "ls\n", "Write to /etc/../../x.sh and run", "x.sh"),
        ("python", "# ../../.bashrc.py\n", "Save it as ~/.ssh/authorized.keys", "code.py"),
        ("html", "<!-- index.html -->\n", "", "index.html"),
        ("rust", "// main.rs\n", "", "main.rs"),
    ],
)  # fmt: skip
def test_a_listing_is_called_what_the_text_around_it_says(info: str, code: str, before: str, name: str) -> None:
    assert CodeBlock(code, info, before).file_name() == name


def test_listings_of_a_block_are_those_of_its_fences_with_the_text_that_leads_to_them() -> None:
    (block,) = split_markdown(
        "1. In `a.py`:\n   ```python\n   x\n   ```\n2. In `b.py`:\n   ~~~ {.python}\n   y\n   ~~~\n"
    )
    assert code_block(block, 1, "") == CodeBlock("x\n", "python", "In `a.py`:")
    assert code_block(block, 2, "").file_name() == "b.py"
    assert code_block(block, 2, "").language == "python"


@pytest.mark.parametrize(
    ("language", "code", "line", "says"),
    [
        ("python", "x = 1\n", 0, "syntax is correct"),
        ("python", "    x = 1\n    y = 2\n", 0, "syntax is correct"),
        ("py", "x = 1\nif x\n    y\n", 2, "expected ':'"),
        ("python", "x = 1\n\nreturn x\n", 3, "outside function"),
        ("python", "print('a)\n", 1, "unterminated string"),
        ("python", "", 0, "syntax is correct"),
        ("json", '{"a": 1}', 0, "Only Python code can be checked, not json."),
        ("", "x", 0, "Only Python code can be checked, not code without a language."),
    ],
)
async def test_what_does_not_parse_is_told_with_its_line(language: str, code: str, line: int, says: str) -> None:
    verdict = await check(code, language)
    assert verdict.line == line
    assert says in verdict.text


@pytest.mark.parametrize(
    ("language", "code"),
    [
        ("python", "-" * 200_000 + "1"),
        ("python", "(" * 50_000 + ")" * 50_000),
        ("python", "x" + ".y" * 200_000),
        ("python", "if 1:\n" + "".join(" " * depth + "if 1:\n" for depth in range(1, 200)) + " " * 200 + "x\n"),
    ],
)
async def test_what_is_nested_too_deeply_crashes_nobody(language: str, code: str) -> None:
    assert "nothing was executed" not in (await check(code, language)).text


async def test_code_is_never_executed_nor_is_a_module_of_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    folder = tmp_path
    monkeypatch.chdir(folder)
    for name in ("json", "textwrap"):
        (folder / f"{name}.py").write_text(f"open({str(folder / 'ran')!r}, 'w')")
    assert (await check(f"open({str(folder / 'ran')!r}, 'w')\n", "python")).text.endswith("nothing was executed.")
    assert not (folder / "ran").exists()


async def test_a_hundred_thousand_lines_are_checked_while_the_loop_runs_on() -> None:
    exchanges = 0

    async def others() -> None:
        nonlocal exchanges
        while True:
            exchanges += 1
            await asyncio.sleep(0.01)

    beside = asyncio.create_task(others())
    verdict = await check("value = compute(1, 'two')\n" * 100_000 + "oh no\n", "python")
    beside.cancel()
    assert verdict.line == 100_001
    assert exchanges > 5


async def test_a_check_that_takes_too_long_is_ended() -> None:
    verdict = await check("x = 1\n" * 200_000, "python", wait_s=0.0)
    assert "longer" in verdict.text
