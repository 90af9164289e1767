"""The llama-server that is there: one that was built for these settings, or the user's own."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from r1tui.config import EngineSettings
from r1tui.engine.probe import list_devices
from r1tui.engine.recipe import choose
from r1tui.engine.source import source_kind
from r1tui.engine.store import BuildRecord, find_made_on_purpose, find_record, identify, read_record
from r1tui.engine.system import survey
from r1tui.engine.toolchain import bundled_toolkit
from r1tui.errors import R1tuiError
from r1tui.plan.capabilities import Capabilities, EngineDevice
from r1tui.system.paths import Paths


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
    """Where the record of somebody else's llama-server is kept; a changed file has another."""
    info = server.stat()
    key = msgspec.json.encode([str(server), info.st_size, info.st_mtime_ns])
    return paths.engines / f"existing-{hashlib.sha256(key).hexdigest()[:8]}"
