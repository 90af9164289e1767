"""Checks in a process of its own, bound in time and memory, that Python code parses. Nothing is executed."""

import asyncio
import json
import sys
from contextlib import suppress
from dataclasses import dataclass

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
class Verdict:
    """The result of a check, in a sentence."""

    text: str
    parses: bool | None = None
    """None when that could not be found out."""
    line: int = 0
    """The line at fault, the first one being 1; 0 for none."""


async def check(code: str, language: str, wait_s: float = WAIT_S) -> Verdict:
    """Check code in a language as a fence names it."""
    if language not in LANGUAGES:
        return Verdict(f"Only Python code can be checked, not {language or 'code without a language'}.")
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-I", "-W", "ignore", "-c", _PROGRAM,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        output, _ = await asyncio.wait_for(child.communicate(code.encode("utf-8", "replace")), wait_s)
    except TimeoutError:
        return Verdict(f"Not checked: it took longer than {wait_s:.0f} s.")
    finally:
        if child.returncode is None:
            with suppress(ProcessLookupError):
                child.kill()
            await child.wait()
    if child.returncode != 0:
        return Verdict("Not checked: it is nested too deeply, or too large.")
    fault = json.loads(output)
    if fault is None:
        return Verdict("It parses; nothing was executed.", parses=True)
    line, message = fault
    return Verdict(f"Line {line} does not parse: {message}.", parses=False, line=min(line, code.count("\n") + 1))
