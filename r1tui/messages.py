"""What crosses a process border, in files and over sockets: plans, the server's status and record, requests, jobs."""

import re
from itertools import pairwise
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

import msgspec
from msgspec.json import Decoder

from r1tui.remedies import Remedies, settle

T = TypeVar("T")
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
VERSION = 2
"""Of the state file and the control protocol; raised when an older r1tui could misread them."""

State = Literal["stopped", "starting", "loading", "ready", "sleeping", "restarting", "stopping", "failed"]
ENDED = ("stopped", "failed")
Op = Literal["status", "watch", "stop", "restart", "answer_started", "answer_ended"]


class ProcessId(msgspec.Struct, frozen=True):
    """One process for ever: `start_time` is opaque and differs when the same pid is given out again."""

    pid: int
    start_time: str


class DevicePlan(msgspec.Struct, frozen=True):
    """One device's memory and what the plan puts there, in MiB."""

    name: str = ""
    total_mib: int = 0
    free_mib: int = 0
    weights_mib: int = 0
    kv_mib: int = 0
    compute_mib: int = 0
    pool_mib: int = 0
    """Memory outside all buffers: the process's context, its kernels, and the pool for intermediate data."""
    pci_bus_id: str = ""
    """PCI address of the card; empty if unknown."""

    @property
    def planned_mib(self) -> int:
        """MiB that the plan puts there in total."""
        return self.weights_mib + self.kv_mib + self.compute_mib + self.pool_mib


class HostPlan(msgspec.Struct, frozen=True):
    """The host's memory, in MiB; weights are mapped, which the kernel may drop, the rest is anonymous."""

    total_mib: int = 0
    weights_mib: int = 0
    kv_mib: int = 0
    compute_mib: int = 0
    anonymous_mib: int = 0
    """Cache, compute buffers and the weights that the CPU back end copies."""

    @property
    def planned_mib(self) -> int:
        """MiB that the plan puts there in total."""
        return self.weights_mib + self.kv_mib + self.compute_mib

    @property
    def mapped_weights_mib(self) -> int:
        """The weights that are mapped and not copied."""
        return self.weights_mib - max(0, self.anonymous_mib - self.kv_mib - self.compute_mib)


class Range(NamedTuple):
    """From the worst that is likely to the best."""

    low: float
    high: float


class Speed(msgspec.Struct, frozen=True):
    """Tokens per second of reading a prompt and of writing an answer."""

    prompt: Range
    answer: Range


NO_SPEED = Speed(Range(0.0, 0.0), Range(0.0, 0.0))


def _are_in_a_row(names: list[str]) -> bool:
    """True for three or more such as CUDA0, CUDA1, CUDA2."""
    kind = names[0].rstrip("0123456789") if names else ""
    return len(names) > 2 and names == [f"{kind}{number}" for number in range(len(names))]


class PlanSummary(msgspec.Struct, frozen=True, kw_only=True):
    """The object of `plan --json`; the plan that a server runs by, as all processes know it, of any version."""

    variant: str = ""
    model: str = ""
    strategy: str = ""
    n_gpu_layers: int | None = None
    n_cpu_moe: int | None = None
    ctx_size: int = 0
    cache_type_k: str = ""
    cache_type_v: str = ""
    threads: int = 0
    devices: tuple[DevicePlan, ...] = ()
    host: HostPlan = HostPlan()
    ubatch_size: int = 0
    flash_attn: str = ""
    tensor_split: tuple[int, ...] = ()
    tps: Speed = NO_SPEED
    """Zeros where the speed cannot be known."""
    ttft_s: dict[str, Range | None] = {}
    """Seconds to the first token, by the prompt's tokens; None where they cannot be known, or it does not fit."""
    cost_per_1000_tokens: Range | None = None
    """Of an answer, in the currency of `plan --price`."""
    env: dict[str, str] = {}
    """Variables that llama-server is started with."""
    fits: bool = False
    verdict: str = ""
    source: str = ""
    reasons: tuple[str, ...] = ()
    argv: list[str] = []

    @property
    def placement(self) -> str:
        """Placement in a few words."""
        each = [one.name for one in self.devices if one.planned_mib] or [one.name for one in self.devices]
        names = f"{each[0]} to {each[-1]}" if _are_in_a_row(each) else ", ".join(each)
        if names and self.n_gpu_layers is None:
            said = "llama.cpp places the layers"
        elif not names or not self.n_gpu_layers:
            said = "all on the CPU"
        elif self.verdict == "gpu":
            said = f"all on {names}"
        elif self.n_cpu_moe:
            said = f"{self.n_gpu_layers} layers on {names}, experts of {self.n_cpu_moe} on the CPU"
        else:
            said = f"{self.n_gpu_layers} layers on {names}"
        return f"{said}, weights from disk" if self.verdict == "disk" else said

    @property
    def weights_bytes(self) -> int:
        """The model's size."""
        return (self.host.weights_mib + sum(one.weights_mib for one in self.devices)) << 20

    @property
    def bytes_per_token(self) -> float:
        """Bytes of a token in the cache; 0 if unknown."""
        kv_mib = self.host.kv_mib + sum(one.kv_mib for one in self.devices)
        return (kv_mib << 20) / self.ctx_size if self.ctx_size else 0.0


class FallbackPlan(msgspec.Struct, frozen=True, kw_only=True):
    """The same server with a plan that takes less memory, for when it runs out."""

    argv: list[str]
    plan: PlanSummary | None = None
    words: str = ""
    """Description of what is smaller, for people."""
    spares_host: bool = False
    """True if it takes less of the machine's own memory too, not only of a GPU's."""


class ServerSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a supervisor needs to start a server, and to start it again."""

    version: int = VERSION
    variant: str = ""
    fetched_as: str = ""
    """Name of the model for `r1tui download`; empty for the user's own file."""
    model: str = ""
    argv: list[str] = []
    """llama-server's command, the binary first."""
    socket: str = ""
    """The Unix socket that `argv` makes it listen on."""
    tcp: str | None = None
    """HOST:PORT for other tools, if it listens there too."""
    plan: PlanSummary | None = None
    key_file: str | None = None
    """File for the server's random API key; the supervisor writes it and removes it at the end. None: no key."""
    log_max_mib: int = 64
    owner: ProcessId | None = None
    """The server is for this process and ends with it, unless somebody else's answer is running; None: it stays."""
    restart_delays_s: list[float] = []
    """The waits before it is started again after it ended by itself; one after the last gives up. Empty: never."""
    steady_s: float = 600.0
    """A server that was ready for so long has its earlier failures forgotten."""
    smaller: list[FallbackPlan] = []
    """Plans to try in turn when memory runs out."""
    sleeps: bool = False
    """True if it frees its memory when nobody uses it (`--sleep-idle-seconds`)."""
    silence_s: float = 20.0
    """A ready server that has not said for so long that it is well is shown as hanging."""
    cwd: str | None = None
    """The folder that relative paths in `argv` mean; None: `/`."""


class Ending(msgspec.Struct, frozen=True, kw_only=True):
    """A server that ended and was started again."""

    cause: str
    next: str
    """The reaction, for people."""
    kind: str = ""
    """Of the cause, see `r1tui.server.diagnosis.Kind`."""
    plan: PlanSummary | None = None
    """That it ran by."""


class _WithRemedies(msgspec.Struct, frozen=True):
    """Base of messages with `remedies` and, for older r1tui, a `remedy` in words."""

    def __post_init__(self) -> None:
        settle(self)


class ServerRecord(_WithRemedies, frozen=True, kw_only=True):
    """The state file's content."""

    version: int = VERSION
    spec: ServerSpec = ServerSpec()
    state: State = "stopped"
    supervisor: ProcessId | None = msgspec.field(default=None, name="keeper")
    server: ProcessId | None = None
    boot: str = ""
    started_s: float = 0.0
    """Start of llama-server, by the system's monotonic clock of that boot."""
    ready_s: float | None = None
    """Time it became ready, by the same clock; None: not yet."""
    restarts: int = 0
    """Number of restarts in total."""
    failures: int = 0
    """Number of restarts in a row, without a stable time between them."""
    exit_status: int | None = None
    """Of the last server that ended by itself; negative for a signal, None while unknown."""
    log: str = ""
    log_capped: bool = False
    """True if the older log holds the beginning of this server's."""
    cause: str | None = None
    remedy: str | None = None
    """`remedies` in words; all there is in the file of a version before."""
    remedies: Remedies = ()
    evidence: list[str] = []
    """The lines of the log that the cause rests on."""
    kind: str | None = None
    """Of the cause of a failure, see `r1tui.server.diagnosis.Kind`."""
    endings: list[Ending] = []
    """The last ones, oldest first; `restarts` counts them all."""
    answers: list[str] = []
    """The conversation ids of the answers being generated."""


class Status(_WithRemedies, frozen=True, kw_only=True):
    """Current state of the managed server.

    The first twelve fields, `model_name` and `remedies` are the object of `status --json`.
    """

    state: State = "stopped"
    pid: int | None = None
    supervisor_pid: int | None = msgspec.field(default=None, name="keeper_pid")
    restarts: int = 0
    exit_status: int | None = None
    variant: str | None = None
    endpoint: str | None = None
    uptime_s: float | None = None
    argv: list[str] | None = None
    log: str | None = None
    cause: str | None = None
    remedy: str | None = None
    model: str | None = None
    tcp: str | None = None
    key_file: str | None = None
    plan: PlanSummary | None = None
    answers: list[str] = []
    evidence: list[str] = []
    kind: str | None = None
    endings: list[Ending] = []
    version: int = VERSION
    supervisor_hangs: bool = msgspec.field(default=False, name="keeper_hangs")
    """True if its supervisor was asked and did not answer; no supervisor says so of itself."""
    remedies: Remedies = ()
    load_s: float | None = None
    """Seconds until it became ready; None before."""

    @property
    def model_name(self) -> str | None:
        """Name of the model on the running server: the first alias by alphabet, else its file."""
        if self.pid is None:
            return None
        said = [value for flag, value in pairwise(self.argv or ()) if flag in ("--alias", "-a")]
        aliases = sorted(filter(None, (alias.strip() for value in said for alias in value.split(","))))
        return aliases[0] if aliases else self.model

    @property
    def hangs(self) -> bool:
        """True if a server that was ready has stopped answering, or its supervisor has; `cause` says so."""
        is_silent = self.cause is not None and self.version == VERSION and self.supervisor_pid is not None
        return self.supervisor_hangs or (is_silent and self.state in ("ready", "sleeping"))

    @property
    def comes_up(self) -> bool:
        """True if a supervisor is bringing it up."""
        known = self.supervisor_pid is not None and self.argv is not None  # one that is going has no record any more
        return known and not self.supervisor_hangs and self.state in ("starting", "loading", "restarting")

    @property
    def waits_for_start(self) -> bool:
        """True if its supervisor can start it again now: it hangs, or waits to be started again."""
        return self.hangs or self.state == "restarting"

    @property
    def running(self) -> bool:
        """True if there is a server, or a supervisor that is about to have one."""
        return self.pid is not None or self.supervisor_pid is not None

    @property
    def stray(self) -> bool:
        """True if nobody keeps this server and no file tells what it is: it can be stopped, and no more."""
        return self.pid is not None and self.supervisor_pid is None and self.argv is None

    @property
    def settled(self) -> bool:
        """True if nothing more will happen by itself before somebody uses the server."""
        return self.state in ("stopped", "ready", "sleeping", "failed")

    def as_json(self) -> dict[str, Any]:
        """The object of `status --json`."""
        names = zip(self.__struct_encode_fields__[:12], self.__struct_fields__, strict=False)
        shown = {key: getattr(self, name) for key, name in names}
        return shown | {"model_name": self.model_name, "remedies": msgspec.to_builtins(self.remedies)}


class Version(msgspec.Struct, frozen=True):
    """The version of a line (`v`) or of a state file (`version`), readable in any version."""

    v: int = 0
    version: int = VERSION


class ControlRequest(msgspec.Struct, frozen=True):
    """A client's request."""

    op: Op
    v: int = VERSION
    conversation_id: Annotated[str, msgspec.Meta(pattern=r"^[ -~]{1,256}$")] | None = None


class Reply(_WithRemedies, frozen=True):
    """The supervisor's answer."""

    ok: bool
    status: Status | None = None
    cause: str = ""
    remedy: str = ""
    v: int = VERSION
    remedies: Remedies = ()


class Refusal(_WithRemedies, frozen=True):
    """Reason why a supervisor could not start, for the program that started it."""

    cause: str
    remedy: str = ""
    remedies: Remedies = ()


def decode(raw: bytes | str, kind: "type[T] | Decoder[T]") -> T:
    """Decode JSON; raises msgspec.DecodeError for anything that is not of this kind."""
    try:
        if isinstance(raw, bytes):
            raw.decode()  # msgspec looks at no text that nobody wants: a damaged key would be as if it were not there
        return kind.decode(raw) if isinstance(kind, Decoder) else msgspec.json.decode(raw, type=kind)
    except msgspec.DecodeError:
        raise
    except UnicodeDecodeError as error:
        raise msgspec.DecodeError(f"not UTF-8 at byte {error.start}") from error
    except RecursionError as error:
        raise msgspec.DecodeError("nested too deep") from error
    except (ValueError, OverflowError) as error:
        raise msgspec.DecodeError(str(error)) from error


def decode_own(raw: bytes, kind: "type[T] | Decoder[T]") -> T:
    """As `decode`, for a file of ours: none has a NUL in a text, which a path or a command would not survive."""
    if _NUL.search(raw):
        raise msgspec.DecodeError("it contains a NUL")
    return decode(raw, kind)


def decode_foreign(raw: bytes, kind: "type[T] | Decoder[T]") -> T:
    """Decode JSON of a server, the hub or another program, with U+FFFD for bytes that are not UTF-8.

    Raises msgspec.DecodeError for all that is not of this kind, whatever it is.
    """
    return decode(raw.decode(errors="replace"), kind)
