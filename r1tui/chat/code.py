"""The code blocks of an answer: their code, language, the name of a file of each, and a check of their syntax."""

from __future__ import annotations

import json
import re
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from r1tui.system.lazy import asyncio
from r1tui.system.paths import is_relative

if TYPE_CHECKING:
    from markdown_it.token import Token

    from r1tui.chat.markdown import MarkdownBlock

# The names of a language, and the endings of its files, the usual one first.
_ENDINGS = {
    names: endings.split()
    for names, endings in (
        ("python py python3 pycon", "py pyw pyi"), ("bash sh shell zsh console", "sh bash zsh"),
        ("javascript js node", "js mjs cjs jsx"), ("typescript ts", "ts tsx"), ("jsx", "jsx"), ("tsx", "tsx"),
        ("c", "c h"), ("cpp c++ cxx", "cpp cc cxx hpp h"), ("cuda", "cu cuh"), ("csharp cs c#", "cs"),
        ("rust rs", "rs"), ("go golang", "go"), ("java", "java"), ("kotlin kt", "kt kts"), ("swift", "swift"),
        ("ruby rb", "rb"), ("php", "php"), ("lua", "lua"), ("perl pl", "pl pm"), ("r", "R r"), ("julia jl", "jl"),
        ("haskell hs", "hs"), ("scala", "scala"), ("dart", "dart"), ("zig", "zig"), ("sql", "sql"),
        ("html", "html htm"), ("css", "css"), ("scss", "scss"), ("xml", "xml"), ("svg", "svg"), ("vue", "vue"),
        ("json jsonc", "json"), ("yaml yml", "yaml yml"), ("toml", "toml"), ("ini cfg conf", "ini cfg conf"),
        ("markdown md", "md"), ("tex latex", "tex"), ("diff patch", "diff patch"), ("csv", "csv"),
        ("text txt plaintext", "txt log"),
    )
}  # fmt: skip
_OF_LANGUAGE = {name: endings for names, endings in _ENDINGS.items() for name in names.split()}
_ALL = {ending for endings in _ENDINGS.values() for ending in endings}
_NAME = re.compile(r"(?<![\w.])(?:[\w.-]*/)*(\w[\w+-]*(?:\.\w+)*\.(\w{1,5}))(?![\w/])")
_COMMENT = re.compile(r"\s*(?:#|//|--|;|%|/\*|<!--|\(\*)(?!!)")
_MARKED = re.compile(r"[`*]([^`*\n]+)[`*]")
_LINE_CHARS = 400
"""So much of a line or of the text before is searched for a name."""
WAIT_S = 40.0
"""Twice the time that the check may compute, since the model has the same cores."""
LANGUAGES = ("python", "py", "python3")
_PROGRAM = """
import json, os, resource, sys, textwrap
os.nice(10)
for limit, most in ((resource.RLIMIT_CPU, 20), (resource.RLIMIT_AS, 3 << 30), (resource.RLIMIT_CORE, 0)):
    resource.setrlimit(limit, (most, most))
fault = None
try:
    compile(textwrap.dedent(sys.stdin.buffer.read().decode("utf-8", "replace")), "code", "exec")
except SyntaxError as error:
    fault = error.lineno or 1, error.msg
json.dump(fault, sys.stdout)
"""


@dataclass(frozen=True)
class CodeBlock:
    """A piece of code, without the characters that are not drawn either."""

    code: str
    info: str = ""
    """Text after the opening fence."""
    before: str = ""
    """The text that leads to it."""

    @property
    def language(self) -> str:
        """Its language as the fence names it, in small letters; empty when it does not."""
        word = (self.info.split() or [""])[0].lower()
        return word.strip("{}.").partition(":")[0]

    @property
    def n_lines(self) -> int:
        return self.code.count("\n") + (not self.code.endswith("\n"))

    def file_name(self) -> str:
        """Suggest a file name: from the fence, the first line or the text before, else by its language.

        Never a path: the model does not decide where it goes.
        """
        endings = _OF_LANGUAGE.get(self.language, ())
        first = self.code.lstrip("\n").partition("\n")[0][:_LINE_CHARS]
        before = self.before[-_LINE_CHARS:]
        before = before if endings else " ".join(_MARKED.findall(before))  # node.js is no file's name
        places = (self.info, first if _COMMENT.match(first) else "", before)
        for place in places:
            names = [name for name, ending in _NAME.findall(place) if ending in (endings or _ALL)]
            if names and is_relative(name := PurePosixPath(names[-1]).name):
                return name
        return f"code.{endings[0] if endings else 'txt'}"


def is_code(token: Token) -> bool:
    return token.type in ("fence", "code_block")


def code_block(block: MarkdownBlock, number: int, before: str) -> CodeBlock:
    """The listing of a block, the first one being 1; `before` is the source of the block before."""
    for token in block.tokens:
        if token.type == "inline":
            before = token.content
        elif is_code(token):
            number -= 1
            if number == 0:
                return CodeBlock(token.content, token.info, before)
    raise ValueError("there is no such code block")


@dataclass(frozen=True)
class SyntaxCheck:
    """The result of a check, in a sentence."""

    text: str
    line: int = 0
    """The line at fault, the first one being 1; 0 for none."""


async def check(code: str, language: str, wait_s: float = WAIT_S) -> SyntaxCheck:
    """Check that code parses, in a process of its own, bound in time and memory; nothing is executed."""
    if language not in LANGUAGES:
        return SyntaxCheck(f"Only Python code can be checked, not {language or 'code without a language'}.")
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-I", "-W", "ignore", "-c", _PROGRAM,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        output, _ = await asyncio.wait_for(child.communicate(code.encode("utf-8", "replace")), wait_s)
    except TimeoutError:
        return SyntaxCheck(f"Not checked: it took longer than {wait_s:.0f} s.")
    finally:
        if child.returncode is None:
            with suppress(ProcessLookupError):
                child.kill()
            await child.wait()
    if child.returncode != 0:
        return SyntaxCheck("Not checked: it is nested too deeply, or too large.")
    fault = json.loads(output)
    if fault is None:
        return SyntaxCheck("The syntax is correct; nothing was executed.")
    line, message = fault
    return SyntaxCheck(f"Syntax error in line {line}: {message}.", min(line, code.count("\n") + 1))
