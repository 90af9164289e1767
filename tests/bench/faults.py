"""Faults against the real llama-server, as a table: `python -m tests.bench.faults [--quick] [--only WORD] [ROUNDS]`.

Each fault has folders, a supervisor and a server of its own; afterwards nothing may run that `status` does not know,
and one stop must end it. ROUNDS is how often screen, supervisor or both are killed at random. The table takes
a quarter of an hour, with `--quick` three minutes; `--long` loses more screens and waits until a server forgets.
"""

import argparse
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Literal

from r1tui.config import EngineSettings
from r1tui.engine.make import build_engine
from r1tui.system.paths import Paths
from r1tui.text import one_line
from tests.bench import faults_disk, faults_hangs, faults_home, faults_inside, faults_server
from tests.bench.faults_rig import Home, NotTriedError, home, limited
from tests.bench.faults_screen import long_answers, lost_screens, random_kills
from tests.sparse_r1 import build as build_sparse
from tests.tiny_r1 import build

THINK, WORDS = "Hm.\n", "one two three four.\n\n"
WHOLE_S, QUICK_S = 15 * 60.0, 3 * 60.0
ROW_S = 150.0
LOST: tuple[tuple[str, str, Literal["close", "kill"], Literal["at once", "ended", "forgotten"]], ...] = (
    ("terminals closed", "at once", "close", "at once"),
    ("terminals closed", "after the end", "close", "ended"),
    ("screens killed", "at once", "kill", "at once"),
    ("screens killed", "after the end", "kill", "ended"),
    ("terminals closed", "when forgotten", "close", "forgotten"),
)


@dataclass(frozen=True)
class Row:
    """A line of the table; `fault` says what was seen, and raises AssertionError for what must not be."""

    name: str
    fault: Callable[[Home], str]
    quick: bool = False
    limit_s: float = ROW_S


def words_of(function: Callable[..., object]) -> str:
    """The first line of what a function says of itself."""
    return (function.__doc__ or function.__name__).splitlines()[0]


def rows(rounds: int, *, long: bool) -> Iterator[Row]:
    """The table's lines, the short ones first."""
    of_server = faults_server
    for fault in (
        of_server.killed_idle, of_server.killed_loading, of_server.killed_answering, of_server.killed_keeper_answering,
        of_server.killed_both, of_server.stopped_server, of_server.stopped_keeper, of_server.missing_shard,
        of_server.removed_run_folder, of_server.full_disk, of_server.too_little_memory, of_server.killed_for_memory,
        of_server.missing_library, of_server.lost_worker,
    ):  # fmt: skip
        yield Row(words_of(fault), fault, quick=fault in (of_server.killed_both, of_server.full_disk))
    for change in (of_server.cut, of_server.zeroed):
        yield Row(f"A model's file: {words_of(change)}", partial(of_server.broken_file, change=change))
    yield from _hangs()
    yield from _disks()
    for damage in faults_home.DAMAGES:
        for keeper_too in (False, True):
            name = f"{words_of(damage)[:-1]}{', and the keeper killed' if keeper_too else ''}."
            fault = partial(faults_home.forgotten, damage=damage, keeper_too=keeper_too)
            yield Row(name, fault, quick=keeper_too and damage in (faults_home.no_record, faults_home.garbled_record))
    for bytes_change in (faults_home.not_utf8, faults_home.emptied, faults_home.other_json):
        name = f"Files of ours: {words_of(bytes_change)}"
        yield Row(f"{name} All at once.", partial(faults_home.bad_bytes, change=bytes_change, one_by_one=False),
                  quick=bytes_change is faults_home.not_utf8)  # fmt: skip
    yield Row(f"Files of ours, one by one: {words_of(faults_home.not_utf8)}",
              partial(faults_home.bad_bytes, change=faults_home.not_utf8, one_by_one=True), limit_s=300)  # fmt: skip
    for place in faults_inside.KEEPER_PLACES:
        name = f"An exception in the keeper, {place.partition(':')[2]}."
        yield Row(name, partial(faults_inside.keeper_task, place=place), quick=place.endswith("follow_health"))
    yield Row("An exception in each worker of the screen.", faults_inside.each_worker, limit_s=400)
    yield Row("A closed and a killed screen, and an answer of more than 4 MiB.", long_answers, limit_s=400)
    yield Row(f"{rounds} kill -9 at random moments.", partial(random_kills, number=rounds), limit_s=400)
    screens = 10 if long else 3
    for verb, back, how, when in LOST if long else LOST[:-1]:
        fault = partial(lost_screens, how=how, when=when, screens=screens)
        yield Row(f"{screens} {verb}, back {back}.", fault, limit_s=600)


def _hangs() -> Iterator[Row]:
    hangs = faults_hangs
    for phase in (hangs.ready, hangs.loading, hangs.answering, hangs.restarting, hangs.stopping):
        name = f"SIGSTOP of the keeper: {phase.__name__}."
        yield Row(name, partial(hangs.keeper_hangs, phase=phase), quick=phase is hangs.ready)
    for phase in (hangs.ready, hangs.loading, hangs.answering):
        name = f"SIGSTOP of the server: {phase.__name__}."
        yield Row(name, partial(hangs.server_hangs, phase=phase), quick=phase is hangs.answering)
    yield Row("SIGSTOP of the keeper under a screen.", hangs.screen_with_a_keeper_that_hangs, quick=True)
    yield Row("SIGSTOP of the keeper, then a screen.", hangs.screen_that_comes_to_a_keeper_that_hangs)


def _disks() -> Iterator[Row]:
    disk = faults_disk
    for fault in (disk.full_before, disk.read_only, disk.no_inodes, disk.full_in_an_answer):
        yield Row(words_of(fault), fault, quick=fault is disk.full_before, limit_s=2 * ROW_S)


def main(arguments: list[str]) -> int:
    """Print the table; the exit status says whether all went well."""
    parser = argparse.ArgumentParser(prog="faults")
    parser.add_argument("rounds", nargs="?", type=int, default=10)
    parser.add_argument("word", nargs="?", default="", help="only the faults with it in their name")
    parser.add_argument("--only", default="", help="the same")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--long", action="store_true")
    given = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(143))  # and sweep
    server = build_engine(EngineSettings(), Paths.from_environment(), lambda event: None).server
    begun_s, most_s = monotonic(), QUICK_S if given.quick else WHOLE_S + (600.0 if given.long else 0.0)
    wrong = 0
    print("| fault | seen | | |\n|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        looping = build(Path(folder) / "loop.gguf", think=THINK, answer=WORDS, loop=True, context=16384)
        large = build_sparse(Path(folder) / "large.gguf", mla=True, layers=4)
        for row in rows(given.rounds, long=given.long):
            if (given.quick and not row.quick) or not all(word in row.name for word in (given.word, given.only)):
                continue
            started_s = monotonic()
            left_s = most_s - (started_s - begun_s)
            seen, right = _try(row, server, looping, large, left_s)
            wrong += right == "WRONG"
            print(f"| {row.name} | {seen} | {right} | {monotonic() - started_s:.1f} s |", flush=True)
    print(f"\n{wrong} wrong, {monotonic() - begun_s:.0f} s")
    return 1 if wrong else 0


def _try(row: Row, server: Path, model: Path, large: Path, left_s: float) -> tuple[str, str]:
    if left_s < 5:
        return "not tried: out of time", "–"
    try:
        with home(server, model, large) as here, limited(min(row.limit_s, left_s)):
            return one_line(row.fault(here)), "right"
    except NotTriedError as error:
        return f"not tried: {error}", "–"
    except Exception as error:
        kind = "" if isinstance(error, AssertionError) else f"{type(error).__name__}: "
        return one_line(f"{kind}{error}") or repr(error), "WRONG"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
