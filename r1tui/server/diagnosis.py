"""Why llama-server ended: from the lines of its log and its exit status to a cause and a remedy, in plain words."""

import re
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from r1tui.errors import R1tuiError
from r1tui.remedies import (
    Advice,
    AnyRemedy,
    BuildEngine,
    CheckMachine,
    FetchModel,
    ListModels,
    Remedies,
    Run,
    ShowLog,
    ShowPlan,
    StartServer,
    StopServer,
    with_variant,
)
from r1tui.text import plain

EVIDENCE_LINES = 6
_LESS_MEMORY = (Advice("A smaller context (`plan.ctx_size`) or a smaller model needs less."), ListModels())


Kind = Literal["gpu_memory", "memory", "lasting", "passing"]
"""A want of memory (a GPU's or the machine's own), what a new start would meet again, and what it need not."""
MEMORY_KINDS = ("gpu_memory", "memory")


@dataclass(frozen=True)
class Diagnosis:
    """Cause and remedies of a failure, with the log lines that show it."""

    cause: str
    remedies: Remedies
    evidence: tuple[str, ...] = ()
    kind: Kind = "passing"

    @property
    def gpu(self) -> str:
        """The GPU whose memory ran out, by its name (`RPC0`) or number; empty where the lines do not say it."""
        found = (_GPU.search(line) for line in self.evidence if self.kind == "gpu_memory")
        return next((next(filter(None, match.groups())) for match in found if match), "")


@dataclass(frozen=True)
class Rule:
    """A line that tells the cause. The rules are tried in order, each on all lines: the first match of all counts."""

    pattern: re.Pattern[str]
    explain: Callable[[re.Match[str]], R1tuiError]
    kind: Kind = "lasting"


def diagnose(
    log_lines: Sequence[str], exit_status: int | None, *, oom_killed: bool = False, variant: str = ""
) -> Diagnosis:
    """The cause of an end that nobody asked for; `exit_status` is negative for a signal, None when it is unknown.

    `oom_killed` says that the kernel has just killed something for want of memory; `variant` is what remedies call the
    model, where it is one that can be fetched.
    """
    found = _diagnose(log_lines, exit_status, oom_killed=oom_killed)
    return replace(found, remedies=with_variant(found.remedies, variant))


def _diagnose(log_lines: Sequence[str], exit_status: int | None, *, oom_killed: bool) -> Diagnosis:
    lines = list(_without_recovered(plain(line).rstrip() for line in log_lines))
    if any(_LOADED.search(line) for line in lines):  # on the CPU alone: why it ended is something else
        lines = [line for line in lines if not _NO_GPU.search(line)]
    if exit_status == -signal.SIGKILL:
        return _as_diagnosis(_killed(oom_killed), lines[-EVIDENCE_LINES:], "memory" if oom_killed else "passing")
    for rule in RULES:
        for number, line in enumerate(lines):
            if match := rule.pattern.search(line):
                kind = _memory_kind(line) if rule.explain is _out_of_memory else rule.kind
                return _as_diagnosis(rule.explain(match), _around(lines, number), kind)
    first_error = next((number for number, line in enumerate(lines) if _ERROR.search(line)), None)
    evidence = _around(lines, first_error) if first_error is not None else tuple(lines[-EVIDENCE_LINES:])
    error = _explain_exit(exit_status)
    if first_error is not None:
        error = R1tuiError(f"{error.cause} Its first error: {message(lines[first_error])}", *error.remedies)
    return _as_diagnosis(error, evidence, "lasting" if exit_status == -signal.SIGILL else "passing")


def _as_diagnosis(error: R1tuiError, evidence: Sequence[str], kind: Kind) -> Diagnosis:
    return Diagnosis(error.cause, error.remedies, tuple(evidence), kind)


def left_on_cpu(log_lines: Sequence[str]) -> R1tuiError | None:
    """Cause and remedies if a server planned for a GPU runs on the CPU only; None if no line says so."""
    line = next((message(plain(line)) for line in log_lines if _NO_GPU.search(line)), None)
    if line is None:
        return None
    found = ((rule, match) for rule in RULES if (match := rule.pattern.search(line)))
    return next((rule.explain(match) for rule, match in found), R1tuiError(f"{line}.", CheckMachine()))


def message(line: str) -> str:
    """Text of a log line, without its time and level."""
    return _PREFIX.sub("", line).strip()


def level(line: str) -> Literal["error", "warning", "other"]:
    """Level of a log line: llama-server's own, else by its words."""
    if (given := _LEVEL.match(line)) is not None:
        return _LEVELS.get(given[1], "other")
    if _ERROR.search(line):
        return "error"
    return "warning" if re.search(r"\bwarn(?:ing)?\b", line, re.IGNORECASE) else "other"


_LEVEL = re.compile(r"^\d+\.\d\d\.\d{3}\.\d{3} ([IWED]) ")
_LEVELS: dict[str, Literal["error", "warning", "other"]] = {"E": "error", "W": "warning"}
_PREFIX = re.compile(r"^(?:\d+\.\d\d\.\d{3}\.\d{3} )?(?:[IWED] )?(?:(?:srv|cmn|slot) +)?")
_ERROR = re.compile(
    r"^\d+\.\d\d\.\d{3}\.\d{3} E |\berror\b|\bfailed\b|\bFatal signal\b|\babort|GGML_ASSERT", re.IGNORECASE
)
_NO_GPU = re.compile(
    r"failed to initialize (?:CUDA|ROCm|Vulkan)|no usable GPU found|lib(?:cuda|cudart|cublas)\S*: cannot open",
    re.IGNORECASE,
)
_LOADED = re.compile(r"\bmodel loaded\b")
_CUBLAS_MEMORY = r"the resource allocation failed|the library was not initialized|(?:ALLOC_FAILED|NOT_INITIALIZED)\b"
"""What cuBLAS says where its handle or workspace finds no memory: ALLOC_FAILED and NOT_INITIALIZED in words."""
_MEMORY = re.compile(
    r"out of memory|cudaMalloc failed|(?:failed|unable) to allocate|insufficient memory|std::bad_alloc"
    rf"|ErrorOutOf(?:Device|Host)Memory|(?:CUDA|ROCm) error: .*(?:{_CUBLAS_MEMORY})",
    re.IGNORECASE,
)


_GPU = re.compile(r"allocate ([A-Za-z]+\d+) buffer|on device (\d+)|current device: (\d+)")


def _without_recovered(lines: Iterator[str]) -> Iterator[str]:
    """The lines but for a want of memory that llama.cpp itself got over by doing without pipeline parallelism."""
    held: list[str] = []
    for line in lines:
        if "retrying without pipeline parallelism" in line:
            held = []
        elif _MEMORY.search(line):
            held.append(line)
        else:
            yield from held
            held = []
            yield line
    yield from held


def _around(lines: Sequence[str], number: int) -> tuple[str, ...]:
    return tuple(lines[max(number - 1, 0) : number - 1 + EVIDENCE_LINES if number else EVIDENCE_LINES])


def _socket_or_port(match: re.Match[str]) -> R1tuiError:
    host, port = match[1], match[2]
    if host.endswith(".sock"):
        return R1tuiError(
            f"llama-server cannot listen on {host}: the file exists already, or its folder cannot be written.",
            "Remove the socket of an earlier server.",
            StopServer(),
        )
    return R1tuiError(
        f"Port {port} on {host} is in use by another program.",
        "Set `server.tcp` (or `--tcp`) to another port; 127.0.0.1:0 takes a free one.",
    )


def _memory_kind(line: str) -> Kind:
    on_gpu = re.search(r"cuda|hip|rocm|vulkan|metal|sycl|\bRPC\d|on device \d|OutOfDevice|kIOGPU", line, re.IGNORECASE)
    return "gpu_memory" if on_gpu else "memory"


def _out_of_memory(match: re.Match[str]) -> R1tuiError:
    if _memory_kind(match.string) == "gpu_memory":
        return R1tuiError(
            "A GPU has too little free VRAM for this plan.",
            "Lower `plan.n_gpu_layers` or raise `plan.n_cpu_moe`.",
            ShowPlan(),
            *_LESS_MEMORY,
            Run("nvidia-smi", "shows which programs use the GPU"),
        )
    return R1tuiError(
        "This machine has too little free memory for this plan.",
        "Close other programs that use memory.",
        *_LESS_MEMORY,
        ShowPlan(),
    )


def _lost_worker(match: re.Match[str]) -> R1tuiError:
    return R1tuiError(
        f"The RPC worker {match[1]} does not answer.".replace("  ", " "),
        Run("ggml-rpc-server", "must run there"),
        "Check the address in `server.rpc`.",
    )


def _model_file(what: str, *remedies: str | AnyRemedy) -> Callable[[re.Match[str]], R1tuiError]:
    def explain(match: re.Match[str]) -> R1tuiError:
        named = next((group for group in match.groups() if group), None)
        return R1tuiError(what.format(named or "The model's file"), *remedies)

    return explain


_FETCH = FetchModel(verify=True)
_DRIVER = (
    Run("nvidia-smi", "shows the driver and its newest CUDA version"),
    "Update the driver, or build for the CUDA version it supports.",
    BuildEngine(),
)

RULES: tuple[Rule, ...] = tuple(
    Rule(re.compile(pattern), explain, "passing" if explain is _lost_worker else "lasting")
    for pattern, explain in (
        (
            r"error: invalid argument: (\S+)",
            lambda match: R1tuiError(
                f"llama-server does not know the argument {match[1]}.",
                "Remove it from `extra_args` in config.yaml, or build the engine version that r1tui is tested with.",
                BuildEngine(),
            ),
        ),
        (
            r"system not yet initialized",  # cudaErrorSystemNotReady, 802
            lambda _: R1tuiError(
                "CUDA is not ready: GPUs with NVSwitch need the fabric manager, which is probably not running.",
                Run("systemctl status nvidia-fabricmanager", "shows its state"),
                Run("sudo systemctl enable --now nvidia-fabricmanager", "starts it now and at every boot"),
                "Its version must equal the driver's. In a container, start it on the host.",
            ),
        ),
        (
            r"unsupported display driver / cuda driver combination",  # cudaErrorSystemDriverMismatch, 803
            lambda _: R1tuiError(
                "CUDA's driver library (libcuda.so.1) and the NVIDIA driver in the kernel have different versions.",
                "After a driver update, restart the machine.",
                "Remove cuda-compat from LD_LIBRARY_PATH.",
                Run("nvidia-smi", "runs without an error when the versions match"),
            ),
        ),
        (
            r'error while handling argument "([^"]+)": (.*)',
            lambda match: R1tuiError(
                f"llama-server does not accept the value of {match[1]}: {match[2].strip()}.",
                "Correct it in config.yaml.",
                Run("r1tui doctor", "lists this machine's devices"),
            ),
        ),
        (r"couldn't bind HTTP server socket, hostname: (.+), port: (\d+)", _socket_or_port),
        (
            r"model does not support different K \((\w+)\) and V \((\w+)\) cache types",
            lambda match: R1tuiError(
                f"This model needs one type for both caches; K is {match[1]} and V is {match[2]}.",
                "Set `plan.cache_type_k` and `plan.cache_type_v` to the same type, or remove both.",
            ),
        ),
        (
            r"(?:Failed to connect to|failed to connect to|RPC server crashed|Remote RPC server)\s*([^\s,]*)",
            _lost_worker,
        ),
        (
            r"CUDA driver version is insufficient|unsupported toolchain|no kernel image is available"
            r"|CUDA driver is a stub|forward compatibility was attempted|device kernel image is invalid",
            lambda match: R1tuiError(f"The NVIDIA driver and this build's CUDA do not match: {match[0]}.", *_DRIVER),
        ),
        (
            r"uncorrectable ECC error",  # cudaErrorECCUncorrectable, 214
            lambda _: R1tuiError(
                "A GPU reported a VRAM error that it cannot correct (ECC).",
                Run("nvidia-smi -q -d ECC,ROW_REMAPPER", "shows which GPU it is"),
                "Restart the machine: the GPU then replaces the bad rows. Replace the card if the error comes back.",
            ),
        ),
        (
            r"error while loading shared libraries: ([^\s:]+)",
            lambda match: R1tuiError(
                f"llama-server cannot start without {match[1]}, which is not on this machine.",
                "Install the package with this library, or build for this machine.",
                BuildEngine(),
            ),
        ),
        (
            r"quantized V cache (?:requires flash_attn|was requested)",
            lambda _: R1tuiError(
                "A quantised V cache needs flash attention, and it is off.",
                "Remove `plan.cache_type_v`, or set it to f16.",
            ),
        ),
        (
            r"the supplied chat template is not supported|failed to (?:initialize|apply) (?:chat )?template",
            lambda _: R1tuiError(
                "llama-server cannot use the chat template.",
                "Remove `--chat-template-file` and `--chat-template` from `extra_args` to use the model's own.",
            ),
        ),
        (r"(?i:" + _MEMORY.pattern + ")", _out_of_memory),
        (
            r"failed to open GGUF file '([^']*)' \(No such file",
            _model_file("{} does not exist.", FetchModel(), "Or correct the path."),
        ),
        (
            r"failed to open GGUF file '([^']*)'",
            _model_file("{} cannot be read.", "Make it readable for this user."),
        ),
        (
            r"data is not within the file bounds|failed to read key-value pairs|failed to read tensor|corrupted model",
            _model_file("{} is incomplete or damaged.", _FETCH),
        ),
        (
            r"invalid magic characters|failed to read magic",
            _model_file("{} is not a GGUF file.", _FETCH),
        ),
        (
            r"tensor '([^']*)' has invalid data",
            lambda match: R1tuiError(
                f"The model's file is damaged: {match[1]} contains values that are not numbers.", _FETCH
            ),
        ),
        (
            r"illegal split file|invalid split|failed to load GGUF split",
            _model_file("{} is one of several files; the others are missing or incomplete.", _FETCH),
        ),
        (
            r"unknown model architecture: '([^']*)'",
            lambda match: R1tuiError(f"This llama-server does not know the architecture `{match[1]}`.", BuildEngine()),
        ),
    )
)


def _killed(oom_killed: bool) -> R1tuiError:
    if oom_killed:
        return R1tuiError(
            "The system killed llama-server because memory ran out.",
            "Close other programs that use memory.",
            *_LESS_MEMORY,
        )
    return R1tuiError(
        "llama-server was killed, most likely by a person, or by the system because memory ran out.",
        Run("dmesg | grep -i oom", "tells"),
        *_LESS_MEMORY,
    )


def _explain_exit(exit_status: int | None) -> R1tuiError:
    logs = (ShowLog(), StartServer())
    if exit_status is None:
        return R1tuiError("llama-server ended for an unknown reason: its supervisor had been killed.", *logs)
    if exit_status == -signal.SIGILL:
        return R1tuiError(
            "llama-server was built for another CPU: it uses an instruction that this one lacks.",
            BuildEngine(),
        )
    if exit_status < 0:
        try:
            name = signal.Signals(-exit_status).name
        except ValueError:
            name = f"signal {-exit_status}"
        return R1tuiError(f"llama-server was ended by {name}.", *logs)
    return R1tuiError(f"llama-server ended by itself with exit status {exit_status}.", *logs)
