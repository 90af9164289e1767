"""Makes the plan: cache types, strategy, context, verdict, reasons."""

from collections.abc import Callable
from dataclasses import replace
from time import time

from r1tui.config import Strategy
from r1tui.gguf import Header
from r1tui.gguf.kv import CONTEXT_STEP, is_exact
from r1tui.messages import DevicePlan, HostPlan
from r1tui.plan import explain
from r1tui.plan.cache import CacheChoice, choose_cache, is_legacy_deepseek
from r1tui.plan.history import PlanHistory, run_of_plan
from r1tui.plan.layout import MIB, MemoryUsage, ModelLayout
from r1tui.plan.memory import Model
from r1tui.plan.request import Device, PlanRequest
from r1tui.plan.result import DEFAULT_CACHE_RAM_MIB, Plan
from r1tui.plan.search import Search
from r1tui.plan.speed import estimate
from r1tui.plan.verdict import IN_MEMORY, Verdict, judge

BASE_CONTEXT = 8192
"""What layers and experts make room for when the user names no context; it grows only into what is left over."""
HOST_SHARE = 0.5
"""Share of the spare RAM that a longer context may take: other programs need some."""
SMALLEST_CONTEXT = 1024
ENOUGH_CONTEXT = 4096
"""A question, its thinking and its answer: what is given up for memory before that is not worth it."""
SMALL_BATCH = 512
LARGE_BATCHES = (4096, 2048, 1024)
"""Prompt tokens computed at once where a GPU fetches the host's experts for each batch: larger ones fetch less."""
GPU_BATCHES = (2048, 1024)
"""The same where everything is on the GPUs and memory is left over."""
LAYERS_FOR_LARGE_BATCHES = 30
"""A larger batch may cost the experts of one layer in so many."""


def make_plan(header: Header, request: PlanRequest) -> Plan:
    """The plan for this model on this machine; it does not raise: what cannot run has the verdict `no`."""
    return _Planner(header, request).plan()


class _Planner:
    def __init__(self, header: Header, request: PlanRequest) -> None:
        self._header = header
        self._reasons: list[str] = []
        request = replace(request, devices=tuple(self._wiser(device, request.history) for device in request.devices))
        self._request = request
        self._settings = request.settings
        self._devices = request.devices
        names = tuple(device.name for device in request.devices)
        backends = tuple(device.backend for device in request.devices)
        self._model = Model(header, backends, names, request.repacked_types, request.answers, history=request.history)
        self._reasons += explain.measured_pools(self._devices, self._model.pool_corrections)
        self._search = Search(self._model, request)

    def _wiser(self, device: Device, record: PlanHistory | None) -> Device:
        """The device with as much more left free as earlier runs showed to be needed."""
        extra_mib = record.extra_margin_mib(device.name, device.free_mib, device.usable_mib, time()) if record else 0
        if not extra_mib:
            return device
        self._reasons.append(explain.needed_more(device.name, extra_mib))
        return device.with_margin(extra_mib)

    def plan(self) -> Plan:
        cache = choose_cache(self._header, self._settings, frozenset(device.backend for device in self._devices))
        wanted = self._wanted_context()
        strategy = self._strategy()
        if self._request.settled is None:
            layout, verdict = self._search_layout(strategy, self._layout(cache, wanted))
        else:
            layout, self._reasons = self._request.settled[0], list(self._request.settled[1])
            verdict = self._verdict(layout)
        why = tuple(self._reasons)
        if not is_exact(self._header) and not self._model.answers:
            self._reasons.append(explain.unknown_memory(self._header))
        usage = self._model.measure(layout)
        self._reasons += explain.placement(
            self._header,
            layout,
            strategy,
            self._devices,
            given=self._settings.n_gpu_layers is not None,
            everything=self._model.holds_everything(usage),
        )
        self._reasons += cache.reasons
        if is_legacy_deepseek(self._header):
            self._reasons.append(explain.legacy(self._header, layout))
        if (shorter := self._context_for_everything(strategy, layout)) is not None:
            self._reasons.append(f"With a context of {shorter:,} tokens, all attention and cache would be on the GPU.")
        if layout.ctx_size < wanted:
            self._reasons.append(f"The context is {layout.ctx_size:,} tokens instead of {wanted:,}: no room for more.")
        self._reasons += explain.spare(layout, wanted, self._header.n_ctx_train, self._settings.ctx_max)
        shortage = explain.shortage(verdict, usage, self._request)
        self._reasons += shortage
        self._reasons += explain.learned(self._devices, self._model.answers, layout)
        self._reasons += explain.large_pools(self._devices, usage)
        self._reasons += explain.shared_memory(self._devices)
        self._reasons += explain.changed(self._request.changed_by)
        if self._request.kept:
            self._reasons.append(f"With your settings for this model: {', '.join(self._request.kept)}.")
        return replace(self._result(strategy, layout, usage, cache, verdict), why=why, shortage=tuple(shortage))

    def _search_layout(self, strategy: Strategy, wanted: ModelLayout) -> tuple[ModelLayout, Verdict]:
        layout, verdict = self._solve(strategy, wanted)
        if verdict not in IN_MEMORY:
            layout, verdict = self._with_less_context(strategy, layout, verdict)
        if self._settings.ubatch_size is None:
            layout = self._with_larger_batch(strategy, layout, verdict)
        if layout.ctx_size == wanted.ctx_size and verdict in IN_MEMORY and strategy != "engine":
            layout = self._with_what_is_left(layout, verdict)
        return replace(layout, ubatch_size=layout.batch_size), verdict

    def _wanted_context(self) -> int:
        wanted = self._settings.ctx_size or min(BASE_CONTEXT, self._settings.ctx_max)
        trained = self._header.n_ctx_train
        if trained and wanted > trained:
            if self._settings.ctx_size:
                self._reasons.append(f"The model was trained for {trained:,} tokens; a longer context is not used.")
            return trained
        return wanted

    def _strategy(self) -> Strategy:
        strategy = self._settings.strategy
        if strategy != "auto" or not self._devices:
            return strategy
        return "experts" if self._header.n_experts else "layers"

    def _layout(self, cache: CacheChoice, ctx_size: int) -> ModelLayout:
        return ModelLayout(
            n_gpu_layers=0,
            n_cpu_moe=0,
            split=(0,) * len(self._devices),
            ctx_size=ctx_size,
            type_k=cache.type_k,
            type_v=cache.type_v,
            flash_attention=cache.flash_attention != "off",
            ubatch_size=self._settings.ubatch_size or SMALL_BATCH,
            overrides=self._request.overrides,
        )

    def _solve(self, strategy: Strategy, layout: ModelLayout) -> tuple[ModelLayout, Verdict]:
        solved = self._placed(strategy, layout)
        return solved, self._verdict(solved)

    def _placed(self, strategy: Strategy, layout: ModelLayout) -> ModelLayout:
        """The layout with its layers placed; counts that the user gave are taken as given."""
        given_layers = self._settings.n_gpu_layers
        given_experts = self._settings.n_cpu_moe if self._header.n_experts else None
        if not self._devices:
            return layout
        if given_layers is not None:
            return self._search.given(layout, given_layers, min(given_experts or 0, self._header.n_layers))
        if given_experts is not None:
            return self._search.layers(layout, min(given_experts, self._header.n_layers))
        match strategy:
            case "rule":
                return self._search.rule(layout)
            case "layers":
                return self._search.layers(layout)
        return self._search.experts(layout) if self._header.n_experts else self._search.layers(layout)

    def _verdict(self, layout: ModelLayout) -> Verdict:
        usage = self._model.measure(layout)
        if not self._search.fits(layout):
            return "no"
        unified_mib = self._request.unified_mib(share.total_bytes / MIB for share in usage.devices)
        return judge(
            self._request,
            usage.host.anonymous_bytes // MIB + unified_mib,
            usage.host.weights_bytes // MIB,
            on_devices=layout.n_gpu_layers > 0,
            all_on_devices=self._model.holds_everything(usage),
        )

    def _with_less_context(
        self, strategy: Strategy, layout: ModelLayout, verdict: Verdict
    ) -> tuple[ModelLayout, Verdict]:
        """The same with a shorter context where the cache is what is too large.

        The longest that leaves everything in memory, unless it is less than half of what is wanted; else, where the
        wanted one cannot start at all, the longest that can.
        """
        longest = layout.ctx_size
        goals = [(IN_MEMORY, min(longest // 2, ENOUGH_CONTEXT if verdict == "no" else longest))]
        if verdict == "no":
            goals.append(((*IN_MEMORY, "disk"), min(SMALLEST_CONTEXT, longest)))
        for wanted, shortest in goals:

            def suits(ctx_size: int, wanted: tuple[Verdict, ...] = wanted) -> bool:
                return self._solve(strategy, replace(layout, ctx_size=ctx_size))[1] in wanted

            if suits(shortest):
                return self._solve(strategy, replace(layout, ctx_size=_largest_context(shortest, longest, suits)))
        return layout, verdict

    def _context_for_everything(self, strategy: Strategy, layout: ModelLayout) -> int | None:
        """The largest context that would keep all but experts on the devices, where the plan's own cannot."""
        moved = layout.kv_on_host or 0 < layout.n_gpu_layers < self._search.everything
        given = self._settings.n_gpu_layers is not None or self._settings.n_cpu_moe is not None
        if strategy not in ("auto", "experts") or given or not moved or not self._header.n_experts:
            return None
        bare = replace(layout, kv_on_host=False)

        def holds_everything(ctx_size: int) -> bool:
            return self._search.all_but_experts(replace(bare, ctx_size=ctx_size)) is not None

        if not holds_everything(SMALLEST_CONTEXT):
            return None
        return _largest_context(SMALLEST_CONTEXT, layout.ctx_size, holds_everything)

    def _with_larger_batch(self, strategy: Strategy, layout: ModelLayout, verdict: Verdict) -> ModelLayout:
        """The layout with the largest batch that costs hardly an expert, where batches make prompts faster."""
        fetches = any(device.backend != "rpc" for device in self._devices) and self._header.n_experts
        if not fetches or verdict not in ("hybrid", "disk") or not layout.n_gpu_layers:
            return layout
        allowed = self._header.n_layers // LAYERS_FOR_LARGE_BATCHES
        for size in LARGE_BATCHES:
            if size > layout.ctx_size:
                continue
            found, found_verdict = self._solve(strategy, replace(layout, ubatch_size=size, kv_on_host=False))
            same = (found.n_gpu_layers, found.kv_on_host) == (layout.n_gpu_layers, layout.kv_on_host)
            cost = found.n_cpu_moe - layout.n_cpu_moe
            if found_verdict == verdict and same and cost <= allowed:
                self._reasons.append(explain.larger_batch(size, cost))
                return found
        return layout

    def _with_what_is_left(self, layout: ModelLayout, verdict: Verdict) -> ModelLayout:
        """The layout with memory used that is left over: by a longer context, then by larger batches on the GPUs.

        Nothing is given up for it, neither a layer nor an expert; a context that the user named stays as it is.
        """
        if self._settings.ctx_size is None:
            layout = self._with_longer_context(layout, verdict)
        for size in GPU_BATCHES if verdict == "gpu" and self._settings.ubatch_size is None else ():
            larger = self._kept(replace(layout, ubatch_size=min(size, layout.ctx_size)), verdict)
            if larger is not None and larger.ubatch_size > layout.ubatch_size:
                self._reasons.append(
                    f"Prompts are computed {larger.ubatch_size:,} tokens at once: memory is left for it."
                )
                return larger
        return layout

    def _with_longer_context(self, layout: ModelLayout, verdict: Verdict) -> ModelLayout:
        trained = self._header.n_ctx_train or layout.ctx_size
        longest = min(trained, self._settings.ctx_max)
        low, high = layout.ctx_size // explain.GROWN_STEP, longest // explain.GROWN_STEP
        best = layout
        base_mib = self._model.measure(layout).host.total_bytes / MIB
        limit_mib = base_mib + (self._request.host_usable_mib - base_mib) * HOST_SHARE
        while low < high:
            middle = (low + high + 1) // 2
            found = self._kept(replace(layout, ctx_size=middle * explain.GROWN_STEP), verdict)
            if found and self._model.measure(found).host.total_bytes / MIB > limit_mib:
                found = None
            best, low, high = (found, middle, high) if found else (best, low, middle - 1)
        return best

    def _kept(self, layout: ModelLayout, verdict: Verdict) -> ModelLayout | None:
        """The layout, its layers spread anew over the devices that it uses; None where that is worse."""
        found = self._search.given(layout, layout.n_gpu_layers, layout.n_cpu_moe) if layout.n_gpu_layers else layout
        return found if found.used <= layout.used and self._verdict(found) == verdict else None

    def _result(
        self, strategy: Strategy, layout: ModelLayout, usage: MemoryUsage, cache: CacheChoice, verdict: Verdict
    ) -> Plan:
        host = usage.host
        copies = verdict != "disk" and all(device.backend == "rpc" for device in self._devices)
        repack_bytes = usage.repack_bytes if copies else 0
        needed_bytes = host.anonymous_bytes + repack_bytes
        left_to_engine = strategy == "engine" and self._settings.n_gpu_layers is None
        plan = Plan(
            layout=layout,
            strategy=strategy,
            n_gpu_layers=None if left_to_engine else layout.n_gpu_layers,
            n_cpu_moe=None if left_to_engine else layout.n_cpu_moe,
            ctx_size=layout.ctx_size,
            cache_type_k=cache.type_k,
            cache_type_v=cache.type_v,
            threads=self._request.threads,
            devices=tuple(
                DevicePlan(
                    device.name,
                    device.total_mib,
                    device.free_mib,
                    _mib(share.weights_bytes),
                    _mib(share.kv_bytes),
                    _mib(share.compute_bytes),
                    _mib(share.pool_bytes),
                    device.pci_bus_id,
                )
                for device, share in zip(self._devices, usage.devices, strict=True)
            ),
            host=HostPlan(
                self._request.host_total_mib,
                _mib(host.weights_bytes),
                _mib(host.kv_bytes),
                _mib(host.compute_bytes),
            ),
            ubatch_size=layout.ubatch_size,
            flash_attn=cache.flash_attention,
            tensor_split=layout.split if len(self._devices) > 1 and not left_to_engine else (),
            verdict=verdict,
            repack=verdict != "disk",
            kv_on_host=layout.kv_on_host,
            overrides=tuple(f"{pattern}={where}" for pattern, where in layout.overrides),
            cache_ram_mib=self._cache_ram_mib(verdict, host.weights_bytes + needed_bytes),
            numa=self._request.numa_nodes > 1 and verdict != "gpu",
            as_given=self._settings.n_gpu_layers is not None,
            margins_mib=tuple(device.left_free_mib for device in self._devices),
            source=self._model.answers.source(layout),
            reasons=tuple(self._reasons),
            read_whole=self._read_whole(left_to_engine=left_to_engine),
            disk_mib=self._disk_mib(usage) if verdict == "disk" else 0,
            repack_mib=_mib(repack_bytes),
        ).with_anonymous()
        if plan.load_mode == "none" and plan.verdict == "hybrid":
            plan = plan.because("The weights in RAM are read into memory, not mapped: GPUs copy from there faster.")
        return self._with_speed(plan, layout)

    def _disk_mib(self, usage: MemoryUsage) -> int:
        """MiB of the host's weights that do not fit beside all that must be in memory."""
        unified_mib = self._request.unified_mib(share.total_bytes / MIB for share in usage.devices)
        lacking_mib = usage.host.total_bytes / MIB + unified_mib - self._request.host_usable_mib
        return round(min(max(lacking_mib, 0), usage.host.weights_bytes / MIB))

    def _read_whole(self, *, left_to_engine: bool) -> tuple[Verdict, ...]:
        """The verdicts with which weights are not mapped: nothing is gained where the memory is the host's, and on the
        host of RPC workers."""
        if not self._devices or left_to_engine or any(device.unified for device in self._devices):
            return ()
        local = any(device.backend != "rpc" for device in self._devices)
        return ("gpu", "hybrid") if local else ("gpu",)

    def _with_speed(self, plan: Plan, layout: ModelLayout) -> Plan:
        if plan.verdict == "no":
            return plan
        expected, history = estimate(self._model, layout, self._request, plan.verdict), self._request.history
        seen = history.speed(run_of_plan(plan.summary(), plan.arguments()).layout, expected.speed) if history else None
        found = (expected.measured(seen) if seen else expected).rounded()
        busy = explain.busy(self._request.load) if plan.verdict != "gpu" and any(found.speed.answer) else []
        return replace(
            plan,
            speed=found.speed,
            ttft_s=found.ttft_s,
            offload_batch=found.offload_batch,
            reasons=(*plan.reasons, *explain.expected_speed(found, measured=seen is not None), *busy),
        )

    def _cache_ram_mib(self, verdict: Verdict, host_bytes: int) -> int | None:
        """MiB for llama-server's cache of prompts on the host; None leaves its own default, which memory allows."""
        left = int(self._request.host_usable_mib) - host_bytes // MIB
        if verdict == "disk":
            return 0
        return None if left >= 4 * DEFAULT_CACHE_RAM_MIB else max(left, 0) // 4


def _largest_context(shortest: int, longest: int, suits: Callable[[int], bool]) -> int:
    """The largest context under `longest` that suits; `shortest` does."""
    low, high = -(-shortest // CONTEXT_STEP), -(-longest // CONTEXT_STEP)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if suits(middle * CONTEXT_STEP) else (low, middle)
    return low * CONTEXT_STEP


def _mib(size_bytes: int) -> int:
    return round(size_bytes / MIB)
