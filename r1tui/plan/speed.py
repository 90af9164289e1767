"""Tokens per second and the time to the first token: what a token reads and computes, by how fast each part does it.

The constants were fitted to the reports that tests/data/speeds.yaml marks `fit`; `python -m tests.bench.speeds` shows
all of them beside the estimate.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import ceil, floor, log10

from r1tui.messages import NO_SPEED, Range, Speed
from r1tui.plan.cache import is_legacy_deepseek
from r1tui.plan.layout import MIB, ModelLayout
from r1tui.plan.memory import Model, place
from r1tui.plan.pins import ON_HOST, Reads
from r1tui.plan.rates import HostRates, typical_host
from r1tui.plan.request import Device, PlanRequest
from r1tui.plan.result import FIRST_TOKEN_PROMPTS
from r1tui.plan.verdict import Verdict

GPU_SHARE, HOST_SHARE, BUS_SHARE = 0.75, 0.75, 0.8
"""Of a GPU's peak, of what the host's cores read together, of what pinned copies reach."""
PAGEABLE_GBPS = 6.0
"""What the bus carries at most of weights that are mapped from the file: they are copied twice (an H200: 5.6 of 54)."""
TOKEN_S = 3e-4
"""Choosing a token and starting the next one."""
LAYER_S, DENSE_LAYER_S, DEEPSEEK_LAYER_S = 8e-5, 2e-5, 2.2e-4
HOST_LAYER_S, HOST_EXPERTS_S, DENSE_HOST_LAYER_S = 8e-4, 3e-4, 2e-4
"""Of a token in one layer beside its reads: kernels, the choice of experts, DeepSeek's attention in many small steps;
on the host, with a whole layer or its experts alone, all threads wait for each other many times."""
TILE = 128
"""Tokens that the matrix kernels compute at once for each expert, wanted or not (ggml-cuda's mmq)."""
PROMPT_CORE_GFLOPS, ANSWER_CORE_GFLOPS = 60.0, 30.0
"""Of one core on quantised weights: many tokens at once, and one."""
FEW_BITS, FEW_BITS_SHARE = 2.5, 0.4
"""What a core reaches of that with weights of fewer bits, which it looks up in tables."""
UNIFIED_SHARE = 0.5
"""What a CPU reads of memory that it shares with a GPU."""
MISSES = 0.5
"""Reads of experts that are not in memory, by an even choice: the same ones come often."""
TYPICAL_TOKENS = 4096
"""Tokens in the context while an answer is written."""
PROMPT_TOKENS = 2048
"""The prompt that the prompt speed is of."""
OFFLOAD_BATCH = 32
"""From so many tokens on a GPU computes what lies on the host too, if nobody says otherwise (ggml-cuda.cu)."""
NEVER_OFFLOAD = 1 << 20
KNOWN_WIDTH, WHAT_IF_WIDTH = 2.5, 4.0
"""The upper end of a band by its lower: hardware that is known, and hardware that is guessed from sizes."""


@dataclass(frozen=True)
class Expectation:
    """Expected speed of a plan; empty if it cannot be known, and then `unknown` gives the reason."""

    speed: Speed = NO_SPEED
    ttft_s: dict[str, Range] = field(default_factory=dict)
    """Seconds to the first token, by the prompt's length."""
    guessed: tuple[str, ...] = ()
    """The parts of the machine whose speed was guessed from their size."""
    unknown: str = ""
    offload_batch: int | None = None
    """The prompt's tokens from which the bus beats the CPU; None: llama.cpp's own number stays."""

    def measured(self, speed: Speed) -> "Expectation":
        """The same with a speed that was measured: the first token comes sooner or later with the prompt's."""
        if not any(self.speed.prompt) or not any(speed.prompt):
            return replace(self, speed=speed, guessed=(), unknown="" if any(speed.answer) else self.unknown)
        middle = (self.speed.prompt.low * self.speed.prompt.high) ** 0.5
        slowest, fastest = middle / speed.prompt.low, middle / speed.prompt.high
        half = (self.speed.prompt.high / self.speed.prompt.low) ** 0.5
        ttft_s = {
            tokens: Range(band.low * half * fastest, band.high / half * slowest) for tokens, band in self.ttft_s.items()
        }
        return replace(self, speed=speed, ttft_s=ttft_s, guessed=(), unknown="")

    def rounded(self) -> "Expectation":
        """The same in two digits, which is what a plan says everywhere."""
        speed = Speed(_rounded(self.speed.prompt), _rounded(self.speed.answer))
        return replace(self, speed=speed, ttft_s={name: _rounded(band) for name, band in self.ttft_s.items()})


def estimate(model: Model, layout: ModelLayout, request: PlanRequest, verdict: Verdict) -> Expectation:
    """The speed that a plan is likely to reach."""
    work = _Work(model, layout, request, verdict)
    if why := work.unknown():
        return Expectation(unknown=why)
    guessed = tuple(work.guessed())
    half = (WHAT_IF_WIDTH if guessed else KNOWN_WIDTH) ** 0.5
    tokens = max(min(PROMPT_TOKENS, layout.ctx_size), 1)
    speed = Speed(_band(tokens / work.prompt_s(tokens), half), _band(1 / work.answer_s(), half))
    ttft_s = {
        tokens: _band(work.prompt_s(int(tokens)) + work.answer_s(), half)
        for tokens in FIRST_TOKEN_PROMPTS
        if int(tokens) <= layout.ctx_size
    }
    return Expectation(speed, ttft_s, guessed, offload_batch=work.best_offload_batch)


def _band(middle: float, half: float) -> Range:
    return Range(middle / half, middle * half)


class _Work:
    """One plan's reads and arithmetic, and the machine that does them."""

    def __init__(self, model: Model, layout: ModelLayout, request: PlanRequest, verdict: Verdict) -> None:
        header = model.header
        self._model, self._layout, self._request, self._verdict = model, layout, request, verdict
        self._host = _host_of(request)
        self._reads = model.reads(layout)
        self._usage = model.measure(layout)
        used = min(max(header.n_experts_used, 1), header.n_experts)  # a file may say anything
        self._in_use = used / header.n_experts if header.n_experts else 1.0
        places = place(header.n_layers, layout.n_gpu_layers, layout.split)[:-1]
        whole = places.count(ON_HOST)
        held = sum(1 for layer in range(layout.n_cpu_moe) if model.experts_bytes[layer] and places[layer] != ON_HOST)
        self._host_s = whole * (HOST_LAYER_S if header.n_experts else DENSE_HOST_LAYER_S) + held * HOST_EXPERTS_S
        self._layers = [places.count(index) for index in range(len(request.devices))]
        self._cached = min(layout.ctx_size / 2, TYPICAL_TOKENS) / layout.ctx_size
        free_bytes = request.host_usable_mib * MIB - self._usage.host.kv_bytes - self._usage.host.compute_bytes
        free_bytes -= request.unified_mib(share.total_bytes for share in self._usage.devices)
        total = self._reads[ON_HOST].total
        self._missing = max(1 - free_bytes / total, 0.0) * MISSES if verdict == "disk" and total else 0.0

    def unknown(self) -> str:
        """Reason for an unknown speed; empty if it is known."""
        for _, device in self._busy():
            if device.backend == "rpc" and device.rates is None:
                return f"{device.name} is an RPC worker that was not measured; answers will measure it"
        if self._missing and self._host.disk_gbps is None:
            return "the disk with the weights was not measured; `r1tui doctor --measure` does that"
        return ""

    def guessed(self) -> Iterator[str]:
        """The parts with work whose speed is guessed."""
        yield from (device.name for _, device in self._busy() if not device.likely_rates.known)
        if self._reads[ON_HOST].total and not self._host.known:
            yield "RAM"

    def answer_s(self) -> float:
        """Seconds for a token of the answer."""
        host = self._reads[ON_HOST]
        read = self._active(host) + self._usage.host.kv_bytes * self._cached
        seconds = max(read / self._memory_bps, self._cpu_work(host) / (self._host.cores * ANSWER_CORE_GFLOPS * 1e9))
        seconds += self._host_s
        seconds += host.experts * self._in_use * self._missing / self._disk_bps
        for index, device in self._busy():
            read = self._active(self._reads[index]) + self._usage.devices[index].kv_bytes * self._cached
            seconds += read / (device.likely_rates.memory_gbps * 1e9 * GPU_SHARE) + self._layers[index] * self._layer_s
        return seconds + TOKEN_S

    def prompt_s(self, tokens: int) -> float:
        """Seconds for a prompt of so many tokens."""
        batch = min(self._layout.ubatch_size, tokens)
        whole, rest = divmod(tokens, batch)
        seconds = whole * self._batch_s(batch) + (self._batch_s(rest) if rest else 0.0)
        return seconds + self._attention_s(tokens)

    @cached_property
    def best_offload_batch(self) -> int | None:
        """The smallest batch for which fetching the host's experts is faster than computing them there.

        None where nothing was measured, or nothing is on the host that a GPU could fetch.
        """
        fetcher = self._fetcher
        if fetcher is None or fetcher.unified or not self._host.measured or not self._reads[ON_HOST].total:
            return None
        sizes = [tokens for tokens in _powers(OFFLOAD_BATCH, self._layout.ubatch_size) if self._bus_wins(tokens)]
        return min(sizes, default=NEVER_OFFLOAD)

    def _batch_s(self, tokens: int) -> float:
        host = self._reads[ON_HOST]
        seconds = self._touched(host, tokens) * self._missing / self._disk_bps
        for index, device in self._busy():
            rates, reads = device.likely_rates, self._reads[index]
            computing = self._batch_flops(reads, tokens) / (rates.tflops * 1e12)
            reading = self._touched(reads, tokens) / (rates.memory_gbps * 1e9 * GPU_SHARE)
            seconds += max(computing, reading) + self._layers[index] * self._layer_s
        threshold = self.best_offload_batch or OFFLOAD_BATCH
        return seconds + (self._bus_s(tokens) if self._fetcher and tokens >= threshold else self._cpu_s(tokens))

    def _bus_wins(self, tokens: int) -> bool:
        return self._bus_s(tokens) < self._cpu_s(tokens)

    def _bus_s(self, tokens: int) -> float:
        """Seconds for the host's share of a batch that a GPU fetches and computes."""
        host, device = self._reads[ON_HOST], self._fetcher
        if device is None or not host.total:
            return 0.0
        bus_gbps = self._host.bus_gbps * BUS_SHARE
        if self._verdict == "disk":
            bus_gbps = min(bus_gbps, PAGEABLE_GBPS)
        computing = self._batch_flops(host, tokens) / (device.likely_rates.tflops * 1e12)
        return self._touched(host, tokens) / (bus_gbps * 1e9) + computing

    def _cpu_s(self, tokens: int) -> float:
        """Seconds for the host's share of a batch that the CPU computes."""
        host = self._reads[ON_HOST]
        computing = self._cpu_work(host) * tokens / self._cpu_flops
        return max(computing, self._touched(host, tokens) / self._memory_bps) + self._host_s

    def _attention_s(self, tokens: int) -> float:
        """Each token with all before it: keys and values, twice two operations, half of the square."""
        header = self._model.header
        heads = header.n_heads * header.n_layers
        flops = heads * (header.key_length + header.value_length) * float(tokens) ** 2
        fastest = max((device.likely_rates.tflops for _, device in self._busy()), default=0.0)
        return flops / (fastest * 1e12 or self._cpu_flops)

    def _busy(self) -> Iterator[tuple[int, Device]]:
        """The devices that hold weights."""
        for index, device in enumerate(self._request.devices):
            if self._reads[index].total:
                yield index, device

    @cached_property
    def _fetcher(self) -> Device | None:
        """The GPU that fetches the host's weights for prompts; an RPC worker never does."""
        return next((device for _, device in self._busy() if device.backend != "rpc"), None)

    @property
    def _layer_s(self) -> float:
        header = self._model.header
        if header.mla or is_legacy_deepseek(header):
            return DEEPSEEK_LAYER_S
        return LAYER_S if header.n_experts else DENSE_LAYER_S

    @property
    def _cpu_flops(self) -> float:
        """Prompt arithmetic of all cores, in FLOP/s."""
        return (self._host.gflops or self._host.cores * PROMPT_CORE_GFLOPS) * 1e9

    @property
    def _memory_bps(self) -> float:
        return self._host.memory_gbps * 1e9 * HOST_SHARE

    @property
    def _disk_bps(self) -> float:
        return (self._host.disk_gbps or 1.0) * 1e9

    def _active(self, reads: Reads) -> float:
        return reads.dense + reads.experts * self._in_use

    def _touched(self, reads: Reads, tokens: int) -> float:
        """Bytes that a batch reads: its tokens choose the same experts now and then."""
        return reads.dense + reads.experts * self._chosen(tokens)

    def _chosen(self, tokens: int) -> float:
        """The share of the experts that at least one of the tokens chooses."""
        return 1 - (1 - self._in_use) ** tokens

    def _flops(self, reads: Reads) -> float:
        """Operations for one token."""
        return 2 * self._model.parameters(reads, self._in_use)

    def _cpu_work(self, reads: Reads) -> float:
        """Operations for one token, as much as they cost a core: those of experts of few bits count more."""
        few = self._model.bits_per_expert_weight < FEW_BITS
        experts = self._flops(Reads(experts=reads.experts))
        return self._flops(Reads(dense=reads.dense)) + experts / (FEW_BITS_SHARE if few else 1.0)

    def _batch_flops(self, reads: Reads, tokens: int) -> float:
        """Operations of a GPU for a batch: for each expert that is chosen, whole tiles."""
        dense = self._flops(Reads(dense=reads.dense)) * tokens
        if not reads.experts:
            return dense
        chosen = self._chosen(tokens)
        each = tokens * self._in_use / chosen
        rows = max(min(tokens, TILE), each + TILE / 2)
        return dense + 2 * self._model.parameters(Reads(experts=reads.experts), chosen) * rows


def _powers(first: int, last: int) -> Iterator[int]:
    while first <= last:
        yield first
        first *= 2


def _host_of(request: PlanRequest) -> HostRates:
    """The host's rates; with a GPU that shares its memory, that memory's."""
    host = request.rates or typical_host(request.host_total_mib)
    shared = max((device.likely_rates.memory_gbps for device in request.devices if device.unified), default=0.0)
    if not shared:
        return host
    gbps = host.memory_gbps if host.known else max(host.memory_gbps, shared * UNIFIED_SHARE)
    return replace(host, memory_gbps=gbps, bus_gbps=shared)


def _rounded(band: Range) -> Range:
    """To two digits, since more would be a lie, and inwards, since a band is no wider for it."""
    low, high = (_to_two_digits(band.low, ceil), _to_two_digits(band.high, floor))
    return Range(low, high) if low <= high else Range(*(_to_two_digits(value, round) for value in band))


def _to_two_digits(value: float, towards: Callable[[float], int]) -> float:
    if value <= 0:
        return 0.0
    step = floor(log10(value)) - 1
    return float(f"{towards(round(value / 10**step, 6)) * 10.0**step:.2g}")
