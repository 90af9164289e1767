"""The llama-servers that are there: builds on disk, each whole only with its record, and the user's own."""

import hashlib
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from r1tui.config import EngineSettings
from r1tui.engine.probe import list_devices
from r1tui.engine.recipe import Recipe, choose
from r1tui.engine.source import source_kind
from r1tui.engine.system import find_cxx, survey
from r1tui.engine.toolchain import bundled_toolkit
from r1tui.errors import R1tuiError
from r1tui.machine.hardware import cpu_features
from r1tui.plan.capabilities import Capabilities, EngineDevice
from r1tui.system.files import read_json_if_any, write_json
from r1tui.system.paths import Paths

RECORD = "engine.json"
RECORD_VERSION = 2


class Identity(msgspec.Struct, frozen=True):
    """Two builds with the same of these are the same."""

    ref: str
    backend: str
    architectures: tuple[str, ...]
    cmake_args: tuple[str, ...]
    source: str
    cpu: str
    toolkit: str
    compiler: str

    @property
    def name(self) -> str:
        """The folder's name."""
        digest = hashlib.sha256(msgspec.json.encode(self)).hexdigest()[:8]
        return f"{self.ref.replace('/', '_')}-{self.backend}-{digest}"


class BuildRecord(msgspec.Struct, frozen=True):
    """engine.json: what was asked for, and what the binary said of itself. Written last."""

    version: int
    identity: Identity
    server: str
    """Its path: on disk relative to the record's folder, but for a server of the user's; absolute in memory."""
    version_line: str
    build_number: int | None
    flags: tuple[str, ...]
    devices: tuple[tuple[str, str, int, int], ...]
    notes: tuple[str, ...]
    seconds: float
    finished_unix_s: float
    on_purpose: bool
    """The back end was named, not detected."""

    def capabilities(self) -> Capabilities:
        return Capabilities(
            self.version_line,
            self.build_number,
            frozenset(self.flags),
            tuple(EngineDevice(*device) for device in self.devices),
        )


@dataclass(frozen=True)
class Engine:
    """A llama-server that runs. `notes` are sentences such as which GPUs it does not see."""

    server: Path
    backend: str
    ref: str
    capabilities: Capabilities
    notes: tuple[str, ...] = ()

    def tool(self, name: str) -> Path | None:
        """A program beside the server: llama-fit-params, ggml-rpc-server, llama-bench; None if it is not there."""
        path = self.server.parent / name
        return path if os.access(path, os.X_OK) else None


def find_engine(settings: EngineSettings, paths: Paths) -> Engine | None:
    """The finished build for these settings, from the cache, in milliseconds; None if there is none.

    Raises UsageError for an `engine.source` or `engine.ref` that names nothing.
    """
    kind, path = source_kind(settings)
    record = (
        read_record(folder_of_binary(path, paths)) if kind == "binary" else find_finished(settings, paths, os.environ)
    )
    return None if record is None else engine_of(record)


def current_devices(engine: Engine, rpc: Sequence[str] = ()) -> tuple[EngineDevice, ...]:
    """The engine's devices with the memory that is free now, RPC workers (HOST:PORT) included.

    Raises R1tuiError when the engine does not run or a worker cannot be reached.
    """
    if engine.backend == "cpu" and not rpc:
        return ()
    return list_devices(engine.server, rpc)


def find_finished(settings: EngineSettings, paths: Paths, env: Mapping[str, str]) -> BuildRecord | None:
    """The finished build for the settings; where `auto` cannot decide, the one that the user made on purpose."""
    try:
        recipe = choose(settings, survey(env, settings.cuda_toolkit, bundled_toolkit(paths)))
    except R1tuiError:
        return find_made_on_purpose(paths, settings) if settings.backend == "auto" else None
    identity = identify(settings, recipe, env)
    if (record := find_record(paths, identity)) is not None or settings.backend != "auto":
        return record
    made = find_made_on_purpose(paths, settings)
    wanted = (identity.backend, identity.architectures)
    return made if made and (made.identity.backend, made.identity.architectures) == wanted else None


def engine_of(record: BuildRecord) -> Engine:
    """The engine that a record tells of."""
    return Engine(
        Path(record.server), record.identity.backend, record.identity.ref, record.capabilities(), record.notes
    )


def folder_of_binary(server: Path, paths: Paths) -> Path:
    """The folder for the record of somebody else's llama-server; a changed file has another."""
    info = server.stat()
    key = msgspec.json.encode([str(server), info.st_size, info.st_mtime_ns])
    return paths.engines / f"existing-{hashlib.sha256(key).hexdigest()[:8]}"


def identify(settings: EngineSettings, recipe: Recipe, env: Mapping[str, str]) -> Identity:
    """The build that these settings mean here. Starts no program: compilers are told apart by their files."""
    kind, path = source_kind(settings)
    cxx = find_cxx(env)
    is_from_pypi = recipe.fetch_toolkit or (recipe.toolkit is not None and recipe.toolkit.bundled)
    toolkit = "pypi" if is_from_pypi else _file_identity(recipe.toolkit.nvcc if recipe.toolkit else None)
    return Identity(
        settings.ref if kind == "release" else "local",
        recipe.backend,
        recipe.architectures,
        tuple(settings.cmake_args),
        "" if kind == "release" else str(path),
        hashlib.sha256(cpu_features().encode()).hexdigest()[:16],
        toolkit,
        _file_identity(cxx),
    )


def read_record(folder: Path) -> BuildRecord | None:
    """The record of a finished build whose binary is there; None for anything else."""
    record = read_json_if_any(folder / RECORD, BuildRecord)
    if record is None or record.version != RECORD_VERSION or "\0" in record.server:
        return None
    server = _server_here(folder, Path(record.server))
    return msgspec.structs.replace(record, server=str(server)) if os.access(server, os.X_OK) else None


def write_record(folder: Path, record: BuildRecord) -> None:
    """Keep the record of a finished build; its server relative to the folder, so that the folder can be moved."""
    server = Path(record.server)
    if server.is_relative_to(folder):
        record = msgspec.structs.replace(record, server=str(server.relative_to(folder)))
    write_json(folder / RECORD, record)


def record_build(
    folder: Path,
    identity: Identity,
    server: Path,
    capabilities: Capabilities,
    notes: tuple[str, ...],
    *,
    seconds: float = 0.0,
    on_purpose: bool = True,
) -> BuildRecord:
    """Write and return the record that makes the folder a finished build."""
    record = BuildRecord(
        RECORD_VERSION,
        identity,
        str(server),
        capabilities.version,
        capabilities.build_number,
        tuple(sorted(capabilities.flags)),
        tuple((d.name, d.description, d.total_mib, d.free_mib) for d in capabilities.devices),
        notes,
        round(seconds, 1),
        time.time(),
        on_purpose,
    )
    write_record(folder, record)
    return record


def _server_here(folder: Path, recorded: Path) -> Path:
    """The server that a folder's record means: in that folder, wherever an older record says that the folder was."""
    if not recorded.is_absolute():
        return folder / recorded
    names = [place for place, name in enumerate(recorded.parts) if name == folder.name]
    return folder.joinpath(*recorded.parts[names[-1] + 1 :]) if names else recorded


def find_record(paths: Paths, identity: Identity) -> BuildRecord | None:
    """The finished build of this identity; where no compiler is left, one that differs in the compiler alone.

    One for the same cards that has PTX beside their machine code, as an older r1tui built it, does as well.
    """
    with_ptx = tuple(name.removesuffix("-real") for name in identity.architectures)
    wanted = (identity, msgspec.structs.replace(identity, architectures=with_ptx))
    for one in wanted:
        if (record := read_record(paths.engines / one.name)) is not None:
            return record
    if identity.compiler:
        return None
    made = [msgspec.structs.replace(one, toolkit="") for one in wanted]
    alike = (one for one in records(paths) if msgspec.structs.replace(one.identity, compiler="", toolkit="") in made)
    return next(alike, None)


def find_made_on_purpose(paths: Paths, settings: EngineSettings) -> BuildRecord | None:
    """The latest build of this release that the user asked for by its back end, whatever `auto` would take here."""
    cpu = hashlib.sha256(cpu_features().encode()).hexdigest()[:16]
    for record in records(paths):
        made = record.identity
        same = (made.ref, made.cmake_args, made.cpu) == (settings.ref, tuple(settings.cmake_args), cpu)
        if same and record.on_purpose:
            return record
    return None


def records(paths: Paths) -> list[BuildRecord]:
    """All finished builds, the latest first."""
    found = [record for folder in paths.engines.glob("*/") if (record := read_record(folder)) is not None]
    return sorted(found, key=lambda record: -record.finished_unix_s)


def _file_identity(program: Path | None) -> str:
    if program is None:
        return ""
    try:
        real = program.resolve(strict=True)
        info = real.stat()
    except OSError:
        return ""
    return f"{real}:{info.st_size}:{info.st_mtime_ns}"
