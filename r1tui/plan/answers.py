"""What layouts of a model really take, measured when they ran here or by the engine, and what that says of others.

A layout that was loaded on this machine takes what it took then; else what the engine said of it; else as much more or
less than by our formulas as the most similar layout that is known.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import log2
from typing import Literal, cast

from r1tui.config import CacheType
from r1tui.plan.capabilities import HOST
from r1tui.plan.history import PlanHistory, PlanRun
from r1tui.plan.layout import MIB, ROUNDING_BYTES, MemoryUsage, ModelLayout, Share

SLACK_BYTES = 32 * MIB
Source = Literal["estimate", "engine", "measured"]
"""Where the figures of a plan are from."""


@dataclass(frozen=True)
class EngineAnswer:
    """Memory of a layout as the engine reports it: shares of its devices by name, and of the host."""

    layout: ModelLayout
    shares: Mapping[str, Share]


class Answers:
    """Known figures of a model's layouts on these devices, and the formulas for the others."""

    def __init__(
        self,
        names: tuple[str, ...],
        by_formula: Callable[[ModelLayout], MemoryUsage],
        asked: Sequence[EngineAnswer],
        history: PlanHistory | None,
    ) -> None:
        self._names = names
        self._all = (*names, HOST)
        self._by_formula = by_formula
        self._asked = {answer.layout: answer.shares for answer in asked}
        self._measured = dict(self._loaded(history.runs)) if history else {}
        self._known = self._asked | {
            layout: {**self._asked.get(layout, {}), **shares} for layout, shares in self._measured.items()
        }
        self._unplanned_mib = [history.unplanned_mib(name) if history else 0 for name in names]

    def __bool__(self) -> bool:
        return bool(self._known)

    def source(self, layout: ModelLayout) -> Source:
        """Source of a layout's figures."""
        return "measured" if layout in self._measured else "engine" if layout in self._asked else "estimate"

    def unplanned_mib(self, layout: ModelLayout) -> list[int]:
        """MiB that loading took on each device beyond another plan; 0 if a measured one is near."""
        return [0] * len(self._names) if self._nearest(layout) in self._measured else self._unplanned_mib

    def measure(self, layout: ModelLayout) -> MemoryUsage:
        """Memory of a layout by the best known figures."""
        ours = self._by_formula(layout)
        nearest = self._nearest(layout)
        shares = list(ours.parts)
        if nearest == layout:
            theirs = self._known[layout]
            shares = [_confirmed(own, theirs.get(name)) for own, name in zip(ours.parts, self._all, strict=True)]
        elif nearest is not None:
            base = self._by_formula(replace(nearest, split=nearest.split or (0,) * len(self._names)))
            theirs = self._known[nearest]
            pairs = [(own, theirs.get(name)) for own, name in zip(base.parts, self._all, strict=True)]
            shares = [_corrected(own, part, pairs, self._slack_bytes) for part, own in enumerate(ours.parts)]
        for part, more_mib in enumerate(self.unplanned_mib(layout)):
            own = shares[part]
            shares[part] = replace(own, pool_bytes=own.pool_bytes + more_mib * MIB) if own.total_bytes else own
        return MemoryUsage((*shares[:-1],), shares[-1], ours.repack_bytes)

    def _nearest(self, layout: ModelLayout) -> ModelLayout | None:
        return min(self._known, key=lambda one: _difference(one, layout), default=None)

    @property
    def _slack_bytes(self) -> int:
        """Bytes that a layout unknown to the engine must leave free: more with each answer, so that asking ends."""
        return SLACK_BYTES * max(len(self._asked) - 1, 0)

    def _loaded(self, runs: Sequence[PlanRun]) -> Iterator[tuple[ModelLayout, Mapping[str, Share]]]:
        """The layouts that were loaded on these very devices, and what they took there.

        The host's mapped weights are no measure: a log counts the whole range of the file.
        """
        for run in runs:
            layout = _layout_of(run) if {*run.planned_mib} == {*self._names} else None
            if layout is None or not all(run.buffers_mib.get(name) for name in (*run.used_mib, HOST)):
                continue
            shares = {name: _share(run, name) for name in run.buffers_mib}
            weights = self._by_formula(layout).host.weights_bytes
            yield layout, shares | {HOST: replace(shares[HOST], weights_bytes=weights)}


def _layout_of(run: PlanRun) -> ModelLayout | None:
    """The run's layout as the planner's; None for one that llama.cpp chose."""
    one = run.layout
    if one.n_gpu_layers is None or one.n_cpu_moe is None:
        return None
    rules = (rule.rpartition("=") for flags in one.by_hand if "=" in flags for rule in flags.split(","))
    return ModelLayout(
        n_gpu_layers=one.n_gpu_layers,
        n_cpu_moe=one.n_cpu_moe,
        split=one.tensor_split or (one.n_gpu_layers,) * len(run.planned_mib),
        ctx_size=one.ctx_size,
        type_k=cast(CacheType, one.cache_type_k),
        type_v=cast(CacheType, one.cache_type_v),
        flash_attention=one.flash_attn != "off",
        ubatch_size=one.ubatch_size,
        kv_on_host="--no-kv-offload" in one.by_hand,
        overrides=tuple((pattern, where) for pattern, _, where in rules),
    )


def _share(run: PlanRun, name: str) -> Share:
    """MiB held by a device; beside its buffers only if its context had been full, since a pool grows."""
    beyond_mib = run.held_mib[name] - run.used_mib[name] if run.was_full and name in run.held_mib else 0
    weights, kv, compute = (mib * MIB for mib in run.buffers_mib[name])
    return Share(weights, kv, compute, max(beyond_mib, 0) * MIB)


def _difference(one: ModelLayout, other: ModelLayout) -> tuple[bool, float]:
    """Distance between two layouts; the smaller, the better one's answer fits the other."""
    far = abs(log2(one.ctx_size / other.ctx_size)) + abs(log2(one.batch_size / other.batch_size))
    far += abs(one.n_gpu_layers - other.n_gpu_layers) / 8 + abs(one.n_cpu_moe - other.n_cpu_moe) / 8
    return one != other, far + (one.kv_on_host != other.kv_on_host) + (one.split != other.split) / 8


def _confirmed(ours: Share, theirs: Share | None) -> Share:
    """The figures that are known, which are whole MiB, in the place of ours that they do not confirm."""
    if theirs is None:
        return ours
    weights, kv = (
        mine if abs(mine - its) <= ROUNDING_BYTES else its
        for mine, its in ((ours.weights_bytes, theirs.weights_bytes), (ours.kv_bytes, theirs.kv_bytes))
    )
    return Share(weights, kv, theirs.compute_bytes, theirs.pool_bytes or ours.pool_bytes)


def _corrected(ours: Share, part: int, pairs: Sequence[tuple[Share, Share | None]], slack_bytes: int) -> Share:
    """Our share by how much the known figures for a similar layout were more or less than ours for it."""
    known = [(own, theirs) for own, theirs in pairs if theirs is not None]

    def ratio(of: Callable[[Share], int]) -> float:
        mine, its = sum(of(own) for own, _ in known), sum(of(theirs) for _, theirs in known)
        return its / mine if mine and abs(its - mine) > ROUNDING_BYTES * len(known) else 1.0

    compute = {own: theirs.compute_bytes / own.compute_bytes for own, theirs in known if own.compute_bytes}
    own = compute.get(pairs[part][0], max(compute.values(), default=1.0))
    return replace(
        ours,
        weights_bytes=round(ours.weights_bytes * ratio(lambda one: one.weights_bytes)),
        kv_bytes=round(ours.kv_bytes * ratio(lambda one: one.kv_bytes)),
        compute_bytes=round(ours.compute_bytes * own) + (slack_bytes if ours.total_bytes else 0),
    )
