"""Sections about memory: what only looking takes, what lies beyond the buffers, our figures, and too little of it."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from subprocess import CalledProcessError, TimeoutExpired
from time import monotonic

from r1tui.config import CacheType
from r1tui.gguf import Header, read_header
from r1tui.plan.layout import MIB, ModelLayout
from r1tui.plan.memory import Model
from r1tui.plan.pool import Pools
from r1tui.server.diagnosis import diagnose
from tests.engine_figures import breakdown
from tests.gpu.ballast import ballast
from tests.gpu.card import Peak
from tests.gpu.rig import File, Rig
from tests.gpu.server import Server, serving, signal_name

QUERY = "name,driver_version,memory.total,memory.used,pcie.link.gen.current,pcie.link.width.current,compute_cap"
MACHINE = "nproc; free -g | sed -n 2p; df -h . | tail -1; ldd --version | head -1; ulimit -l"
SMALL_MIB, SHARE = 64, 0.10
SPARES_MIB = (1200, 250, 40)


def facts(rig: Rig) -> None:
    """The machine, and the memory that a process takes which only lists devices."""
    for command in (
        ("nvidia-smi", f"--query-gpu={QUERY}", "--format=csv"),
        ("sh", "-c", MACHINE),
        (rig.server, "--version"),
    ):
        said = rig.ask(*command)
        rig.say((said.stdout + said.stderr).strip()[:900])
    for turn in ("first", "again"):
        before_mib, began_s = rig.card.used_mib(), monotonic()
        with Peak(rig.card) as peak:
            listed = rig.ask(rig.server, "--list-devices").stdout.strip()
        took_s = monotonic() - began_s
        rig.record("list-devices", turn=turn, s=took_s, vram_mib=peak.mib - before_mib, said=listed)
        rig.say(f"list-devices, {turn}: {took_s:.2f} s, {peak.mib - before_mib:+.0f} MiB;", *listed.splitlines()[-1:])


@dataclass(frozen=True)
class PoolCase:
    """One server of the section `pool`."""

    file: File
    ubatch: int
    type_k: CacheType
    type_v: CacheType
    flash: str
    context: int

    def arguments(self) -> tuple[object, ...]:
        return (
            "-c", self.context, "-ub", self.ubatch, "-b", max(2048, self.ubatch), "-ctk", self.type_k,
            "-ctv", self.type_v, "-fa", self.flash,
        )  # fmt: skip

    def planned_mib(self, header: Header) -> float:
        """What the planner counts beside the buffers."""
        pools, flash = Pools(header, header.n_layers), self.flash != "off"
        return pools.device_bytes("cuda", self.context, self.ubatch, self.type_k, flash_attention=flash) / MIB


POOL = (
    PoolCase("legacy", 512, "q4_0", "f16", "off", 8192),
    PoolCase("legacy", 1024, "q4_0", "f16", "off", 8192),
    PoolCase("legacy", 512, "f16", "f16", "off", 8192),
    PoolCase("mla", 512, "f16", "f16", "auto", 8192),
    PoolCase("mla", 4096, "f16", "f16", "auto", 8192),
    PoolCase("mla", 512, "q4_0", "q4_0", "auto", 8192),
    PoolCase("mla", 512, "f16", "f16", "auto", 65536),
    PoolCase("mla", 512, "f16", "f16", "off", 8192),
)
POOL_SMOKE = (PoolCase("mla", 512, "f16", "f16", "auto", 256),)


def pool(rig: Rig) -> None:
    """Memory beyond the buffers: the context, cuBLAS, kernels loaded when first used, and the pool, which grows."""
    layers, offloaded, short = (1, 0, 8) if rig.smoke else (5, 99, 512)
    quick = ("--no-repack", "--no-warmup") if rig.smoke else ()
    rig.say(
        f"{'file':7}{'ub':>5} {'K':5}{'fa':5}{'ctx':>6}{'load s':>7} | buffers  loaded   idle+ | short   full  grown"
    )
    for case in POOL_SMOKE if rig.smoke else POOL:
        if rig.left_s() < 40:
            return
        with serving(rig, rig.model(case.file, layers), "-ngl", offloaded, *case.arguments(), *quick) as server:
            if not server.is_ready:
                rig.say(case, "did not start", server.trouble())
                rig.record("pool", case=asdict(case), failed=server.trouble())
                continue
            buffers_mib, loaded_mib = server.on_devices_mib(), server.loaded_mib
            server.ask(short)
            after_short_mib = server.grown_mib()
            timings = server.ask(16 if rig.smoke else case.context - 64, 4 if rig.smoke else 32)
            after_full_mib = server.grown_mib()
            planned_mib = case.planned_mib(read_header(rig.model(case.file, layers)))
            rig.say(
                f"{case.file:7}{case.ubatch:5} {case.type_k:5}{case.flash:5}{case.context:6}{server.load_s:7.1f} | "
                f"{buffers_mib:7} {loaded_mib:7.0f} {loaded_mib - buffers_mib:7.0f} | {after_short_mib:5.0f} "
                f"{after_full_mib:6.0f} {after_full_mib - loaded_mib:6.0f} | beside the buffers "
                f"{after_full_mib - buffers_mib:6.0f}, planned {planned_mib:6.0f} | "
                f"prompt {timings.prompt_tps:.0f} t/s, answer {timings.answer_tps:.1f} t/s {timings.error}"
            )
            rig.record(
                "pool", case=asdict(case), load_s=server.load_s, buffers=[asdict(one) for one in server.buffers()],
                loaded_mib=loaded_mib, short_mib=after_short_mib, full_mib=after_full_mib,
                planned_mib=planned_mib, own_mib=server.own_mib(),
                timings=asdict(timings), ended=server.process.poll(),
            )  # fmt: skip


def layouts() -> Iterator[tuple[File, ModelLayout]]:
    """One card, in parts and whole; with experts on the host; two and three cards."""
    files: tuple[File, ...] = ("legacy", "mla")
    for file in files:
        flash, type_k = file == "mla", "f16" if file == "mla" else "q4_0"
        for offloaded, held in ((7, 0), (33, 0), (62, 0), (62, 30), (62, 58), (45, 61)):
            for ubatch in (512, 4096):
                yield file, _layout(offloaded, held, (offloaded,), type_k=type_k, flash=flash, ubatch=ubatch)
        yield file, _layout(62, 30, (62,), context=32768, flash=flash)
        for split in ((31, 31), (20, 20, 22)):
            for held in (0, 30):
                yield file, _layout(62, held, split, flash=flash)
    yield "mla", ModelLayout(62, 30, (62,), 32768, "q4_0", "q4_0", flash_attention=True, ubatch_size=512)
    yield "mla", ModelLayout(62, 58, (62,), 8192, "f16", "f16", flash_attention=True, ubatch_size=512, kv_on_host=True)


def _layout(
    offloaded: int,
    held: int,
    split: tuple[int, ...],
    *,
    context: int = 8192,
    type_k: str = "f16",
    flash: bool,
    ubatch: int = 512,
) -> ModelLayout:
    kind: CacheType = "q4_0" if type_k == "q4_0" else "f16"
    return ModelLayout(offloaded, held, split, context, kind, "f16", flash_attention=flash, ubatch_size=ubatch)


def grid(rig: Rig) -> None:
    """The planner's figures against the CUDA engine's own; several cards are GGML_CUDA_DEVICES' emulation of them."""
    smoke = ModelLayout(0, 0, (), 2048, "f16", "f16", flash_attention=True, ubatch_size=512)
    wanted: list[tuple[File, ModelLayout]] = [("mla", smoke)] if rig.smoke else list(layouts())
    headers = {file: read_header(rig.model(file, 61)) for file in dict(wanted)}

    def measure(job: tuple[File, ModelLayout]) -> list[list[int]] | str:
        file, layout = job
        several = {"GGML_CUDA_DEVICES": str(len(layout.split))} if len(layout.split) > 1 else {}
        try:
            return breakdown(rig.server, rig.model(file, 61), [], layout, {**rig.env, **several})
        except (CalledProcessError, TimeoutExpired, ValueError) as error:
            return f"{error} {getattr(error, 'stderr', '') or ''}"[-300:]

    agreed = 0
    with ThreadPoolExecutor(1 if rig.smoke else 4) as threads:
        for (file, layout), theirs in zip(wanted, threads.map(measure, wanted), strict=True):
            if isinstance(theirs, str):
                rig.say(file, layout, "the engine says nothing:", theirs)
                rig.record("grid", file=file, layout=str(layout), failed=theirs)
                continue
            usage = Model(headers[file], ("cuda",) * len(layout.split)).measure(layout)
            shares = (*usage.devices, usage.host)
            ours = [[round(part / MIB) for part in (s.weights_bytes, s.kv_bytes, s.compute_bytes)] for s in shares]
            rig.record("grid", file=file, layout=str(layout), ours=ours, theirs=theirs)
            if len(ours) == len(theirs) and all(map(_agrees, ours, theirs)):
                agreed += 1
            else:
                rig.say(f"{file} {layout}: ours {ours}, the engine's {theirs} (weights, KV, compute in MiB)")
    rig.say(f"{agreed} of {len(wanted)} layouts agree")


def _agrees(ours: list[int], theirs: list[int]) -> bool:
    """Weights and cache to 2 MiB, compute buffers to 64 MiB or a tenth."""
    weights, cache, compute = (abs(mine - its) for mine, its in zip(ours, theirs, strict=True))
    return weights <= 2 and cache <= 2 and compute <= max(SMALL_MIB, theirs[2] * SHARE)


def oom(rig: Rig) -> None:
    """Too little memory at loading, at a prompt and in cuBLAS: its words, and what our diagnosis makes of them."""
    legacy = rig.model("legacy", 5)
    common = ("-ngl", 99, "-c", 8192, "-ctk", "q4_0", "-fa", "off")
    with ballast(6000), serving(rig, legacy, *common) as server:
        _judge(rig, "weights or cache too large", server)
    with serving(rig, legacy, *common, "-ub", 1024) as server:
        needed_mib = round(max(server.loaded_mib, server.on_devices_mib()))
    for spare_mib in SPARES_MIB:
        if rig.left_s() < 40:
            return
        with ballast(needed_mib + spare_mib), serving(rig, legacy, *common, "-ub", 1024) as server:
            if server.is_ready:
                _look_beside(rig, spare_mib)
                timings = server.ask(8100)
                rig.say(f"spare {spare_mib} MiB: 8,100 tokens:", timings.error or f"{timings.prompt_tps:.0f} t/s")
            _judge(rig, f"spare {spare_mib} MiB after loading", server)


def _look_beside(rig: Rig, spare_mib: int) -> None:
    """What other programs of llama.cpp say beside a full card."""
    listed = rig.ask(rig.server, "--list-devices")
    planned = rig.ask(
        rig.server.with_name("llama-fit-params"), "-m", rig.model("mla", 61), "-ngl", "62", "-ncmoe", "58",
        "-fitp", "on",
    )  # fmt: skip
    rig.say(f"spare {spare_mib} MiB: list-devices beside it:", *listed.stdout.strip().splitlines()[-1:])
    rig.say(
        f"spare {spare_mib} MiB: llama-fit-params beside it: status {planned.returncode}", planned.stdout[:60].strip()
    )
    rig.record(
        "beside", spare_mib=spare_mib, listed=listed.stdout[-200:], errors=listed.stderr[-300:],
        fit_status=planned.returncode, fit=planned.stdout[:200], fit_errors=planned.stderr[-400:],
    )  # fmt: skip


def _judge(rig: Rig, what: str, server: Server) -> None:
    """End what still runs, and say what it died of and what the diagnosis makes of it."""
    status = server.status_within(2.0)
    if status is None:
        server.end()
    found = diagnose(server.lines(), status)
    rig.say(f"{what}: {signal_name(status)}, {found.kind}: {found.cause}")
    for line in server.trouble():
        rig.say("    ", line[:170])
    rig.record("oom", what=what, status=status, found=found.kind, cause=found.cause, lines=server.trouble(10))
