"""The reasons of a plan, in plain sentences."""

from r1tui.config import Strategy
from r1tui.gguf import Header, kv_bytes_per_token
from r1tui.gguf.kv import BLOCKWISE
from r1tui.machine.hardware import CpuLoad
from r1tui.plan.answers import Answers
from r1tui.plan.layout import MIB, MemoryUsage, ModelLayout
from r1tui.plan.request import Device, PlanRequest
from r1tui.plan.search import CLEARLY_FASTER
from r1tui.plan.speed import NEVER_OFFLOAD, Expectation
from r1tui.plan.verdict import Verdict
from r1tui.text import listed, rough, size

BUSY_SHARE = 0.5
"""Share of all CPUs; two are often one core, and every thread of llama.cpp waits for the slowest."""


def placement(
    header: Header,
    layout: ModelLayout,
    strategy: Strategy,
    devices: tuple[Device, ...],
    *,
    given: bool,
    everything: bool,
) -> list[str]:
    if not devices:
        return ["No usable GPU: everything runs on the CPU."]
    used = [device.name for index, device in enumerate(devices) if index in layout.used]
    names, total = ", ".join(used), header.n_layers + 1
    count, held = layout.n_gpu_layers, layout.n_cpu_moe if header.n_experts else 0
    if not count and given:
        return ["Everything runs on the CPU, as requested: no layer goes to a GPU."]
    if not count:
        return [_no_layer(devices), "Everything runs on the CPU."]
    said = []
    if strategy == "rule":
        said.append("Rule of thumb: layers × VRAM ÷ file size, minus four; it ignores the K/V cache.")
    if strategy == "engine" and not given:
        return ["llama.cpp's --fit places the layers when it loads the model."]
    if layout.overrides:
        one = len(layout.overrides) == 1
        rules = "One hand-written rule (-ot) comes" if one else f"{len(layout.overrides)} hand-written rules (-ot) come"
        said.append(f"{rules} before everything else.")
    if everything or (count == total and not held and not layout.overrides):
        said.append(f"All {header.n_layers} layers and the output are on {names}.")
        said += _left_free(devices, layout)
    elif count == total and not held:
        said.append(f"All layers are on {names}, except what your rules put on the host.")
    elif count == total:
        said.append(f"All layers are on {names}; the experts of the first {held} stay in RAM.")
    else:
        said.append(f"{count} of {total} layers (with the output layer) are on {names}, the rest is in RAM.")
        if held > total - count:
            said.append(f"The experts of the first {held} layers stay in RAM.")
    if layout.kv_on_host:
        said.append("The K/V cache stays in RAM: in VRAM it would leave no room for the weights.")
    return said


def _left_free(devices: tuple[Device, ...], layout: ModelLayout) -> list[str]:
    """The reason that names the slower devices without a layer."""
    holder = devices[min(layout.used)]
    others = [
        device.name
        for index, device in enumerate(devices)
        if index not in layout.used and device.likely_gbps * CLEARLY_FASTER <= holder.likely_gbps
    ]
    if len(layout.used) > 1 or not others:
        return []
    are, them, every = ("is", "it", "both") if len(others) == 1 else ("are", "them", "all")
    stay = "stays" if len(others) == 1 else "stay"
    return [
        f"{listed(others)} {are} slower and {stay} free: answers are faster without {them}. A context too long for "
        f"{holder.name} uses {every}."
    ]


def _no_layer(devices: tuple[Device, ...]) -> str:
    if unknown := [device.name for device in devices if not device.total_mib]:
        return f"llama-server cannot read the free VRAM of {', '.join(unknown)}: other programs probably fill it."
    usable = ", ".join(f"{max(device.usable_mib, 0):,.0f} MiB on {device.name}" for device in devices)
    return f"Not even one layer fits into the usable VRAM ({usable})."


def unknown_memory(header: Header) -> str:
    """The reason for uncertain figures of an architecture without a known rule."""
    if header.architecture == BLOCKWISE:
        return "The compute buffers are an upper estimate: only llama.cpp knows how large they are."
    return f"The cache is an estimate: only llama.cpp knows how {header.architecture} stores a token."


def legacy(header: Header, layout: ModelLayout) -> str:
    """The reason that compares an older DeepSeek file's cache with its MLA conversion."""
    tokens = layout.ctx_size
    here = tokens * kv_bytes_per_token(header, layout.type_k, layout.type_v) // MIB
    rotary = header.metadata.get(f"{header.architecture}.rope.dimension_count", 0)
    values = header.kv_lora_rank + (rotary if isinstance(rotary, int) else 0)
    mla = tokens * header.n_layers * values * 2 // MIB
    return (
        f"This is an older file: its cache needs {here:,} MiB with K as {layout.type_k} and V as {layout.type_v}; "
        f"the MLA conversion of the same model needs {mla:,} MiB."
    )


def larger_batch(size: int, cost: int) -> str:
    """The reason for larger batches of prompt tokens."""
    price = f"it costs the experts of {cost} layers" if cost > 1 else "it costs one layer's experts"
    return (
        f"Prompts are computed {size:,} tokens at once. The GPU copies the experts from RAM for each batch, so larger "
        f"batches are several times faster; {price if cost > 0 else 'memory is left for it'}."
    )


def expected_speed(expected: Expectation, *, measured: bool) -> list[str]:
    """The reasons that name the expected speed, or why it is unknown."""
    speed = expected.speed
    if not any(speed.answer):
        return [f"The speed is unknown: {expected.unknown}."]
    why = "estimated from this hardware; answers make it more exact"
    if measured:
        why = "measured on this machine"
    elif expected.guessed:
        why = f"a guess: the speed of {listed(expected.guessed)} is not known"
    prompts = f" and {rough(*speed.prompt)} for prompts" if any(speed.prompt) else ""
    said = [f"Expect {rough(*speed.answer)} tokens/s for answers{prompts} ({why})."]
    waits = [f"{rough(*band)} s for {int(tokens):,} tokens" for tokens, band in expected.ttft_s.items()]
    if waits:
        said.append(f"The first token comes after {' and '.join(waits)} of prompt.")
    if expected.offload_batch is not None:
        said.append(_short_prompts(expected.offload_batch))
    return said


def busy(load: CpuLoad) -> list[str]:
    """The reason that names other programs which take CPUs from the host's part."""
    if load.programs < BUSY_SHARE * load.cpus:
        return []
    cpus = f"{load.cpus} CPUs" if load.cpus > 1 else "its CPU"
    return [f"This machine is busy (load {load.programs:.1f} on {cpus}): expect fewer tokens/s while that lasts."]


def _short_prompts(offload_batch: int) -> str:
    if offload_batch >= NEVER_OFFLOAD:
        return "The CPU computes the experts in RAM for prompts too: the bus was measured slower."
    return (
        f"The GPU copies the experts from RAM over the bus for batches of {offload_batch:,} tokens or more; for "
        "smaller ones the CPU was measured faster."
    )


GROWN_STEP = 1024
"""A context that grows has a multiple of so many tokens."""


def spare(layout: ModelLayout, wanted: int, trained: int, most: int) -> list[str]:
    """The reason that says what memory was used for that was left over: until it, the model or the config ends it."""
    if layout.ctx_size <= wanted:
        return []
    limit, trained = "as many as fit into memory", trained or most
    if layout.ctx_size > min(trained, most) - GROWN_STEP:
        limit = "the limit of `plan.ctx_max`" if most < trained else "the model's training length"
        limit += ": memory is left for it"
    return [f"The context is {layout.ctx_size:,} tokens, {limit}."]


def shortage(verdict: Verdict, usage: MemoryUsage, request: PlanRequest) -> list[str]:
    """The reasons that name what is too small."""
    if verdict == "disk":
        unified = request.unified_mib(share.total_bytes / MIB for share in usage.devices)
        need_bytes, usable_bytes = usage.host.total_bytes + unified * MIB, request.host_usable_mib * MIB
        whose = "The model with its buffers" if unified else "The part in RAM"
        return [
            f"{whose} needs {size(need_bytes)}, and {size(usable_bytes)} can be used: weights are read from disk again "
            "and again, many times slower than RAM."
        ]
    if verdict != "no":
        return []
    said = [
        f"{device.name} would need {share.total_bytes / MIB:,.0f} MiB; {device.usable_mib:,.0f} MiB can be used."
        for device, share in zip(request.devices, usage.devices, strict=True)
        if share.total_bytes > device.usable_mib * MIB
    ]
    shared_mib = request.unified_mib(share.total_bytes / MIB for share in usage.devices)
    needed_mib = usage.host.anonymous_bytes / MIB + shared_mib
    if needed_mib > request.host_usable_mib:
        what = "The GPU's part, cache and buffers" if shared_mib else "Cache and buffers in RAM"
        room = f"{max(request.host_usable_mib, 0):,.0f} MiB can be used"
        said.append(f"{what} need {needed_mib:,.0f} MiB; {room}.")
    return said


def learned(devices: tuple[Device, ...], answers: Answers, layout: ModelLayout) -> list[str]:
    """The reasons that name what loading took here before, or beyond another plan."""
    if answers.source(layout) == "measured":
        return ["The memory was measured when this placement ran on this machine."]
    return [
        needed_more(device.name, more_mib)
        for device, more_mib in zip(devices, answers.unplanned_mib(layout), strict=True)
        if more_mib
    ]


def needed_more(device: str, more_mib: int) -> str:
    return f"{device} keeps {more_mib:,} MiB more free: an earlier run needed it."


def measured_pools(devices: tuple[Device, ...], corrections: tuple[int, ...]) -> list[str]:
    """The reasons that name what earlier runs took beside their buffers."""
    return [
        f"{device.name} takes {abs(error) // MIB:,} MiB {'more' if error > 0 else 'less'} beside its buffers than "
        "computed (measured on this machine)."
        for device, error in zip(devices, corrections, strict=True)
        if abs(error) >= MIB
    ]


def changed(arguments: tuple[str, ...]) -> list[str]:
    """The reason that names arguments which make a plan untrue."""
    return [f"These figures do not count what `extra_args` change: {', '.join(arguments)}."] if arguments else []


def large_pools(devices: tuple[Device, ...], usage: MemoryUsage) -> list[str]:
    """The reasons that name much memory which no buffer shows."""
    large: dict[int, list[str]] = {}
    for device, share in zip(devices, usage.devices, strict=True):
        if share.pool_bytes >= LARGE_POOL:
            large.setdefault(share.pool_bytes // MIB, []).append(device.name)
    return [
        f"{listed(names)} {f'keeps {mib:,} MiB' if len(names) == 1 else f'keep {mib:,} MiB each'} for what no buffer "
        "shows: the process, and copies that grow with the conversation."
        for mib, names in large.items()
    ]


LARGE_POOL = 1 << 30


def shared_memory(devices: tuple[Device, ...]) -> list[str]:
    """The reason that names devices without memory of their own."""
    names = [device.name for device in devices if device.unified]
    verb = "shares" if len(names) == 1 else "share"
    return [f"{listed(names)} {verb} the machine's memory, which is counted once."] if names else []
