"""What a built llama-server knows, read from its own `--version`, `--help` and `--list-devices`."""

import re
from dataclasses import dataclass

_FLAG = r"--?[A-Za-z][\w.-]*"
_FLAGS = re.compile(rf"{_FLAG}(?:,\s*{_FLAG})*")


@dataclass(frozen=True)
class EngineDevice:
    """A device the engine can offload to, as `--list-devices` shows it (memory in MiB at that moment)."""

    name: str
    description: str
    total_mib: int
    free_mib: int


HOST = "Host"


@dataclass(frozen=True)
class Buffers:
    """Memory of one device, or of the host as `Host`, as llama.cpp reports it; in MiB."""

    name: str
    weights_mib: int
    kv_mib: int
    compute_mib: int

    @property
    def total_mib(self) -> int:
        return self.weights_mib + self.kv_mib + self.compute_mib


@dataclass(frozen=True)
class Capabilities:
    """A binary's version, the flags it accepts and its devices."""

    version: str
    build_number: int | None
    flags: frozenset[str]
    devices: tuple[EngineDevice, ...] = ()

    def accepts(self, flag: str) -> bool:
        return flag in self.flags


def parse_version(text: str) -> tuple[str, int | None]:
    """The version line and build number of `llama-server --version`'s output."""
    for line in text.splitlines():
        if line.startswith("version:"):
            number = re.search(r"\bb?(\d{3,})\b", line)
            return line.removeprefix("version:").strip(), int(number[1]) if number else None
    return "", None


def parse_flags(help_text: str) -> frozenset[str]:
    """Every flag that `--help` offers: lines such as `-t,    --threads N    number of CPU threads …`.

    Flags that it lists only to say that they were removed are refused by the parser, so they are none.
    """
    flags: set[str] = set()
    for entry in re.split(r"\n(?=-)", "\n" + help_text):
        head = _FLAGS.match(entry)
        if head and "the argument has been removed" not in " ".join(entry.split()):
            flags.update(re.split(r",\s*", head[0]))
    return frozenset(flags)


def parse_devices(text: str) -> tuple[EngineDevice, ...]:
    """The devices of `--list-devices`: `  CUDA0: NVIDIA H100 (81559 MiB, 80000 MiB free)`."""
    pattern = r"^\s+(\w+): (.*) \((\d+) MiB, (\d+) MiB free\)\s*$"
    return tuple(
        EngineDevice(name, description, int(total), int(free))
        for name, description, total, free in re.findall(pattern, text, re.MULTILINE)
    )
