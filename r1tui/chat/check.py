"""Whether code parses, found out by a process of its own that is bound in time and memory. Nothing is executed."""

import asyncio
import json
import sys
from contextlib import suppress
from dataclasses import dataclass

from r1tui.chat import checker

WAIT_S = 40.0
"""Twice the time that the check may compute, since the model has the same cores."""


@dataclass(frozen=True)
class Verdict:
    """What became of a check, in a sentence."""

    text: str
    parses: bool | None = None
    """None when it could not be told."""
    line: int = 0
    """The line at fault, the first one being 1; 0 for none."""


async def check(code: str, language: str, wait_s: float = WAIT_S) -> Verdict:
    """Check code in a language as a fence names it."""
    if language not in checker.CHECKS:
        name = language or "Code without a language"
        return Verdict(f"{name} cannot be checked; Python, JSON, TOML and YAML can.")
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-I", "-W", "ignore", checker.__file__, language,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        said, _ = await asyncio.wait_for(child.communicate(code.encode("utf-8", "replace")), wait_s)
    except TimeoutError:
        return Verdict(f"Not checked: it took longer than {wait_s:.0f} s.")
    finally:
        if child.returncode is None:
            with suppress(ProcessLookupError):
                child.kill()
            await child.wait()
    if child.returncode != 0:
        return Verdict("Not checked: it is nested too deeply, or too large.")
    fault = json.loads(said)
    if fault is None:
        return Verdict("It parses; nothing was executed.", parses=True)
    line, message = fault
    return Verdict(f"Line {line} does not parse: {message}.", parses=False, line=min(line, code.count("\n") + 1))
