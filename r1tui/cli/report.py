"""What goes into a bug report: the parts by the names that they have in the archive, each of a bounded size."""

import importlib.metadata
import json
import os
import platform
import stat
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec

from r1tui import __version__
from r1tui.cli.checks import Check, is_healthy
from r1tui.cli.context import Context
from r1tui.cli.redact import Redactor
from r1tui.cli.server_lines import without_chat
from r1tui.cli.target import wanted_variant
from r1tui.engine.find import find_engine
from r1tui.errors import R1tuiError
from r1tui.machine.hardware import detect_machine
from r1tui.messages import Status
from r1tui.plan import make_plan
from r1tui.planning.held import HeldMemory
from r1tui.planning.overrides import for_variant
from r1tui.planning.request import request_here
from r1tui.planning.subject import find_subject
from r1tui.supervisor.client import verified_status
from r1tui.supervisor.status import status
from r1tui.system.environment import is_secret
from r1tui.system.logs import log_unexpected
from r1tui.system.paths import Paths

LOG_BYTES = 512 << 10
"""Of each log the end."""
JOBS = 6
"""The newest logs of jobs."""
FILES = 1000
"""Names of r1tui's own files."""
_SHOWN_VARIABLES = (
    "LANG", "LC_ALL", "LC_CTYPE", "TERM", "COLORTERM", "TERM_PROGRAM", "TMUX", "STY", "SSH_TTY", "NO_COLOR", "CC",
    "CXX", "CUDA_VISIBLE_DEVICES", "CUDA_HOME", "CUDA_PATH", "HIP_VISIBLE_DEVICES", "HF_ENDPOINT", "HF_HUB_OFFLINE",
    "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "R1TUI_HOME", "PYTHONUTF8", "VIRTUAL_ENV", "CONDA_PREFIX",
)  # fmt: skip
_ABOUT = """\
A bug report of r1tui, by `r1tui doctor --bundle`.

Taken out: API keys, tokens, passwords, the home folder, the names of user and machine, GPUs' serial numbers, and
lines of the server's log that may hold chat text. Not in it at all: conversations, answers, what was typed, models.
Read it before you send it: nobody can promise that a log holds nothing else that you would rather keep.

"""


def parts_of_report(context: Context, checks: list[Check]) -> Iterator[tuple[str, bytes]]:
    """Names and contents, in a fixed order; a part that cannot be had says why."""
    now = verified_status(context.paths, status(context.paths))
    keys = [context.paths.api_key, Path(now.key_file or os.devnull), *_token_files()]
    redactor = Redactor(_root(context.paths), keys)

    def as_json(value: Any) -> bytes:
        return json.dumps(redactor.value(value), ensure_ascii=False, indent=1).encode(errors="replace") + b"\n"

    parts: Mapping[str, Callable[[], Any]] = {
        "doctor.json": lambda: {"ok": is_healthy(checks), "checks": [asdict(check) for check in checks]},
        "status.json": lambda: now.as_json() | {"endings": [msgspec.to_builtins(one) for one in now.endings]},
        "plan.json": lambda: msgspec.to_builtins(now.plan) if now.plan else _plan(context, now),
        "config.json": lambda: _config(context),
        "hardware.json": lambda: asdict(detect_machine()),
        "versions.json": lambda: _versions(context),
        "environment.json": _environment,
        "files.json": lambda: list(_files(context.paths)),
    }
    yield "README.txt", _ABOUT.encode()
    for name, make in parts.items():
        yield name, as_json(_guarded(name, make))
    for name, path in _logs(context.paths, now):
        lines = _tail(path)
        if lines is not None:
            told = without_chat(lines) if name.startswith("server") else lines
            text = "\n".join(redactor.lines(told)) + "\n"
            yield f"logs/{redactor.text(name)}", text.encode(errors="replace")


def _guarded(name: str, make: Callable[[], Any]) -> Any:
    try:
        return make()
    except R1tuiError as error:
        return {"error": error.cause, "remedy": error.remedy}
    except OSError as error:
        return {"error": str(error)}
    except Exception as error:
        return {"error": log_unexpected(error, f"Packing {name}").cause}


def _config(context: Context) -> dict[str, Any]:
    """What the settings say other than by default; prompts, which are texts of the user's, only counted."""
    found: dict[str, Any] = msgspec.to_builtins(context.config)
    default = msgspec.to_builtins(type(context.config)())
    if found["prompts"] != default["prompts"]:
        found["prompts"] = f"{len(found['prompts'])} of the user's own"
    return {
        name: {key: one for key, one in value.items() if one != default[name].get(key)}
        if isinstance(value, dict) and default.get(name)
        else value
        for name, value in found.items()
        if value != default.get(name)
    }


def _plan(context: Context, now: Status) -> dict[str, Any]:
    """How the config's variant would run, for when no server tells how it does."""
    variant = wanted_variant(context, None, None)
    subject = find_subject(variant, context.paths, context.config) if variant else None
    if variant is None or subject is None:
        return {"none": "no server was started, and the config names no model that is here"}
    engine = find_engine(context.config.engine, context.paths)
    request = request_here(context.config, context.paths, engine, HeldMemory.by(now))
    plan = make_plan(subject.header, for_variant(request, context.config, variant))
    summary: dict[str, Any] = msgspec.to_builtins(plan.summary(variant.name, str(subject.model)))
    return summary


def _versions(context: Context) -> dict[str, Any]:
    versions: dict[str, Any] = {
        "r1tui": __version__,
        "python": sys.version,
        "executable": sys.executable,
        "system": platform.platform(),
        "libc": " ".join(platform.libc_ver()),
        "distribution": _distribution(),
        "packages": {
            one.metadata["Name"]: one.version
            for one in sorted(importlib.metadata.distributions(), key=lambda one: str(one.metadata["Name"]).lower())
        },
    }
    nvidia = detect_machine().nvidia
    versions["driver"] = {"nvidia": nvidia.driver_version, "cuda": nvidia.cuda_version, "reason": nvidia.reason}

    def engine() -> Any:
        built = find_engine(context.config.engine, context.paths)
        if built is None:
            return {"none": "not built for these settings"}
        said = built.capabilities
        devices = [asdict(device) for device in said.devices]
        return {"server": str(built.server), "backend": built.backend, "ref": built.ref, "version": said.version,
                "devices": devices, "notes": list(built.notes)}  # fmt: skip

    versions["engine"] = _guarded("the engine", engine)
    return versions


def _distribution() -> str | None:
    with suppress(OSError):
        return platform.freedesktop_os_release().get("PRETTY_NAME")
    return None


def _environment() -> dict[str, str]:
    """Variables that change what r1tui does; of others that may, only that they are set."""
    shown = {name: os.environ[name] for name in _SHOWN_VARIABLES if name in os.environ and not is_secret(name)}
    others = [
        name
        for name in os.environ
        if name.lower().endswith("_proxy") or name.startswith(("HF_", "PIP_", "LLAMA_", "GGML_", "CUDA_", "R1TUI_"))
    ]
    return shown | {name: "(set)" for name in sorted(others) if name not in shown}


def _files(paths: Paths) -> Iterator[str]:
    """Mode, size and name of r1tui's own files, not what is in them."""
    found = 0
    for folder in dict.fromkeys((paths.config, paths.state, paths.run, paths.data, paths.cache)):
        for root, folders, names in os.walk(folder):
            folders.sort()
            depth = len(Path(root).relative_to(folder).parts)
            if depth >= 3:
                folders.clear()
            for name in sorted(names):
                with suppress(OSError):
                    info = (Path(root) / name).lstat()
                    yield f"{stat.filemode(info.st_mode)} {info.st_size:>14} {Path(root) / name}"
                found += 1
                if found >= FILES:
                    yield "… and more"
                    return


def _logs(paths: Paths, now: Status) -> Iterator[tuple[str, Path]]:
    """All logs by the names that they get, the older part of each before the newer."""
    logs = [paths.server_log, paths.supervisor_log, paths.own_log, paths.logs / "build.log"]
    for log in logs:
        yield from ((path.name, path) for path in (log.with_name(f"{log.name}.1"), log))
    if now.log and Path(now.log) not in logs:
        yield "server-elsewhere.log", Path(now.log)
    with suppress(OSError):
        others = sorted(set(paths.logs.glob("*.log")) - set(logs))
        yield from ((path.name, path) for path in others[:JOBS])
        jobs = sorted(paths.jobs.glob("*.jsonl"), key=lambda path: path.lstat().st_mtime)[-JOBS:]
        yield from ((f"job-{path.name}", path) for path in sorted(jobs))


def _tail(path: Path) -> list[str] | None:
    """The last whole lines of a log; None where there is no plain file of this user's that can be read."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        info = os.fstat(fd)
        if not stat.S_ISREG(info.st_mode) or info.st_uid != os.getuid():
            return None
        begin = max(0, info.st_size - LOG_BYTES)
        raw = os.pread(fd, LOG_BYTES, begin)
    except OSError:
        return None
    finally:
        os.close(fd)
    text = raw.decode(errors="replace").replace("\r\n", "\n").replace("\r", "\n").removesuffix("\n")
    first, *whole = text.split("\n")
    return ["[the beginning is left out]", *whole] if begin else [first, *whole]


def _token_files() -> Iterable[Path]:
    home = Path(os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface")
    given = os.environ.get("HF_TOKEN_PATH")
    for path in (*([Path(given)] if given else []), home / "token", home / "stored_tokens"):
        with suppress(RuntimeError):
            yield path.expanduser()


def _root(paths: Paths) -> Path:
    return Path(os.environ.get("R1TUI_HOME") or paths.state)
