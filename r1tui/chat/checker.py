"""A program that reads code and says whether it parses: `checker.py LANGUAGE < code`, one JSON object on stdout.

It is a process of its own because parsers may run long, eat memory or overflow their stack. Nothing is executed.
"""

import json
import os
import resource
import sys
import textwrap
import tomllib
from collections.abc import Callable

CPU_S = 20
MEMORY_BYTES = 3 << 30
Fault = tuple[int, str]


def python(code: str) -> Fault | None:
    """What Python's compiler finds; a fragment may be indented as a whole."""
    try:
        compile(textwrap.dedent(code), "code", "exec", dont_inherit=True)
    except SyntaxError as error:
        return error.lineno or 1, error.msg
    return None


def json_(code: str) -> Fault | None:
    """What is wrong with JSON."""
    try:
        json.loads(code)
    except json.JSONDecodeError as error:
        return error.lineno, error.msg
    return None


def toml(code: str) -> Fault | None:
    """What is wrong with TOML; its error has the line only in words."""
    try:
        tomllib.loads(code)
    except tomllib.TOMLDecodeError as error:
        text = str(error)
        words = text.rpartition("(at line ")[2].partition(",")[0]
        return int(words) if words.isdigit() else code.count("\n") or 1, text.partition(" (at ")[0]
    return None


def yaml_(code: str) -> Fault | None:
    """What is wrong with YAML's syntax; aliases are not followed."""
    import yaml  # noqa: PLC0415  not for the others

    try:
        for _ in yaml.parse(code, yaml.SafeLoader):
            pass
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        return mark.line + 1 if mark else 1, error.problem or "not YAML"
    except yaml.YAMLError as error:
        return 1, str(error).partition("\n")[0]
    return None


CHECKS: dict[str, Callable[[str], Fault | None]] = {
    "python": python, "py": python, "python3": python, "json": json_, "toml": toml, "yaml": yaml_, "yml": yaml_,
}  # fmt: skip
"""What can be checked, by the names of a fence."""


def main(language: str) -> int:
    """Check what stdin has; exit status 1 when that was too much."""
    os.nice(10)
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        fault = CHECKS[language](sys.stdin.buffer.read().decode("utf-8", "replace"))
    except (RecursionError, MemoryError, ValueError):
        return 1
    sys.stdout.write(json.dumps(fault))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
