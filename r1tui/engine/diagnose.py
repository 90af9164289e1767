"""The cause of a failed build: the first compiler error in its output, in words, and the remedy."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from r1tui.engine.system import install_command
from r1tui.errors import R1tuiError
from r1tui.remedies import BuildEngine

KILLED = re.compile(
    r"Killed signal terminated program|internal compiler error: Killed|died due to signal 9|virtual memory exhausted"
    r"|out of memory allocating|LLVM ERROR: out of memory|: cannot allocate memory"
    r"|throwing an instance of 'std::bad_alloc'|\bKilled$",
    re.IGNORECASE | re.MULTILINE,
)
QUOTED = re.compile(r"\s*\d*\s*\|")  # source code that a compiler shows below its message
FULL = re.compile(r"No space left on device|Disk quota exceeded")
COMPILE = re.compile(r"^(?P<where>[^\s:][^:]*:\d+(?::\d+)?): (?:fatal )?error: (?P<what>.+)$")
NVCC = re.compile(r"^(?P<where>[^\s(]+\(\d+\)): (?:catastrophic )?error:? (?P<what>.+)$")
NVCC_FATAL = re.compile(r"^nvcc (?:fatal|error) *: *(?P<what>.+)$")
HEADER = re.compile(r"^(?P<header>\S+): No such file or directory|'(?P<quoted>[^']+)' file not found")
LINK = re.compile(r"undefined reference to [`'\"]?(?P<symbol>[^`'\"]+)|cannot find (?P<library>-l\S+)")
TARGET = re.compile(r'Target "(?P<target>[^"]+)" links to: (?P<library>\S+) but the target was not found')
CMAKE = re.compile(r"^CMake Error(?: at (?P<where>\S+?:\d+))?")
NEEDS = (  # part of a header, library or cmake message -> what to install
    ("vulkan", "vulkan"), ("glslc", "vulkan"), ("spirv", "vulkan"),
    ("hip/", "hip"), ("hipblas", "hip"), ("rocblas", "hip"),
    ("cuda", "cuda"), ("cublas", "cuda"), ("cudart", "cuda"),
    ("CMAKE_CXX_COMPILER", "compiler"), ("CMAKE_C_COMPILER", "compiler"), ("stdc++", "compiler"),
    ("simple test program", "compiler"),
    ("stdlib.h", "compiler"), ("stdio.h", "compiler"), ("bits/", "compiler"), ("crt1.o", "compiler"),
)  # fmt: skip


@dataclass(frozen=True)
class Means:
    """The package manager of this machine, and the ways to a suitable CUDA toolkit."""

    package_manager: str | None
    cuda: str


def diagnose(step: str, output: Sequence[str], status: int, *, log: Path, means: Means, jobs: int) -> R1tuiError:
    """The error to raise for a failed step (`cmake` or `ninja`): `output` is all it said, `log` where that is kept."""
    see = f"Full log: {log}"
    text = "\n".join(line for line in output if not QUOTED.match(line))
    if FULL.search(text):
        return R1tuiError("The build failed: the disk is full.", "Free some disk space.", BuildEngine(), see)
    if KILLED.search(text) or status == -9:
        fewer = max(1, jobs // 2)
        return R1tuiError(
            f"The build failed: the system killed a compiler because memory ran out ({jobs} at once).",
            f"Set engine.jobs: {fewer} in config.yaml.",
            BuildEngine(),
            see,
        )
    cause, remedy = _first(output, means)
    if cause is None:
        last = next((line for line in reversed(output) if line.strip()), f"{step} ended with status {status}")
        cause = f"{step} failed: {last}"
    return R1tuiError(f"The build failed: {cause}", f"{remedy}\n{see}" if remedy else see)


def _first(output: Sequence[str], means: Means) -> tuple[str | None, str]:
    """The first error's cause and remedy; (None, "") where no line looks like one."""
    for index, line in enumerate(output):
        if found := COMPILE.match(line) or NVCC.match(line):
            return f"{found['where']}: {found['what']}", _for_compile(found["what"], means)
        if found := NVCC_FATAL.match(line):
            return f"nvcc: {found['what']}", _for_nvcc(found["what"], means)
        if found := LINK.search(line):
            return line.strip(), _needs(found["library"] or found["symbol"] or "", means)
        if CMAKE.match(line):
            message = _cmake_message(output[index : index + 12])
            if missing := TARGET.search(message):
                message = _lacking(missing["library"], missing["target"])
            return f"cmake: {message}", _needs(message, means)
    return None, ""


def _for_compile(what: str, means: Means) -> str:
    if "unsupported GNU version" in what or "unsupported clang version" in what:
        return _for_nvcc(what, means)
    found = HEADER.search(what)
    return _needs((found["header"] or found["quoted"]) if found else what, means) if found else ""


def _for_nvcc(what: str, means: Means) -> str:
    if "Unsupported gpu architecture" in what:
        return f"This CUDA toolkit is too old for the GPU.\n{means.cuda}"
    if "unsupported GNU version" in what or "unsupported clang version" in what:
        return (
            "The C++ compiler is newer than this CUDA toolkit knows. Install an older one and set it: "
            f"CUDAHOSTCXX=g++-13 r1tui build, or use another toolkit.\n{means.cuda}"
        )
    if "cicc" in what or "ptxas" in what or "cudafe" in what:
        return f"The CUDA toolkit is incomplete.\n{means.cuda}"
    return ""


def _cmake_message(lines: Sequence[str]) -> str:
    """The sentence of a `CMake Error at …` block: its indented lines up to its full stop, over gaps between them."""
    words: list[str] = []
    for line in lines[1:]:
        if line.strip() and not line.startswith(" "):
            break
        if words and not line.strip() and words[-1].endswith("."):
            break
        words += line.split()
    return " ".join(words) or lines[0]


def _lacking(library: str, target: str) -> str:
    """A sentence for a library of a toolkit that cmake has not found."""
    if library.startswith("CUDA::"):
        part = "cuBLAS" if library.startswith("CUDA::cublas") else library.removeprefix("CUDA::")
        return f"the CUDA toolkit has no {part} ({library}), which {target} needs."
    return f"{library} was not found, which {target} needs."


def _needs(what: str, means: Means) -> str:
    need = next((need for part, need in NEEDS if part.lower() in what.lower()), None)
    if need is None or need == "cuda":
        return means.cuda if need else ""
    return f"Install what is missing: {install_command(means.package_manager, need)}"
