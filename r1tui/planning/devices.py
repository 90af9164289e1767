"""The engine's devices as the planner wants them."""

from collections.abc import Sequence

from r1tui.config import Config
from r1tui.engine.find import Engine, current_devices
from r1tui.errors import UsageError
from r1tui.machine.hardware import Machine
from r1tui.machine.known_speeds import find_card
from r1tui.plan import Device
from r1tui.plan.capabilities import EngineDevice
from r1tui.plan.rates import DeviceRates, rates_of
from r1tui.plan.request import device_backend
from r1tui.planning.held import HeldMemory


def devices_here(
    config: Config, machine: Machine, engine: Engine | None, held: HeldMemory | None = None
) -> tuple[Device, ...]:
    """The devices that the engine sees; before there is one to ask, those that the driver shows."""
    if engine is not None:
        rpc = config.server.rpc
        if held is not None and held.occupies(rpc):
            there = (*current_devices(engine), *held.workers)
        else:
            there = current_devices(engine, rpc)
        return plan_devices(there, config.server.devices, machine, held)
    return tuple(
        Device(
            f"CUDA{gpu.index}",
            "cuda",
            (gpu.total_bytes or 0) >> 20,
            (gpu.free_bytes or 0) >> 20,
            rates=_device_rates(gpu.name, machine),
        )
        for gpu in machine.gpus
    )


def _device_rates(description: str, machine: Machine) -> DeviceRates | None:
    """The rates of a card of this name: the driver's figure for its memory, else the table's; None: unknown."""
    card = find_card(description)
    for gpu in machine.gpus:
        if gpu.name and gpu.name in description and gpu.memory_gbps and gpu.tflops:
            return DeviceRates(gpu.memory_gbps, card.tflops if card else TENSOR_CORES * gpu.tflops)
    return rates_of(card) if card else None


TENSOR_CORES = 2.0
"""What llama.cpp's kernels reach in prompts, by the single-precision peak, on a card that is not in the table."""


def plan_devices(
    devices: Sequence[EngineDevice],
    chosen: Sequence[str] | None,
    machine: Machine,
    held: HeldMemory | None = None,
) -> tuple[Device, ...]:
    """The engine's devices as the planner wants them; only the chosen ones, in that order. Raises UsageError.

    What our own server has `held` is free for the next one; the rest of the used memory belongs to others.
    """
    ours = held.devices_mib if held else {}
    known = {device.name: device for device in devices}
    for name in chosen or ():
        if name not in known:
            names = ", ".join(known) or "none"
            raise UsageError(f"server.devices: there is no device {name!r}.", f"There are: {names}.")
    return tuple(
        Device(
            device.name,
            backend,
            device.total_mib,
            min(device.total_mib, device.free_mib + ours.get(device.name, 0)),
            rates=_device_rates(device.description, machine),
        )
        for device in (devices if chosen is None else [known[name] for name in chosen])
        if (backend := device_backend(device.name)) is not None
    )
