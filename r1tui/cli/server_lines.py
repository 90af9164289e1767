"""llama-server's log without what was asked and answered: kept is only what is known to hold nothing of it.

At r1tui's own verbosity (4) a text gets into it where a request cannot be read, a grammar or an answer cannot be
parsed, or two prompts are compared; above it, in most lines (b11434, tools/server and common).
"""

import re
from collections.abc import Iterable, Iterator

_PREFIX = re.compile(r"^\d+\.\d+\.\d+\.\d+ ([A-Z]) ")
_FIGURES = re.compile(r"^[\t ]+[a-z_]+ = [-\d.]+(?:, [a-z_]+ = [-\d.]+)*,?$")
_CRASH = re.compile(
    r"^(?:/?[\w./+-]+\.(?:c|cc|cpp|cu|cuh|h|hpp|m):\d+: |GGML_ASSERT|ggml_\w+: |CUDA error|ROCm error|terminate called|"
    r"  what\(\):|#\d+ |\[New LWP|\[Thread debugging|Aborted|Segmentation fault|Killed|Bus error|Illegal instruction|"
    r"[\w./-]*llama-server: |  (?:current device|in function|err|device)|load_backend: |ggml_cuda_init|  Device \d+: )"
)
_TEXTS = re.compile(
    r"(?i)last read|\b(?:old|new): \.\.\. |unparsed|next token|parsed message|\brequest: |response: |anthropic string|"
    r"\bprompt(?: = |: )['\"{\[]|\"(?:content|messages|prompt|reasoning_content|arguments|text|input)\"|grammar|"
    r"example_format|tool call|generated text|\btext: |stop(?:ping)? (?:word|string)|user_msg|\bdata: "
)


def without_chat(lines: Iterable[str]) -> Iterator[str]:
    """The lines that tell of the server and not of the chat; a line in brackets counts those left out."""
    left_out = 0
    for line in lines:
        kept = _kept(line)
        if kept is None:
            left_out += 1
            continue
        if left_out:
            yield _counted(left_out)
            left_out = 0
        yield kept
    if left_out:
        yield _counted(left_out)


def _counted(number: int) -> str:
    return f"[{number} line{'' if number == 1 else 's'} that may hold chat text left out]"


def _kept(line: str) -> str | None:
    """The line, or what of it can be told; None for nothing."""
    found = _PREFIX.match(line)
    if found is None:
        known = not line.strip() or _FIGURES.match(line) or _CRASH.match(line)
        return line if known and not _TEXTS.search(line) else None
    if found[1] == "D":
        return None
    if "got exception: " in line:
        head, _, said = line.partition("got exception: ")
        code, kind = re.search(r'"code":(\d+)', said), re.search(r'"type":"(\w+)"', said)
        told = " ".join(one[1] for one in (code, kind) if one)
        return f"{head}got exception: {told or '(its text is left out)'}"
    return None if _TEXTS.search(line) else line
