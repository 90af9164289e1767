"""A finished plan: the figures for `r1tui plan --json`, the arguments for llama-server, the reasons for a person."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import msgspec

from r1tui.config import CacheType, Strategy
from r1tui.messages import NO_SPEED, DevicePlan, HostPlan, PlanSummary, Range, Speed
from r1tui.plan.answers import EngineAnswer, Source
from r1tui.plan.cache import FlashAttention
from r1tui.plan.capabilities import Capabilities
from r1tui.plan.layout import ModelLayout
from r1tui.plan.verdict import IN_MEMORY, Verdict

DEFAULT_BATCH = 2048  # llama-server's --batch-size
DEFAULT_CACHE_RAM_MIB = 8192  # llama-server's --cache-ram
FIRST_TOKEN_PROMPTS = ("512", "8192")
"""Tokens of the prompts whose time to the first token a plan names."""
OFFLOAD_VARIABLE = "GGML_OP_OFFLOAD_MIN_BATCH"


@dataclass(frozen=True)
class Plan:
    """A placement of the model. `n_gpu_layers` counts the output layer; both are None where llama.cpp decides."""

    layout: ModelLayout
    """Placement of these figures."""
    strategy: Strategy
    n_gpu_layers: int | None
    n_cpu_moe: int | None
    ctx_size: int
    cache_type_k: CacheType
    cache_type_v: CacheType
    threads: int
    devices: tuple[DevicePlan, ...]
    host: HostPlan
    ubatch_size: int
    flash_attn: FlashAttention
    tensor_split: tuple[int, ...]
    """Layers on each device, where there are several."""
    verdict: Verdict
    repack: bool
    """True if the CPU may copy weights into a layout of its own."""
    reasons: tuple[str, ...]
    kv_on_host: bool = False
    """True if the whole cache is kept in the host's memory."""
    overrides: tuple[str, ...] = ()
    """The user's -ot rules."""
    cache_ram_mib: int | None = None
    """For prompts that llama-server keeps on the host; None: its default."""
    numa: bool = False
    """True if the host's part is spread over several memory nodes."""
    as_given: bool = False
    """True if the user gave the layers by hand, and takes what comes."""
    speed: Speed = NO_SPEED
    """Tokens per second to expect; zeros where that cannot be known."""
    ttft_s: Mapping[str, Range] = field(default_factory=dict)
    """Seconds to the first token, by the prompt's tokens."""
    offload_batch: int | None = None
    """The prompt's tokens from which a GPU fetches what lies on the host; None: llama.cpp's own number."""
    source: Source = "estimate"
    margins_mib: tuple[int, ...] = ()
    """Left free on each device."""
    shortage: tuple[str, ...] = ()
    """The reasons that name what is too small."""
    why: tuple[str, ...] = ()
    """The reasons that are of the search for the layout."""
    answers: tuple[EngineAnswer, ...] = ()
    """What the engine said on the way to it."""
    read_whole: tuple[Verdict, ...] = ()
    """The verdicts with which weights are read into memory and not mapped: where GPUs have memory of their own."""
    disk_mib: int = 0
    """The host's weights that RAM has no room for, and that are read from disk for each token."""
    repack_mib: int = 0
    """The host's weights that the CPU copies into a layout of its own."""

    @property
    def load_mode(self) -> Literal["auto", "mmap", "none"]:
        """Load mode of the weights: mapped ones can be dropped, read ones lie in pinned memory, which GPUs copy from
        at full speed."""
        if self.verdict == "disk":
            return "mmap"
        return "none" if self.verdict in self.read_whole else "auto"

    def mapped(self) -> "Plan":
        """The same with weights that are mapped from the file, which the kernel may drop."""
        return replace(self, read_whole=()).with_anonymous()

    def with_anonymous(self) -> "Plan":
        """The plan with the host's anonymous memory by the way in which its weights are loaded."""
        weights_mib = max(self.host.weights_mib, self.repack_mib) if self.load_mode == "none" else self.repack_mib
        anonymous_mib = self.host.kv_mib + self.host.compute_mib + weights_mib
        return replace(self, host=msgspec.structs.replace(self.host, anonymous_mib=anonymous_mib))

    @property
    def on_devices_mib(self) -> int:
        return sum(device.planned_mib for device in self.devices)

    @property
    def in_ram_mib(self) -> int:
        """MiB on the host, without what stays on disk."""
        return self.host.planned_mib - self.disk_mib

    @property
    def fits(self) -> bool:
        """True if everything has its place in memory; a model that streams from disk has not."""
        return self.verdict in IN_MEMORY

    def beats(self, other: "Plan") -> bool:
        """True if it keeps more on the devices than the other, or a context that is longer by a tenth."""
        mine, its = self._rank, other._rank
        return mine > its or (mine == its and self.ctx_size > other.ctx_size * 1.1)

    @property
    def _rank(self) -> tuple[int, ...]:
        verdicts: tuple[Verdict, ...] = ("no", "disk", "cpu", "hybrid", "gpu")
        layout = self.layout
        return (
            verdicts.index(self.verdict),
            -layout.kv_on_host,
            layout.n_gpu_layers - layout.n_cpu_moe,
            layout.batch_size,
        )

    @property
    def can_start(self) -> bool:
        """True if it is worth starting: all but the weights that can be read from disk has its place."""
        return self.verdict != "no" or self.as_given

    def because(self, *reasons: str) -> "Plan":
        return replace(self, reasons=(*self.reasons, *reasons))

    def summary(self, variant: str = "", model: str = "", argv: Sequence[str] = ()) -> PlanSummary:
        """The object of `r1tui plan --json`, with what the caller knows."""
        ours = {name: getattr(self, name) for name in PlanSummary.__struct_fields__ if hasattr(self, name)}
        ours["tps"] = self.speed
        ours["ttft_s"] = {name: self.ttft_s.get(name) for name in FIRST_TOKEN_PROMPTS}
        if self.offload_batch is not None:
            ours["env"] = {OFFLOAD_VARIABLE: str(self.offload_batch)}
        return PlanSummary(**ours, variant=variant, model=model, argv=list(argv))

    def arguments(self, capabilities: Capabilities | None = None) -> list[str]:
        """llama-server's arguments for this plan; of optional ones only those that the binary has."""
        arguments: list[str] = []
        for flag, value in self._flags().items():
            if capabilities is None or capabilities.accepts(flag):
                arguments += [flag] if value is None else [flag, str(value)]
            elif (flag, value) == ("--load-mode", "none") and capabilities.accepts("--no-mmap"):
                arguments.append("--no-mmap")  # older builds
        return arguments

    def _flags(self) -> dict[str, str | int | None]:
        flags: dict[str, str | int | None] = {
            "--ctx-size": self.ctx_size,
            "--parallel": 1,
            **({"--threads": self.threads, "--threads-batch": self.threads} if self.threads else {}),
            "--cache-type-k": self.cache_type_k,
            "--cache-type-v": self.cache_type_v,
            "--flash-attn": self.flash_attn,
            "--ubatch-size": self.ubatch_size,
        }
        if self.ubatch_size > DEFAULT_BATCH:
            flags["--batch-size"] = self.ubatch_size
        if self.cache_ram_mib is not None:
            flags["--cache-ram"] = self.cache_ram_mib
        if self.numa:
            flags["--numa"] = "distribute"
        if self.overrides:  # before --n-cpu-moe: llama.cpp takes the first rule that is found in a name
            flags["--override-tensor"] = ",".join(self.overrides)
        if self.n_gpu_layers is None:
            pairs = zip(self.margins_mib, self.devices, strict=True)  # llama.cpp counts buffers alone
            targets = ",".join(str(margin_mib + device.pool_mib) for margin_mib, device in pairs)
            return flags | {"--fit": "on", "--fit-target": targets or 0}
        flags |= {"--fit": "off", "--n-gpu-layers": self.n_gpu_layers}
        if self.n_cpu_moe:
            flags["--n-cpu-moe"] = self.n_cpu_moe
        if len(self.tensor_split) > 1:
            flags["--tensor-split"] = ",".join(map(str, self.tensor_split))
        if self.kv_on_host:
            flags["--no-kv-offload"] = None
        if self.verdict == "disk":  # a warm-up would read all experts once, for nothing: they do not stay
            flags["--no-warmup"] = None
        if self.load_mode != "auto":
            flags["--load-mode"] = self.load_mode
        if not self.repack:
            flags["--no-repack"] = None
        return flags
