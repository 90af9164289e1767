"""What was seen when plans ran: memory really used, memory that was missing, speeds. It corrects the next plan."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from statistics import median
from time import time

import msgspec

from r1tui.messages import PlanSummary, Range, Speed


class RunLayout(msgspec.Struct, frozen=True):
    """Parts of a plan that decide its memory and speed, by the names of `plan --json`."""

    n_gpu_layers: int | None = None
    n_cpu_moe: int | None = None
    ctx_size: int = 0
    ubatch_size: int = 0
    cache_type_k: str = ""
    cache_type_v: str = ""
    tensor_split: tuple[int, ...] = ()
    flash_attn: str = ""
    by_hand: tuple[str, ...] = ()
    """What else of the arguments counts: --no-kv-offload, and the rules of --override-tensor."""


class PlanRun(msgspec.Struct, frozen=True, kw_only=True):
    """A layout that was tried."""

    layout: RunLayout
    planned_mib: dict[str, int]
    """In all, by device."""
    free_mib: dict[str, int] = {}
    """Free MiB at that time, by device."""
    at_unix_s: float = 0.0
    used_mib: dict[str, int] = {}
    """Measured MiB of its buffers; empty until it was loaded."""
    buffers_mib: dict[str, tuple[int, int, int]] = {}
    """Weights, cache and compute buffers of each device, and of the host."""
    pool_mib: dict[str, int] = {}
    """Part of `planned_mib` that was planned beside the buffers."""
    held_mib: dict[str, int] = {}
    """The most that the process was seen to hold on a device, buffers or not."""
    held_tokens: int = 0
    """The most tokens of the context that were in use then."""
    failed: bool = False
    """True if memory ran out."""
    failed_on: str = ""
    """The device where it did, if that was said."""
    expected: dict[str, tuple[float, float]] = {}
    """The plan's `tps`."""
    prompt_tps: tuple[float, ...] = ()
    answer_tps: tuple[float, ...] = ()
    """As measured, the latest last."""

    @property
    def was_full(self) -> bool:
        """True if what it held was seen with its context full."""
        return self.held_tokens >= FULL_CONTEXT * self.layout.ctx_size

    @property
    def fullest(self) -> str:
        """The device where memory ran out, else the one that the plan filled most; empty where there was none."""
        if self.failed_on in self.planned_mib:
            return self.failed_on

        def share(name: str) -> float:
            return self.planned_mib[name] / max(self.free_mib.get(name, 1), 1)

        return max(self.planned_mib, key=share, default="")


class HistoryKey(msgspec.Struct, frozen=True):
    """The key of a record."""

    file: str
    engine: str
    machine: str


class PlanHistory(msgspec.Struct, frozen=True):
    """All runs of one file with one engine on one machine, the latest last."""

    key: HistoryKey
    runs: tuple[PlanRun, ...] = ()

    def run_of(self, layout: RunLayout) -> PlanRun | None:
        return next((run for run in self.runs if run.layout == layout), None)

    def extra_margin_mib(self, device: str, free_mib: int, usable_mib: float, now_unix_s: float) -> int:
        """Extra MiB to leave free on a device beyond its margin.

        What keeps the next plan below one that failed there for want of memory, by as much as is free more or less now;
        unless as large a one was loaded since, or it was long ago.
        """
        limit = usable_mib
        for run in self.runs:
            planned, free = run.planned_mib.get(device, 0), run.free_mib.get(device, free_mib)
            below = planned * (1 - STEP_DOWN) + free_mib - free
            if run.failed and run.fullest == device and now_unix_s - run.at_unix_s < FORGOTTEN_AFTER_S:
                limit = min(limit, below)
            elif run.used_mib and below >= limit:
                limit = usable_mib
        return max(0, round(usable_mib - limit))

    def unplanned_mib(self, device: str) -> int:
        """The most that loading took on a device beyond its plan."""
        return max(
            (
                run.used_mib[device] + run.pool_mib.get(device, 0) - run.planned_mib.get(device, 0)
                for run in self.runs
                if device in run.used_mib
            ),
            default=0,
        )

    def beyond_buffers_mib(self, device: str) -> Iterator[tuple[PlanRun, int, bool]]:
        """MiB that earlier runs held on a device beside their buffers, each with whether its context had been full."""
        for run in self.runs:
            if device in run.used_mib and device in run.held_mib:
                yield run, run.held_mib[device] - run.used_mib[device], run.was_full

    def speed(self, layout: RunLayout, expected: Speed) -> Speed | None:
        """Expected speed of a layout from measurements; None if there are none.

        Its own measurements where there are some, else those of other layouts, by how much faster they were than
        expected.
        """
        run = self.run_of(layout)
        prompt, answer = (
            _own(run, name) or _shifted(self.runs, name, values)
            for name, values in (("prompt", expected.prompt), ("answer", expected.answer))
        )
        return Speed(prompt or expected.prompt, answer or expected.answer) if prompt or answer else None


FORGOTTEN_AFTER_S = 30 * 86400.0
FULL_CONTEXT = 0.9
"""A pool grows with the conversation: less of a context than this says nothing of how small it stays."""
STEP_DOWN = 0.03
"""A plan after one that failed takes at least this share less of each device."""


LIKELY_FACTOR = 1.5
"""How far from what other layouts let expect."""


def _own(run: PlanRun | None, name: str) -> Range | None:
    measured = _speeds(run, name) if run else ()
    return Range(min(measured), max(measured)) if measured else None


def _shifted(runs: Sequence[PlanRun], name: str, expected: Range) -> Range | None:
    factors = [
        value / middle
        for run in runs
        if (middle := _middle(run.expected.get(name, (0.0, 0.0)))) > 0
        for value in _speeds(run, name)
    ]
    if not factors:
        return None
    middle = median(factors) * _middle(expected)
    return Range(middle / LIKELY_FACTOR, middle * LIKELY_FACTOR)


def _middle(values: Sequence[float]) -> float:
    return float((values[0] * values[1]) ** 0.5)


def _speeds(run: PlanRun, name: str) -> tuple[float, ...]:
    return run.prompt_tps if name == "prompt" else run.answer_tps


def run_of_plan(plan: PlanSummary, arguments: Sequence[str]) -> PlanRun:
    """The run of a plan with llama-server's arguments."""
    layout = msgspec.convert(plan, RunLayout, from_attributes=True)
    return PlanRun(
        layout=msgspec.structs.replace(layout, by_hand=tuple(_by_hand(arguments))),
        planned_mib={one.name: one.planned_mib for one in plan.devices},
        free_mib={one.name: one.free_mib for one in plan.devices},
        pool_mib={one.name: one.pool_mib for one in plan.devices},
        at_unix_s=time(),
        expected={"prompt": plan.tps.prompt, "answer": plan.tps.answer},
    )


def _by_hand(arguments: Sequence[str]) -> Iterator[str]:
    for flag, value in pairwise((*arguments, "")):
        if flag == "--no-kv-offload":
            yield flag
        elif flag == "--override-tensor":
            yield value
