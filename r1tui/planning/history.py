"""What running a plan taught, written down so that the next plan for the same model is better."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from r1tui.errors import R1tuiError
from r1tui.events import Finished
from r1tui.machine.hardware import detect_machine
from r1tui.messages import ServerSpec, Status
from r1tui.plan import history
from r1tui.plan.capabilities import HOST
from r1tui.server.buffers import read_buffers
from r1tui.system.paths import Paths

SHORTEST_PROMPT, SHORTEST_ANSWER = 128, 16
"""Fewer tokens say nothing about speed."""


def records_file(paths: Paths) -> Path:
    """Where all records are kept."""
    return paths.state / "learned.json"


def find_history_of(paths: Paths, model: Path, server: Path) -> history.PlanHistory | None:
    """What is known of this model with this llama-server on this machine. Raises R1tuiError for missing shards."""
    return history.find_history(records_file(paths), _key(model, server))


def remember_load(paths: Paths, server: Status | ServerSpec, log: Sequence[str]) -> None:
    """That the model was loaded, and what its buffers took, from the server's log."""
    used = {one.name: one.total_mib for one in read_buffers(log) if one.name != HOST}
    _remember(paths, server, history.loaded(used))


def remember_out_of_memory(paths: Paths, server: Status | ServerSpec) -> None:
    """That memory did not suffice for this plan."""
    _remember(paths, server, history.out_of_memory)


def remember_speed(paths: Paths, server: Status | ServerSpec, end: Finished) -> None:
    """How fast an answer came."""
    prompt_tps = (end.prompt_tps or 0.0) if (end.prompt_tokens or 0) >= SHORTEST_PROMPT else 0.0
    answer_tps = (end.tps or 0.0) if (end.completion_tokens or 0) >= SHORTEST_ANSWER else 0.0
    if prompt_tps or answer_tps:
        _remember(paths, server, history.answered(prompt_tps, answer_tps))


def _key(model: Path, server: Path) -> history.HistoryKey:
    return history.key_of(model, str(server), detect_machine().fingerprint)


def _remember(paths: Paths, server: Status | ServerSpec, change: Callable[[history.PlanRun], history.PlanRun]) -> None:
    """Write it down, where model, command and plan are known; where it cannot be written, the next plan is worse."""
    if not (server.model and server.argv and server.plan):
        return
    with suppress(R1tuiError, OSError):
        key = _key(Path(server.model), Path(server.argv[0]))
        history.record_run(records_file(paths), key, history.run_of_plan(server.plan, server.argv), change)
