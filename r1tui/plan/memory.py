"""How much memory a layout takes on each device and on the host, by llama.cpp's own rules of placement.

Weights and cache agree with llama.cpp b11434's breakdown to 1 MiB; the sizes of compute buffers are fitted to it, with
RPC workers and with CUDA. What was measured here or what the engine answered takes the place of both (see
`plan.answers`).
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import accumulate, repeat
from math import inf, prod

from r1tui.gguf import Header
from r1tui.gguf.header import is_expert
from r1tui.gguf.kv import chooses_blocks, layer_caches
from r1tui.gguf.parse import Tensor
from r1tui.plan.answers import Answers, EngineAnswer
from r1tui.plan.compute import Part, Widths
from r1tui.plan.history import PlanHistory
from r1tui.plan.layout import ROUNDING_BYTES, MemoryUsage, ModelLayout, Share
from r1tui.plan.pins import ON_HOST, Pins, Reads, Rules, pin
from r1tui.plan.pool import Pools
from r1tui.plan.repack import is_repacked

EMBEDDING = "token_embd.weight"
OUTPUT = "output.weight"
OFFLOADING = ("cuda", "hip")
"""Backends whose first device computes the host's layers and experts for prompts (ggml_backend_cuda_device_offload_op:
batches of 32 tokens and more)."""


def place(n_layers: int, n_gpu_layers: int, split: tuple[int, ...]) -> tuple[int, ...]:
    """The device of each layer, the output layer last; ON_HOST for the host.

    llama_model_base::load_tensors compares in float32, and so does this.
    """
    start = max(n_layers + 1 - n_gpu_layers, 0)
    active = min(n_gpu_layers, n_layers + 1)
    if not active or not any(split):
        return (ON_HOST,) * (n_layers + 1)
    sums = list(accumulate(_f32(part) for part in split))
    bounds = [_f32(part / sums[-1]) for part in sums]
    places = [ON_HOST] * start
    for layer in range(start, n_layers + 1):
        position = _f32((layer - start) / active)
        places.append(next(device for device, bound in enumerate(bounds) if bound > position))
    return tuple(places)


def _f32(value: float) -> float:
    rounded: float = struct.unpack("<f", struct.pack("<f", value))[0]
    return rounded


class Model:
    """A header's tensors summed up once, so that many layouts can be measured quickly."""

    def __init__(
        self,
        header: Header,
        backends: tuple[str, ...],
        names: tuple[str, ...] = (),
        repacked_types: frozenset[str] = frozenset(),
        answers: Sequence[EngineAnswer] = (),
        *,
        history: PlanHistory | None = None,
    ) -> None:
        self.header = header
        self._backends = backends
        self._names = names
        self._repacked_types = repacked_types
        self._pins: dict[Rules, Pins] = {}
        self._caches = layer_caches(header)
        loaded = header.n_layers - header.n_nextn_layers
        self._window = max((one.window for one in self._caches), default=0)
        self._names_of_tensors = frozenset(tensor.name.split(".")[2] for layer in header.layers for tensor in layer)
        self._pools = Pools(header, loaded)
        self.pool_corrections = tuple(
            self._pools.correction_bytes(backend, history.beyond_buffers_mib(name)) if history else 0
            for backend, name in zip(backends, names or ("",) * len(backends), strict=True)
        )
        """Bytes on each device that earlier runs took beside their buffers, beyond what is worked out."""
        skipped = {tensor.name for layer in header.layers[loaded:] for tensor in layer}  # TENSOR_SKIP: never loaded
        self._sizes = {tensor.name: tensor.size_bytes for tensor in header.tensors if tensor.name not in skipped}
        self._tensors = (*header.layers[:loaded], *((),) * header.n_nextn_layers)
        self.layers_bytes = [sum(tensor.size_bytes for tensor in layer) for layer in self._tensors]
        self.experts_bytes = [
            sum(tensor.size_bytes for tensor in layer if is_expert(tensor)) for layer in self._tensors
        ]
        self._largest = [max((tensor.size_bytes for tensor in layer), default=0) for layer in self._tensors]
        self._largest_expert = [
            max((tensor.size_bytes for tensor in layer if is_expert(tensor)), default=0) for layer in self._tensors
        ]
        self.answers = Answers(names, self._by_formula, answers, history)

    @cached_property
    def _output_bytes(self) -> int:
        """The output layer: without a matrix of its own it holds a copy of the embeddings."""
        own = sum(size for name, size in self._sizes.items() if name.startswith("output"))
        return own if OUTPUT in self._sizes else own + self._sizes.get(EMBEDDING, 0)

    @cached_property
    def _repackable(self) -> list[int]:
        """Bytes of each layer, the output layer last, that a CPU without a GPU copies into a layout of its own."""
        output = [tensor for tensor in self.header.tensors if tensor.name == OUTPUT]
        return [
            sum(tensor.size_bytes for tensor in layer if is_repacked(tensor, self._repacked_types))
            for layer in (*self._tensors, output)
        ]

    def kv_bytes(self, layer: int, layout: ModelLayout) -> int:
        """One layer's cache for the whole context."""
        return self._caches[layer].size_bytes(layout.ctx_size, layout.batch_size, layout.type_k, layout.type_v)

    def device_weights(self, layer: int, layout: ModelLayout) -> int:
        """Weights of a layer on its device: all except those of -ot rules and the experts of `--n-cpu-moe`."""
        if layer == self.header.n_layers:
            return self._output_bytes - sum(self._pinned(layout).from_output)
        own = self._own(layer, layout)
        return own.dense if layer < layout.n_cpu_moe else own.total

    def _own(self, layer: int, layout: ModelLayout) -> Reads:
        pinned = self._pinned(layout).layers[layer]
        dense = self.layers_bytes[layer] - self.experts_bytes[layer]
        return Reads(dense - pinned.dense, self.experts_bytes[layer] - pinned.experts)

    def reads(self, layout: ModelLayout) -> dict[int, Reads]:
        """The weights at each place, by the device's number or ON_HOST; the embeddings, of which a token takes one
        row, left out."""
        places = place(self.header.n_layers, layout.n_gpu_layers, layout.split)
        found = {where: Reads() for where in (ON_HOST, *range(len(layout.split)))}
        for layer, where in enumerate(places[:-1]):
            own = self._own(layer, layout)
            found[where].dense += own.dense
            found[ON_HOST if layer < layout.n_cpu_moe else where].experts += own.experts
        found[places[-1]].dense += self._output_bytes - sum(self._pinned(layout).from_output)
        for where, pinned in self._pinned(layout).places.items():
            found[where].dense += pinned.dense
            found[where].experts += pinned.experts
        return found

    def parameters(self, reads: Reads, in_use: float) -> float:
        """Number of weights in these bytes; of the experts only the share in use."""
        return reads.dense * self._weights_per_byte[0] + reads.experts * in_use * self._weights_per_byte[1]

    @cached_property
    def _weights_per_byte(self) -> tuple[float, float]:
        def density(tensors: list[Tensor]) -> float:
            return sum(prod(tensor.shape) for tensor in tensors) / max(sum(tensor.size_bytes for tensor in tensors), 1)

        tensors = [tensor for layer in self._tensors for tensor in layer]
        experts = [tensor for tensor in tensors if is_expert(tensor)]
        return density([tensor for tensor in tensors if not is_expert(tensor)]), density(experts)

    @property
    def bits_per_expert_weight(self) -> float:
        """Bits of a weight of the experts; infinite where there are none."""
        return 8 / self._weights_per_byte[1] if self._weights_per_byte[1] else inf

    def _pinned(self, layout: ModelLayout) -> Pins:
        rules = layout.overrides
        if rules not in self._pins:
            self._pins[rules] = pin(self.header, rules, self._names)
        return self._pins[rules]

    def holds_everything(self, usage: MemoryUsage) -> bool:
        """True if the devices have all weights but the embeddings, which stay on the host always."""
        return usage.host.weights_bytes <= self._sizes.get(EMBEDDING, 0) + ROUNDING_BYTES

    def measure(self, layout: ModelLayout) -> MemoryUsage:
        """The memory that the layout takes on every device and on the host, by the best that is known of it."""
        return self.answers.measure(layout)

    def _by_formula(self, layout: ModelLayout) -> MemoryUsage:
        places = place(self.header.n_layers, layout.n_gpu_layers, layout.split)
        reads = self.reads(layout)
        weights, cache = [reads[device].total for device in range(len(layout.split))], [0] * len(layout.split)
        host_kv = 0
        repack = sum(size for size, where in zip(self._repackable, places, strict=True) if where == ON_HOST)
        for layer, device in enumerate(places[:-1]):
            on_host = device == ON_HOST or layout.kv_on_host
            host_kv += self.kv_bytes(layer, layout) if on_host else 0
            if not on_host:
                cache[device] += self.kv_bytes(layer, layout)
        copied = 0 if OUTPUT in self._sizes or places[-1] == ON_HOST else self._sizes.get(EMBEDDING, 0)
        host_weights = sum(self._sizes.values()) + copied - sum(weights)
        widths = self._widths(layout)
        devices = tuple(
            Share(
                weights[device],
                cache[device],
                self._device_compute(layout, places, device, widths),
                self._pool_bytes(layout, device) if device in places else 0,
            )
            for device in range(len(layout.split))
        )
        return MemoryUsage(devices, Share(host_weights, host_kv, self._host_compute(layout, places, widths)), repack)

    def _widths(self, layout: ModelLayout) -> Widths:
        has_f32 = "f32" in (layout.type_k, layout.type_v)
        halved = max(self._halved_bytes(layout)) if has_f32 and layout.flash_attention else 0
        return Widths(
            self.header,
            layout.ctx_size,
            layout.batch_size,
            layout.flash_attention,
            kv_from_host=self._largest_cache(layout) if layout.kv_on_host else 0,
            halved=halved,
            half_keys=layout.type_k == "f16",
            window=self._window,
            attends=not (self._caches[0].window or self._caches[0].state_bytes),
            tensors=self._names_of_tensors,
        )

    def _largest_cache(self, layout: ModelLayout) -> int:
        return max(map(self.kv_bytes, range(self.header.n_layers), repeat(layout)))

    def _halved_bytes(self, layout: ModelLayout) -> Iterator[int]:
        """Each layer's cache in half precision where it is kept in f32, which flash attention does not take."""
        for one in self._caches:
            keys, values = (
                size if kind == "f32" else 0 for size, kind in ((one.keys, layout.type_k), (one.values, layout.type_v))
            )
            half = replace(one, keys=keys, values=values, state_bytes=0, compressed=())
            yield half.size_bytes(layout.ctx_size, layout.batch_size, "f16", "f16")

    def _largest_on_host(self, layout: ModelLayout, places: tuple[int, ...]) -> int:
        """The largest tensor of the layers, or of the experts, that stay on the host, in bytes; 0 when none does."""
        whole = (size for layer, size in enumerate(self._largest) if places[layer] == ON_HOST)
        pinned = self._pinned(layout).largest_on_host.values()
        return max((*whole, *self._largest_expert[: layout.n_cpu_moe], *pinned), default=0)

    def _device_compute(self, layout: ModelLayout, places: tuple[int, ...], device: int, widths: Widths) -> int:
        if device not in places:
            return 0
        part, fetched = self._part(layout, places, device), self._largest_on_host(layout, places)
        if self._backends[device] in OFFLOADING:
            part = replace(part, fed=False, fed_anywhere=False, fused=not part.fed_last)
            if fetched and device == self._relieves(places):
                part = replace(part, first=True, fed_last=False)  # it computes those layers where they are the host's
                whole = ON_HOST in places
                kv = self._largest_cache(layout) if whole else 0
                mixed = whole and bool(layout.n_cpu_moe or layout.overrides)
                return widths.sharing_device(part, fetched=fetched, kv=kv, mixed=mixed)
            fetched = 0
        return widths.device(
            part,
            pipelined=self._is_pipelined(layout, places),
            apart=len({*places[:-1]} - {ON_HOST}) > 1 and ON_HOST in places and not layout.n_cpu_moe,
            fetched=0 if self._backends[device] == "rpc" else fetched,  # a worker never takes them
        )

    def _relieves(self, places: tuple[int, ...]) -> int | None:
        """The device that computes the host's part of prompts: the first of CUDA or HIP; None for other backends."""
        return next((n for n, backend in enumerate(self._backends) if n in places and backend in OFFLOADING), None)

    def _pool_bytes(self, layout: ModelLayout, device: int) -> int:
        backend, flash = self._backends[device], layout.flash_attention
        worked_out = self._pools.device_bytes(
            backend, layout.ctx_size, layout.ubatch_size, layout.type_k, flash_attention=flash
        )
        return max(worked_out + self.pool_corrections[device], 0)

    def _host_compute(self, layout: ModelLayout, places: tuple[int, ...], widths: Widths) -> int:
        return widths.host(
            self._part(layout, places, ON_HOST),
            pipelined=self._is_pipelined(layout, places),
            several=len({*places[:-1]} - {ON_HOST}) > 1,
            relieved=self._relieves(places) is not None,
        )

    def _part(self, layout: ModelLayout, places: tuple[int, ...], where: int) -> Part:
        repeating = places[:-1]
        held = {layer for layer in range(min(layout.n_cpu_moe, len(repeating))) if self.experts_bytes[layer]}
        held |= self._pinned(layout).largest_on_host.keys()
        last = len(repeating) - self.header.n_nextn_layers - 1
        there = [layer for layer, place in enumerate(repeating) if place == where]
        return Part(
            layers=where in repeating,
            first=repeating[0] == where,
            alone=all(place == where for place in repeating),
            output=places[-1] == where,
            fed=bool(held) if where == ON_HOST else not held.isdisjoint(there),
            own_experts=min(sum(1 for layer in there if layer not in held and self.experts_bytes[layer]), 2),
            fed_last=last in held and repeating[last] == where,
            fed_anywhere=bool(held),
            choosing=sum(1 for layer in there if layer not in held and chooses_blocks(self.header, layer)),
        )

    def _is_pipelined(self, layout: ModelLayout, places: tuple[int, ...]) -> bool:
        """True if several devices work on several batches at once, each with copies of its inputs."""
        by_hand = layout.n_cpu_moe or layout.overrides or layout.kv_on_host  # llama_context's constructor
        return len(layout.split) > 1 and ON_HOST not in places and not by_hand
