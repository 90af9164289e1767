"""What llama-server allocated, from its log (at verbosity 4): weights, K/V cache and compute buffers by device."""

import re
from collections.abc import Iterable

from r1tui.plan.capabilities import HOST, Buffers

_SIZE = re.compile(
    r": +(?P<name>[\w\[\].:-]+) +(?:DSV4 .+ )?(?P<kind>model|KV|RS|state|compute) buffer size = +(?P<mib>[\d.]+) MiB"
)
_DEVICE = re.compile(r"using device (?P<name>\w+) \((?P<address>[^)]+)\)")


def read_buffers(lines: Iterable[str]) -> tuple[Buffers, ...]:
    """The buffers of the last load that the log tells of; empty when it tells of none."""
    addresses: dict[str, str] = {}
    sizes: dict[str, dict[str, float]] = {}
    for line in lines:
        if device := _DEVICE.search(line):
            addresses[device["address"]] = device["name"]
        elif found := _SIZE.search(line):
            name, bracket, address = found["name"].partition("[")
            device_name = addresses.get(address.removesuffix("]"), name) if bracket else name.partition("_")[0]
            if name.startswith("CPU") or name.endswith("_Host"):
                device_name = HOST
            if found["kind"] == "model" and any(kinds["compute"] for kinds in sizes.values()):
                sizes.clear()  # it was loaded again: what came before is gone
            kinds = sizes.setdefault(device_name, {"model": 0.0, "KV": 0.0, "compute": 0.0})
            kinds[found["kind"] if found["kind"] in kinds else "KV"] += float(found["mib"])
    return tuple(
        Buffers(name, round(kinds["model"]), round(kinds["KV"]), round(kinds["compute"]))
        for name, kinds in sizes.items()
    )
