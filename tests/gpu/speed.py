"""Sections about time: loading, prompts and answers of a full-size R1, what the bus costs, and what looking costs."""

import sys
from collections.abc import Callable
from dataclasses import asdict
from time import monotonic

from tests.gpu.rig import Rig
from tests.gpu.server import Timings, serving

WHOLE_GIB = 136  # a card of this size and more holds the whole file
CALLS = 100


def full(rig: Rig) -> None:
    """All 61 layers, on the card or with the experts of 32 on the host: both ways to load, memory, speed, the end."""
    held = 0 if rig.card.total_mib() / 1024 > WHOLE_GIB else 32
    arguments = ("-ngl", 62, "-c", 8192, "-ub", 512, "-fa", "auto", *(("-ncmoe", held) if held else ()))
    for mode in ("none", "mmap"):
        if rig.left_s() < 100:
            return
        model = rig.model("mla", 61, random=True)
        with serving(rig, model, *arguments, "--load-mode", mode, wait_s=150) as server:
            if not server.is_ready:
                rig.say(f"full, {mode}: did not start", server.trouble())
                rig.record("full", mode=mode, failed=server.trouble())
                continue
            answers = {n: server.ask(n, 48 if n == 512 else 1) for n in (16, 40, 128, 512, 4096)}
            vram_mib, own_mib = server.grown_mib(), server.own_mib()
            rig.say(
                f"full, {held} layers' experts on the host, {mode}: loaded in {server.load_s:.1f} s, {vram_mib:.0f} MiB"
            )
            rig.say("   prompt t/s", _prompts(answers), f"answer {answers[512].answer_tps:.2f} t/s")
            end = server.end(kill=mode == "mmap")
            rig.say(f"   ended in {end.exit_s:.2f} s, memory free after {end.free_s:.2f} s")
            rig.record(
                "full", mode=mode, held=held, load_s=server.load_s, vram_mib=vram_mib, own_mib=own_mib,
                buffers=[asdict(one) for one in server.buffers()],
                answers={n: asdict(one) for n, one in answers.items()}, end=asdict(end),
            )  # fmt: skip


def hybrid(rig: Rig) -> None:
    """Experts on the host: pageable against pinned memory, and from how many tokens the bus pays."""
    for name, mode, env in (
        ("mapped", "mmap", {}),
        ("pinned", "none", {}),
        ("pinned, bus from 512", "none", {"GGML_OP_OFFLOAD_MIN_BATCH": "512"}),
    ):
        if rig.left_s() < 45:
            return
        arguments = ("-ngl", 99, "-c", 8192, "-ub", 4096, "-b", 4096, "-ncmoe", 24, "-fa", "auto", "--load-mode", mode)
        with serving(rig, rig.model("mla", 24, random=True), *arguments, env=env) as server:
            if not server.is_ready:
                rig.say("hybrid,", name, server.trouble())
                continue
            server.ask(64)
            answers = {n: server.ask(n, 16 if n == 32 else 1) for n in (32, 64, 128, 256, 512, 4096)}
            rig.say(
                f"21 MoE layers on the host, {name}: loaded in {server.load_s:.1f} s; prompt t/s", _prompts(answers)
            )
            rig.record(
                "hybrid", name=name, load_s=server.load_s, answers={n: asdict(one) for n, one in answers.items()}
            )


def graphs(rig: Rig) -> None:
    """CUDA graphs, and the same without."""
    for name, env in (("graphs", {}), ("no graphs", {"GGML_CUDA_DISABLE_GRAPHS": "1"})):
        arguments = ("-ngl", 99, "-c", 4096, "-fa", "auto")
        with serving(rig, rig.model("mla", 12, random=True), *arguments, env=env) as server:
            server.ask(64, 16)
            timings = server.ask(64, 128)
            rig.say(f"12 layers, {name}: {timings.answer_tps:.1f} t/s {timings.error}")
            rig.record("graphs", name=name, timings=asdict(timings))


def jit(rig: Rig) -> None:
    """The first and the second start where the driver compiles PTX, as a build without code for this card needs."""
    cache = rig.work / "jit"
    cache.mkdir(exist_ok=True)
    env = {"CUDA_FORCE_PTX_JIT": "1", "CUDA_CACHE_PATH": str(cache), "CUDA_CACHE_MAXSIZE": str(4 << 30)}
    for turn in ("empty cache", "full cache"):
        if rig.left_s() < 30:
            return
        wait_s = min(200, rig.left_s() - 20)
        arguments = ("-ngl", 99, "-c", 4096, "-fa", "auto")
        with serving(rig, rig.model("mla", 5), *arguments, env=env, wait_s=wait_s) as server:
            began_s = monotonic()
            timings = server.ask(1024, 8, timeout_s=max(20, rig.left_s() - 15))
            prompt_s = monotonic() - began_s
            rig.say(f"JIT, {turn}: ready after {server.load_s:.1f} s, first prompt {prompt_s:.1f} s {timings.error}")
            rig.record("jit", turn=turn, load_s=server.load_s, prompt_s=prompt_s, ready=server.is_ready)


def nvml(rig: Rig) -> None:
    """What each call of the driver's library costs, what the sampler costs, and how fast the bus is."""
    import pynvml  # noqa: PLC0415

    if not rig.card.is_here:
        rig.say("no card:", rig.card.missing)
        return
    handle = pynvml.nvmlDeviceGetHandleByIndex(0)
    for name in ("MemoryInfo", "UtilizationRates", "PowerUsage", "ComputeRunningProcesses", "Name"):
        call: Callable[[object], object] = getattr(pynvml, f"nvmlDeviceGet{name}")
        try:
            began_s = monotonic()
            for _ in range(CALLS):
                call(handle)
            took_ms = (monotonic() - began_s) / CALLS * 1e3
        except pynvml.NVMLError as error:
            rig.say(name, error)
            continue
        rig.say(f"{name}: {took_ms:.3f} ms")
        rig.record("nvml", call=name, ms=took_ms)
    for module, *arguments in (("tests.bench.sampling", "6"), ("r1tui.machine.bus_probe",)):
        said = rig.ask(sys.executable, "-m", module, *arguments)
        rig.say(f"{module}:", said.stdout[-700:].strip(), said.stderr[-300:].strip())
        rig.record(module, said=said.stdout)


def _prompts(answers: dict[int, Timings]) -> str:
    return ", ".join(f"{n}: {one.prompt_tps:.1f}{' ' + one.error if one.error else ''}" for n, one in answers.items())
