"""Hand-written -ot rules: which tensors they take out of their layers, and where they put them."""

import re
from dataclasses import dataclass, field

from r1tui.gguf import Header
from r1tui.gguf.header import is_expert, layer_of

ON_HOST = -1
"""In the place of a device's number."""

Rules = tuple[tuple[str, str], ...]
"""A regular expression for tensors' names, and a device's name or `CPU`; the first that is found in a name wins."""


@dataclass
class Reads:
    """Bytes of weights at one place, as far as computing a token reads them; of experts it reads those in use."""

    dense: int = 0
    experts: int = 0

    @property
    def total(self) -> int:
        return self.dense + self.experts


@dataclass(frozen=True)
class Pins:
    """Effect of -ot rules: bytes removed from each layer and the output layer, and bytes added to each device."""

    layers: list[Reads]
    places: dict[int, Reads] = field(default_factory=dict)
    """By the device's number, or ON_HOST."""
    largest_on_host: dict[int, int] = field(default_factory=dict)
    """Of layers whose experts they put on the host: the largest such tensor's bytes."""
    from_output: list[int] = field(default_factory=list)
    """Tensors of the output layer."""


def pin(header: Header, rules: Rules, names: tuple[str, ...]) -> Pins:
    """Apply the rules (llama_model_loader::create_tensor); `names` are the devices'. RPC0[…] means RPC0."""
    pins = Pins([Reads() for _ in range(header.n_layers)])
    compiled = [(re.compile(pattern), where.partition("[")[0]) for pattern, where in rules]
    for tensor in header.tensors if rules else ():
        where = next((where for pattern, where in compiled if pattern.search(tensor.name)), None)
        if where is None:
            continue
        there = names.index(where) if where in names else ON_HOST
        place = pins.places.setdefault(there, Reads())
        layer, size = layer_of(tensor), tensor.size_bytes
        if is_expert(tensor):
            place.experts += size
        elif layer is not None or tensor.name.startswith("output") or there != ON_HOST:  # embeddings are on the host
            place.dense += size
        if layer is None:
            pins.from_output.extend([size] if tensor.name.startswith("output") else [])
        elif layer < header.n_layers and is_expert(tensor):
            pins.layers[layer].experts += size
            if there == ON_HOST:
                pins.largest_on_host[layer] = max(size, pins.largest_on_host.get(layer, 0))
        elif layer < header.n_layers:
            pins.layers[layer].dense += size
    return pins
