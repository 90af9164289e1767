"""Asks the engine itself how much memory a plan takes: `llama-fit-params`, which loads no weights."""

import os
import re
import shlex
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from r1tui.engine.find import Engine
from r1tui.errors import R1tuiError
from r1tui.plan.capabilities import Buffers
from r1tui.remedies import BuildEngine, ListModels
from r1tui.system.children import run_lines
from r1tui.system.environment import server_environment

_LOADING = re.compile(r"error loading model: (?:\w+: )*(.+)|failed to load model")
TIMEOUT_S = 120.0  # under a second for a full-size R1 on an idle machine
SERVERS_OWN = {"--cache-ram": 2, "--no-warmup": 1}
"""Flags that llama-server has and llama-fit-params has not, and how many words each is with its value."""


class NoFiguresError(R1tuiError):
    """The engine says nothing of a model that it may well load."""


def dry_run(engine: Engine, model: Path, arguments: Sequence[str]) -> tuple[Buffers, ...]:
    """The engine's own figures for the model with a plan's arguments. Raises R1tuiError when it has none.

    Weights that the CPU copies into a layout of its own (CPU_REPACK) count where they are mapped.
    """
    uncopied = ["--no-repack"] if engine.capabilities.accepts("--no-repack") else []
    said = _ask(engine, model, [*arguments, *uncopied, "--fit-print", "on"])
    found = [re.fullmatch(r"(\w+) (\d+) (\d+) (\d+)\s*", line) for line in said]
    figures = tuple(Buffers(match[1], *(int(match[n]) for n in (2, 3, 4))) for match in found if match)
    if not figures:
        raise NoFiguresError(f"r1tui cannot read the output of llama-fit-params: {said[-1:]}", BuildEngine())
    return figures


def fit(engine: Engine, model: Path, arguments: Sequence[str]) -> list[str]:
    """The arguments (-c, -ngl, -ot, …) that llama.cpp's own --fit chooses. Raises R1tuiError when it chooses none."""
    said = _ask(engine, model, arguments)
    chosen = next((line for line in reversed(said) if re.match(r"-(c|ngl) \d+", line)), None)
    if chosen is None:
        raise R1tuiError("llama.cpp's --fit cannot fit the model.", "Choose a smaller one.", ListModels())
    return shlex.split(chosen)


def _ask(engine: Engine, model: Path, arguments: Sequence[str]) -> list[str]:
    """Output of llama-fit-params. Raises NoFiguresError when it is not there or fails, R1tuiError for a bad model."""
    tool = engine.tool("llama-fit-params")
    if tool is None:
        raise NoFiguresError(f"llama-fit-params is missing beside {engine.server}.", BuildEngine())
    said, shared, words = list[str](), list[str](), iter(arguments)
    for word in words:
        if (count := SERVERS_OWN.get(word)) is None:
            shared.append(word)
        else:
            list(islice(words, count - 1))
    argv: list[str | Path] = [tool, "--model", model, *shared]
    env = server_environment(os.environ)
    try:
        status = run_lines(argv, said.append, what=tool.name, env=env, timeout_s=TIMEOUT_S)
    except TimeoutError as error:
        raise NoFiguresError(
            f"llama-fit-params did not answer within {TIMEOUT_S:.0f} s.", "Try again without --exact."
        ) from error
    if status != 0:
        if found := [match for line in said if (match := _LOADING.search(line))]:
            why = next((f": {match[1].rstrip('.')}" for match in found if match[1]), "")
            raise R1tuiError(
                f"llama.cpp cannot load this model{why}.", "Fetch it again, or choose another.", ListModels()
            )
        reason = next((line for line in said if "error" in line.lower()), said[-1] if said else f"status {status}")
        raise NoFiguresError(f"llama-fit-params failed: {reason}", "Plan without --exact.")
    return said
