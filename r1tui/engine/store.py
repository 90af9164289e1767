"""Finished builds on disk: one folder per (ref, back end, options, compiler), whole only with its record."""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

from r1tui.config import EngineSettings
from r1tui.engine.recipe import Recipe
from r1tui.engine.source import source_kind
from r1tui.engine.system import find_cxx
from r1tui.machine.hardware import cpu_features
from r1tui.plan.capabilities import Capabilities, EngineDevice
from r1tui.system.files import read_json_if_any, write_json
from r1tui.system.paths import Paths

RECORD = "engine.json"
RECORD_VERSION = 2


class Identity(msgspec.Struct, frozen=True):
    """What makes two builds the same."""

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
