"""The history of plans on disk: what each run taught, so that the next plan for the same model is better.

One record for each model file, engine and machine, in one small JSON file of the state folder.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from r1tui.errors import R1tuiError
from r1tui.events import Finished
from r1tui.gguf.header import shard_paths
from r1tui.machine.hardware import detect_machine
from r1tui.machine.nvml import read_uses
from r1tui.messages import ServerSpec, Status
from r1tui.plan.capabilities import HOST
from r1tui.plan.history import HistoryKey, PlanHistory, PlanRun, run_of_plan
from r1tui.plan.request import device_backend
from r1tui.server.buffers import read_buffers
from r1tui.system.files import make_folder, read_json, read_json_if_any, write_private
from r1tui.system.locks import locked
from r1tui.system.paths import Paths

KEPT_RUNS, KEPT_SPEEDS, KEPT_RECORDS = 20, 9, 100
SHORTEST_PROMPT, SHORTEST_ANSWER = 128, 16
"""Fewer tokens say nothing about speed."""


def records_file(paths: Paths) -> Path:
    """The file of all records."""
    return paths.state / "learned.json"


def read_histories(path: Path) -> list[PlanHistory]:
    """All records; none where the file is missing or cannot be used."""
    return read_json_if_any(path, list[PlanHistory]) or []


def find_history_of(paths: Paths, model: Path, server: Path) -> PlanHistory | None:
    """Plan history of this model with this llama-server on this machine. Raises R1tuiError for missing shards."""
    key = _key(model, server)
    return next((one for one in read_histories(records_file(paths)) if one.key == key), None)


def remember_load(paths: Paths, server: Status, log: Sequence[str]) -> None:
    """Note that the model was loaded, what its buffers took by the server's log, and what it holds by the driver."""
    held = measure_held(server)
    buffers = {one.name: (one.weights_mib, one.kv_mib, one.compute_mib) for one in read_buffers(log)}

    def change(run: PlanRun) -> PlanRun:
        known = buffers if run.layout.n_gpu_layers is not None else {}  # llama.cpp's own layout is no matter
        used = {name: sum(sizes) for name, sizes in known.items() if name != HOST}
        return msgspec.structs.replace(_with_held(run, held, 0), used_mib=used, buffers_mib=known, failed=False)

    _remember(paths, server, change)


def remember_out_of_memory(paths: Paths, server: Status | ServerSpec, gpu: str = "") -> None:
    """Note that memory did not suffice for this plan, on the GPU of this name or number where that is known."""
    names = [one.name for one in server.plan.devices] if server.plan and gpu else []
    numbered = [name for name in names if device_backend(name) != "rpc" and re.fullmatch(rf"[A-Za-z]+{gpu}", name)]
    where = gpu if gpu in names else next(iter(numbered), "")
    _remember(paths, server, lambda run: msgspec.structs.replace(run, failed=True, failed_on=where))


def remember_answer(paths: Paths, server: Status, end: Finished) -> None:
    """Note how fast an answer came, where it was long enough to tell, and what the server holds since."""
    held, tokens = measure_held(server), (end.prompt_tokens or 0) + (end.completion_tokens or 0)
    prompt = (end.prompt_tps,) if end.prompt_tps and (end.prompt_tokens or 0) >= SHORTEST_PROMPT else ()
    answer = (end.tps,) if end.tps and (end.completion_tokens or 0) >= SHORTEST_ANSWER else ()

    def change(run: PlanRun) -> PlanRun:
        prompts, answers = (*run.prompt_tps, *prompt), (*run.answer_tps, *answer)
        run = _with_held(run, held, tokens)
        return msgspec.structs.replace(run, prompt_tps=prompts[-KEPT_SPEEDS:], answer_tps=answers[-KEPT_SPEEDS:])

    if prompt or answer or held:
        _remember(paths, server, change)


def measure_held(server: Status) -> dict[str, int]:
    """MiB that the server's process holds on each card of its plan, by the driver.

    Where a container hides processes it is what is used since the plan was made; what cannot be that is left out.
    """
    if server.pid is None or server.plan is None:
        return {}
    cards = {one.pci_bus_id: one for one in server.plan.devices if one.pci_bus_id}
    held: dict[str, int] = {}
    for use in read_uses(server.pid) if cards else ():
        device = cards.get(use.pci_bus_id)
        if device is None or use.used_bytes is None or use.total_bytes is None:
            continue
        if use.own_bytes is not None:
            held[device.name] = use.own_bytes >> 20
            continue
        since_mib = device.free_mib - (use.total_bytes - use.used_bytes >> 20)
        buffers_mib = device.planned_mib - device.pool_mib
        if not use.processes and 0 <= since_mib - buffers_mib <= LARGEST_POOL_MIB:
            held[device.name] = since_mib
    return held


LARGEST_POOL_MIB = 12 << 10
"""More than this beside the buffers is another program's."""


def _with_held(run: PlanRun, held: Mapping[str, int], tokens: int) -> PlanRun:
    if not held:
        return run
    most = {name: max(mib, run.held_mib.get(name, 0)) for name, mib in held.items()}
    return msgspec.structs.replace(run, held_mib=run.held_mib | most, held_tokens=max(run.held_tokens, tokens))


def record_run(path: Path, key: HistoryKey, run: PlanRun, change: Callable[[PlanRun], PlanRun]) -> None:
    """Apply `change` to what is known of the run's layout, or to `run` itself, and write it.

    Raises OSError, and leaves the file as it is, where it cannot be read now.
    """
    make_folder(path.parent, private=True)
    with locked(path.with_suffix(".lock"), "the planner's record", waiting=lambda _: None):
        every = read_json(path, list[PlanHistory]) or []
        record = next((one for one in every if one.key == key), PlanHistory(key))
        known = record.run_of(run.layout) or run
        current = msgspec.structs.replace(
            known,
            planned_mib=run.planned_mib,
            free_mib=run.free_mib,
            pool_mib=run.pool_mib,
            at_unix_s=run.at_unix_s,
            expected=known.expected or run.expected,
        )
        runs = (*(one for one in record.runs if one.layout != run.layout), change(current))
        records = [*(one for one in every if one.key != key), PlanHistory(key, runs[-KEPT_RUNS:])]
        write_private(path, msgspec.json.format(msgspec.json.encode(records[-KEPT_RECORDS:])))


def _key(model: Path, server: Path) -> HistoryKey:
    size_bytes = sum(shard.stat().st_size for shard in shard_paths(model))
    return HistoryKey(f"{model.name}, {size_bytes} bytes", str(server), detect_machine().fingerprint)


def _remember(paths: Paths, server: Status | ServerSpec, change: Callable[[PlanRun], PlanRun]) -> None:
    """Write it down, where model, command and plan are known; where it cannot be written, the next plan is worse."""
    if server.model and server.argv and server.plan:
        with suppress(R1tuiError, OSError):
            key = _key(Path(server.model), Path(server.argv[0]))
            record_run(records_file(paths), key, run_of_plan(server.plan, server.argv), change)
