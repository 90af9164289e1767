"""Tokens per second to expect: the bytes that a token reads, by how fast each part of the machine reads them.

The shares of the peak that are really reached are bounded from below by what people report of UD-IQ1_S (facts of the
field: 3.3 tokens/s with 8 layers on an RTX 3090, 4.4 with 29 on an H100, 9.2 on two A100, 14 on two H100, 2.1 from
memory and NVMe alone) and from above by the hardware. Hence wide ranges, until a run was measured.
"""

from r1tui.messages import Range, Speed
from r1tui.plan.memory import Model, ModelLayout, place
from r1tui.plan.pins import ON_HOST, Reads
from r1tui.plan.rates import WORKER, DeviceRates, typical_device, typical_host
from r1tui.plan.request import Device, PlanRequest
from r1tui.plan.verdict import Verdict

GPU_SHARE = Range(0.35, 0.8)
HOST_SHARE = Range(0.2, 0.8)
BUS_SHARE = Range(0.5, 0.9)
"""Of peak rates that are reached."""
LAYER_S = Range(1.5e-3, 6e-5)
DENSE_LAYER_S = Range(1.5e-4, 3e-5)
"""What a layer on a GPU takes beside its reads: starting kernels, choosing experts."""
COMPUTE_SHARE = Range(0.15, 0.8)
CORE_GFLOPS = Range(6.0, 50.0)
"""Of one core on quantised weights."""
MISSES = Range(1.0, 0.5)
"""Reads of experts that are not in memory: they come in no order, or the same ones come often."""
ROUND_TRIP_S = Range(5e-3, 2e-4)
"""To an RPC worker, for a token."""
OFFLOADED_BATCH = 32
"""From so many tokens on a GPU computes what lies on the host too (ggml-cuda.cu, offload_op)."""


def estimate(model: Model, layout: ModelLayout, request: PlanRequest, verdict: Verdict) -> Speed:
    """The speed that a plan is likely to reach."""
    cases = [_Case(model, layout, request, verdict, index) for index in (0, 1)]
    return Speed(Range(*(1 / case.prompt_s() for case in cases)), Range(*(1 / case.answer_s() for case in cases)))


class _Case:
    """The worst (0) or the best case (1) of one plan."""

    def __init__(self, model: Model, layout: ModelLayout, request: PlanRequest, verdict: Verdict, index: int) -> None:
        self._model = model
        self._layout = layout
        self._request = request
        self._index = index
        self._rates = request.rates or typical_host(request.threads)
        self._reads = model.reads(layout)
        self._usage = model.measure(layout)
        used = (model.header.n_experts_used, model.header.n_experts)
        self._in_use = used[0] / used[1] if used[1] else 1.0
        free_bytes = (request.host_free_mib << 20) - self._usage.host.kv_bytes - self._usage.host.compute_bytes
        missing = max(1 - free_bytes / self._reads[ON_HOST].total, 0.0) if self._reads[ON_HOST].total else 0.0
        self._missing = missing if verdict == "disk" else 0.0

    def answer_s(self) -> float:
        """Seconds for a token of the answer, with the context half full."""
        host = self._reads[ON_HOST]
        seconds = self._active(host) + self._usage.host.kv_bytes / 2
        seconds /= self._of(self._rates.memory_gbps) * 1e9 * self._of(HOST_SHARE)
        seconds = max(seconds, self._host_flops / self._host_flops_per_s)
        seconds += host.experts * self._in_use * self._missing * self._of(MISSES) / (self._disk_gbps * 1e9)
        layers = place(self._model.header.n_layers, self._layout.n_gpu_layers, self._layout.split)
        layer_s = self._of(LAYER_S if self._model.header.n_experts else DENSE_LAYER_S)
        for index, device in enumerate(self._request.devices):
            rates = _rates_of(device)
            read = self._active(self._reads[index]) + self._usage.devices[index].kv_bytes / 2
            seconds += read / (self._of(rates.memory_gbps) * 1e9 * self._of(GPU_SHARE))
            seconds += layers.count(index) * layer_s
            seconds += self._of(ROUND_TRIP_S) if device.backend == "rpc" else 0.0
        return seconds or 1e-6

    def prompt_s(self) -> float:
        """Seconds for a token of a prompt that fills whole batches."""
        host, batch = self._reads[ON_HOST], self._layout.ubatch_size
        fetching = [device for device in self._request.devices if device.backend != "rpc"]
        seconds = 0.0
        for index, device in enumerate(self._request.devices):
            flops = 2 * self._model.parameters(self._reads[index], self._in_use)
            seconds += flops / (self._of(_rates_of(device).tflops) * 1e12)
        seconds /= self._of(COMPUTE_SHARE)
        if fetching and self._layout.n_gpu_layers and batch >= OFFLOADED_BATCH:
            rates = _rates_of(fetching[0])
            seconds += host.total / (self._of(self._rates.bus_gbps) * 1e9 * self._of(BUS_SHARE)) / batch
            seconds += self._host_flops / (self._of(rates.tflops) * 1e12 * self._of(COMPUTE_SHARE))
        else:
            seconds += self._host_flops / self._host_flops_per_s
        seconds += host.total * self._missing / (self._disk_gbps * 1e9) / batch
        return seconds or 1e-6

    @property
    def _host_flops(self) -> float:
        return 2 * self._model.parameters(self._reads[ON_HOST], self._in_use)

    @property
    def _host_flops_per_s(self) -> float:
        return self._request.threads * self._of(CORE_GFLOPS) * 1e9

    @property
    def _disk_gbps(self) -> float:
        return self._of(self._rates.disk_gbps)

    def _active(self, reads: Reads) -> float:
        return reads.dense + reads.experts * self._in_use

    def _of(self, values: Range) -> float:
        return values[self._index]


def _rates_of(device: Device) -> DeviceRates:
    if device.rates is not None:
        return device.rates
    return WORKER if device.backend == "rpc" else typical_device(device.total_mib)
