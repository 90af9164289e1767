"""The search for the layout that keeps most on the devices, for each strategy."""

from collections.abc import Iterable
from dataclasses import replace

from r1tui.plan.layout import MIB, ModelLayout, Share
from r1tui.plan.memory import Model, place
from r1tui.plan.pins import ON_HOST
from r1tui.plan.request import PlanRequest
from r1tui.plan.verdict import rule_of_thumb

SPLIT_STEPS = 12
CLEARLY_FASTER = 1.25
"""A device that reads so many times faster than another is better alone, where it holds everything."""


class Search:
    """Finds layouts for one model on given devices; a layout handed in carries all but the placement."""

    def __init__(self, model: Model, request: PlanRequest) -> None:
        self._model = model
        self._request = request
        self._devices = request.devices
        self._n_layers = model.header.n_layers

    @property
    def everything(self) -> int:
        """--n-gpu-layers for all layers and the output."""
        return self._n_layers + 1

    def fits(self, layout: ModelLayout) -> bool:
        """True if each device has room for its share; those that use the host's memory, beside what it keeps there."""
        usage = self._model.measure(layout)
        shared_mib = self._request.unified_mib(share.total_bytes / MIB for share in usage.devices)
        if shared_mib and shared_mib + usage.host.anonymous_bytes / MIB > self._request.host_usable_mib:
            return False
        return all(
            share.total_bytes <= device.usable_mib * MIB
            for share, device in zip(usage.devices, self._devices, strict=True)
            if share.total_bytes
        )

    def given(self, layout: ModelLayout, n_gpu_layers: int, n_cpu_moe: int) -> ModelLayout:
        """The layout with these counts, its layers spread so that it fits if any spread does."""
        bare = replace(layout, n_gpu_layers=min(n_gpu_layers, self.everything), n_cpu_moe=n_cpu_moe)
        return self._spread(bare) or replace(bare, split=self._by_free_memory(bare.n_gpu_layers))

    def rule(self, layout: ModelLayout) -> ModelLayout:
        """As many layers as the rule of thumb says; all of the model's means the output layer too."""
        vram_gib = sum(device.total_mib for device in self._devices) / 1024
        layers = rule_of_thumb(vram_gib, self._model.header.size_bytes / 2**30, self._n_layers)
        return self.given(layout, self.everything if layers == self._n_layers else layers, 0)

    def layers(self, layout: ModelLayout, n_cpu_moe: int = 0) -> ModelLayout:
        """The most whole layers that fit, with the experts of the first `n_cpu_moe` on the host."""
        bare = replace(layout, n_cpu_moe=n_cpu_moe)
        candidates = (replace(bare, n_gpu_layers=count) for count in range(self.everything, 0, -1))
        return self._first(candidates) or self._nothing(layout)

    def experts(self, layout: ModelLayout) -> ModelLayout:
        """Everything but the experts of as few layers as possible.

        Where even that is too much, fewer layers, or the cache on the host: whichever leaves the host less to read for
        a token.
        """
        if found := self.all_but_experts(layout):
            return found
        fewer = self._fewer_layers(layout)
        cacheless = self.all_but_experts(replace(layout, kv_on_host=True))
        if cacheless is None or self._host_reads(fewer) <= self._host_reads(cacheless):
            return fewer
        return cacheless

    def all_but_experts(self, layout: ModelLayout) -> ModelLayout | None:
        """Everything on the devices but the experts of as few layers as possible; None where even that is too much."""
        whole = (replace(layout, n_gpu_layers=self.everything, n_cpu_moe=held) for held in range(self._n_layers + 1))
        return self._first(whole)

    def _fewer_layers(self, layout: ModelLayout) -> ModelLayout:
        bare = (replace(layout, n_gpu_layers=count, n_cpu_moe=self._n_layers) for count in range(self._n_layers, 0, -1))
        found = self._first(bare)
        if found is None:
            return self._nothing(layout)
        filled = (
            replace(found, n_cpu_moe=held) for held in range(self.everything - found.n_gpu_layers, self._n_layers)
        )
        return self._first(filled) or found

    def _host_reads(self, layout: ModelLayout) -> float:
        """Bytes that the host reads for a token: its layers, the experts in use among its experts, half its cache."""
        header = self._model.header
        in_use = header.n_experts_used / header.n_experts if header.n_experts else 1.0
        total = 0.0
        for layer, device in enumerate(place(self._n_layers, layout.n_gpu_layers, layout.split)[:-1]):
            experts = self._model.experts_bytes[layer]
            if device == ON_HOST:
                total += self._model.layers_bytes[layer] - experts
            if device == ON_HOST or layer < layout.n_cpu_moe:
                total += experts * in_use
            if device == ON_HOST or layout.kv_on_host:
                total += self._model.kv_bytes(layer, layout) / 2
        return total

    def _nothing(self, layout: ModelLayout) -> ModelLayout:
        return replace(layout, n_gpu_layers=0, n_cpu_moe=0, split=(0,) * len(self._devices))

    def _first(self, layouts: Iterable[ModelLayout]) -> ModelLayout | None:
        """The first layout that fits, spread; each after the second puts less on the devices than the one before.

        The second may take more than the first, which has nothing on the host that a GPU would fetch.
        """
        candidates = list(layouts)
        found = self._spread(candidates[0]) if candidates else None
        rest = candidates[1:]
        if found or not rest or (best := self._spread(rest[-1])) is None:
            return found
        low, high = 0, len(rest) - 1
        while low < high:
            middle = (low + high) // 2
            if found := self._spread(rest[middle]):
                best, high = found, middle
            else:
                low = middle + 1
        return best

    def _by_free_memory(self, layers: int) -> tuple[int, ...]:
        free = [max(device.usable_mib, 1) for device in self._devices]
        split: list[int] = []
        for index in range(len(free) - 1):
            split.append(round((layers - sum(split)) * free[index] / sum(free[index:])))
        return (*split, layers - sum(split)) if free else ()

    def _spread(self, layout: ModelLayout) -> ModelLayout | None:
        """The layout with its layers spread over the devices, the fullest as empty as possible; None if none fits."""
        if len(self._devices) == 1:
            single = replace(layout, split=(layout.n_gpu_layers,))
            return single if self.fits(single) else None
        if (alone := self._on_fastest_alone(layout)) is not None:
            return alone
        everywhere = replace(layout, split=(layout.n_gpu_layers, *(0,) * (len(self._devices) - 1)))
        first = self._model.measure(everywhere).devices[0] if self._devices else Share()
        beside, sizes = first.compute_bytes + first.pool_bytes, self._sizes(layout)
        best = self._filled(layout, sizes, beside, 1.0)
        if best is None:
            return None
        low, high = 0.0, 1.0
        for _ in range(SPLIT_STEPS):
            middle = (low + high) / 2
            if found := self._filled(layout, sizes, beside, middle):
                best, high = found, middle
            else:
                low = middle
        return best

    def _on_fastest_alone(self, layout: ModelLayout) -> ModelLayout | None:
        """Everything on the fastest device, if that holds it and another is clearly slower.

        A token passes through the layers one after the other, so a slower device that has some of them holds it up.
        """
        if not self._devices or layout.n_gpu_layers < self.everything or layout.n_cpu_moe or layout.overrides:
            return None
        rates = [device.likely_gbps for device in self._devices]
        fastest = max(rates)
        if fastest < CLEARLY_FASTER * min(rates) or not fastest:
            return None
        split = [0] * len(rates)
        split[rates.index(fastest)] = layout.n_gpu_layers
        found = replace(layout, split=tuple(split))
        return found if self.fits(found) else None

    def _sizes(self, layout: ModelLayout) -> list[int]:
        """Bytes of each layer that goes to a device, the output layer last, with its cache."""
        layers = range(self.everything - layout.n_gpu_layers, self.everything)
        return [
            self._model.device_weights(layer, layout)
            + (self._model.kv_bytes(layer, layout) if layer < self._n_layers and not layout.kv_on_host else 0)
            for layer in layers
        ]

    def _filled(self, layout: ModelLayout, sizes: list[int], beside: int, share: float) -> ModelLayout | None:
        """The devices filled one after the other to a share of what is usable; None if layers are left over."""
        layer, split = 0, []
        for device in self._devices:
            room = device.usable_mib * MIB * share - beside
            count = 0
            while layer < len(sizes):
                room -= sizes[layer]
                if room < 0:
                    break
                count, layer = count + 1, layer + 1
            split.append(count)
        if layer < len(sizes):
            return None
        found = replace(layout, split=tuple(split))
        return found if self.fits(found) else None
