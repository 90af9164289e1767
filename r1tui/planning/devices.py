"""The engine's devices as the planner wants them."""

import re
from collections.abc import Sequence
from dataclasses import replace

from r1tui.config import Config
from r1tui.engine.find import Engine, current_devices
from r1tui.errors import UsageError
from r1tui.machine.hardware import Machine
from r1tui.machine.known_speeds import CARDS, find_card
from r1tui.machine.nvml import Gpu
from r1tui.plan import Device, DeviceBackend
from r1tui.plan.capabilities import EngineDevice
from r1tui.plan.rates import DeviceRates, rates_of
from r1tui.plan.request import device_backend
from r1tui.planning.held import HeldMemory

INTEGRATED = re.compile(
    r"\b(?:GB10|Thor|Orin|Xavier|Tegra|MI300A)\b|^Apple\b"
    r"|Radeon(?:\(TM\))? (?:Graphics|[678]\d0M|80[456]0S|(?:RX )?Vega (?:\d|1[01])\b)|\bgfx115\d\b"
    r"|Iris|Intel\(R\) (?:UHD |HD )?Graphics(?! \((?:DG|BMG))|Arc\(TM\) (?:Graphics|1\d0[TV])|Adreno|Mali-|\bV3D\b",
    re.IGNORECASE,
)
"""Names of GPUs that use the machine's memory: NVIDIA's GB10 and Jetsons, Apple's, AMD's, Intel's, those of phones."""
CONTEXT_MIB = 1024
"""No process's context takes more; it is what the engine finds missing beside what the driver calls free."""


def devices_here(
    config: Config, machine: Machine, engine: Engine | None, held: HeldMemory | None = None
) -> tuple[Device, ...]:
    """The devices that the engine sees; before there is one to ask, those that it would see."""
    if engine is not None:
        rpc = config.server.rpc
        if held is not None and held.occupies(rpc):
            there = (*current_devices(engine), *held.workers)
        else:
            there = current_devices(engine, rpc)
    else:
        there = tuple(
            EngineDevice(f"CUDA{number}", gpu.name, (gpu.total_bytes or 0) >> 20, (gpu.free_bytes or 0) >> 20)
            for number, gpu in enumerate(machine.gpus)
        )
    return plan_devices(there, config.server.devices, machine, held)


def plan_devices(
    devices: Sequence[EngineDevice],
    chosen: Sequence[str] | None,
    machine: Machine,
    held: HeldMemory | None = None,
) -> tuple[Device, ...]:
    """The engine's devices as the planner wants them; only the chosen ones, in that order. Raises UsageError.

    What our own server has `held` is free for the next one; the rest of the used memory belongs to others.
    """
    known = {device.name: device for device in devices}
    for name in chosen or ():
        if name not in known:
            names = ", ".join(known) or "none"
            raise UsageError(f"server.devices: unknown device {name!r}.", f"Devices: {names}.")
    return tuple(
        _plan_device(device, backend, machine, held)
        for device in (devices if chosen is None else [known[name] for name in chosen])
        if (backend := device_backend(device.name)) is not None
    )


def imagined_devices(
    totals_mib: Sequence[int], names: str, backend: DeviceBackend, *, unified: bool
) -> tuple[Device, ...]:
    """Devices of these sizes with nothing on them."""
    return tuple(Device(f"{names}{n}", backend, mib, mib, unified=unified) for n, mib in enumerate(totals_mib))


def is_one_memory(totals_mib: Sequence[int], host_mib: int | None, backend: DeviceBackend) -> bool:
    """True if an imagined GPU and host share their memory: Apple's do, and a GPU of a size that no card has, with just
    as much memory named beside it, is a GB10, a Jetson or a Strix Halo."""
    if backend == "metal" or host_mib is None:
        return backend == "metal"
    cards = [card for card in CARDS if card.usual and not card.shares_memory]
    a_card_s = any(abs(card.memory_gib * 1024 / host_mib - 1) < SAME_SIZE for card in cards)
    return backend != "rpc" and list(totals_mib) == [host_mib] and not a_card_s


SAME_SIZE = 0.05


def _plan_device(device: EngineDevice, backend: DeviceBackend, machine: Machine, held: HeldMemory | None) -> Device:
    card = _card(device, machine)
    unified = _is_unified(device, backend, card, machine)
    total_mib, free_mib = device.total_mib, device.free_mib
    if unified:
        host_total_mib, host_free_mib = machine.memory_total_bytes >> 20, machine.memory_available_bytes >> 20
        total_mib = min(total_mib or host_total_mib, host_total_mib)
        free_mib = min(free_mib if device.total_mib else host_free_mib, host_free_mib)
    elif card is not None and card.total_bytes and card.free_bytes is not None:
        told_mib = card.free_bytes >> 20
        if not total_mib or free_mib <= told_mib <= free_mib + CONTEXT_MIB:  # the asking process's context is no more
            total_mib, free_mib = total_mib or card.total_bytes >> 20, told_mib
    elif not total_mib and held is not None:  # no context fits beside what our own server holds
        total_mib = held.totals_mib.get(device.name, 0)
    ours_mib = held.devices_mib.get(device.name, 0) if held else 0
    made = Device(
        device.name, backend, total_mib, min(total_mib, free_mib + ours_mib), rates=_rates(device, card, machine)
    )
    return replace(made, pci_bus_id=card.pci_bus_id if card else "", unified=unified)


def _card(device: EngineDevice, machine: Machine) -> Gpu | None:
    """The driver's card for a CUDA device: of its number in CUDA's order, unless another card alone has its name."""
    number = device.name.removeprefix("CUDA")
    if not device.name.startswith("CUDA") or not number.isdecimal():
        return None
    named = [gpu for gpu in machine.gpus if gpu.name and gpu.name in device.description]
    numbered = machine.gpus[int(number)] if int(number) < len(machine.gpus) else None
    if numbered in named:
        return numbered
    return named[0] if len(named) == 1 else None


def _is_unified(device: EngineDevice, backend: DeviceBackend, card: Gpu | None, machine: Machine) -> bool:
    if card is not None and card.unified:
        return True
    if backend == "rpc" or not INTEGRATED.search(device.description):
        return False
    apart = device.total_mib > machine.memory_total_bytes >> 20  # set aside by the firmware: the host never had it
    return backend in ("cuda", "metal") or not apart


def _rates(device: EngineDevice, card: Gpu | None, machine: Machine) -> DeviceRates | None:
    """The rates of a card of this name: the driver's figure for its memory, else the table's; None: unknown."""
    in_table = find_card(device.description)
    named = (gpu for gpu in machine.gpus if gpu.name and gpu.name in device.description)
    gpu = card or next(named, None)
    if gpu is not None and gpu.memory_gbps and gpu.tflops:
        return DeviceRates(gpu.memory_gbps, in_table.tflops if in_table else TENSOR_CORES * gpu.tflops)
    return rates_of(in_table) if in_table else None


TENSOR_CORES = 2.0
"""What llama.cpp's kernels reach in prompts, by the single-precision peak, on a card that is not in the table."""
