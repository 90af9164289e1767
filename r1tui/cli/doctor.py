"""`r1tui doctor`: what this machine has, what it lacks, and the command that mends it; or all in a bug report.

The report is one file for this user alone: its parts by the names that they have in the archive, each bounded.
"""

import importlib.metadata
import io
import json
import os
import platform
import stat
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from time import gmtime, time
from typing import Any

import click
import msgspec

from r1tui import __version__
from r1tui.catalog.variants import load_catalog
from r1tui.cli.checks import Check, Checkup, is_healthy
from r1tui.cli.context import Context, json_option, pass_context, print_result
from r1tui.cli.redact import Redactor, without_chat
from r1tui.cli.target import wanted_variant
from r1tui.engine.make import engine_to_ask
from r1tui.errors import R1tuiError, UsageError
from r1tui.hub.local.found import ModelSearch
from r1tui.machine.bandwidth import measure
from r1tui.machine.hardware import detect_machine
from r1tui.messages import Status
from r1tui.plan import make_plan
from r1tui.planning.held import HeldMemory
from r1tui.planning.kept import find_kept
from r1tui.planning.overrides import for_variant
from r1tui.planning.request import request_here
from r1tui.planning.subject import find_subject
from r1tui.supervisor.client import verified_status
from r1tui.supervisor.status import status
from r1tui.system.environment import is_secret
from r1tui.system.files import write_new
from r1tui.system.log_reader import read_tail
from r1tui.system.logs import as_user_error
from r1tui.system.paths import Paths, expand
from r1tui.text import size

MARKS = {"ok": "ok ", "note": " i ", "missing": "NO "}
FOLDER = "r1tui-report"
LARGEST_BYTES = 16 << 20
"""All parts together, before they are packed."""
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
Bug report, made by `r1tui doctor --bundle`.

Removed: API keys, tokens, passwords, the home folder, the names of user and machine, GPUs' serial numbers, and
lines of the server's log that may hold chat text. Not included: conversations, answers, what was typed, models.
Read it before you send it: a log may hold something else that you want to keep private.

"""


@click.command()
@click.option("--measure", "measuring", is_flag=True, help="Measure memory, bus and disk first (about 10 s).")
@click.option("--bundle", metavar="FILE", help="Pack logs, versions, config, plan and hardware for a bug report.")
@json_option
@pass_context
def doctor(context: Context, bundle: str | None, *, measuring: bool, as_json: bool) -> int:
    """Check this machine: what it has, what is missing, and the command that fixes it.

    Exit status: 1 if something needed for a chat is missing, else 0. With --bundle the report is written to FILE
    (a new .tar.gz or .zip) without secrets and chat text, and the status is 0 if it was written.
    """
    target = expand(bundle) if bundle is not None else None
    if target is not None:
        check_target(target)
    if measuring:
        click.echo("Measuring the speed of memory, bus and disk…", err=True)
        engine = engine_to_ask(context.config.engine, context.paths)
        measure(context.paths, _largest_model(context), engine.tool("llama-bench") if engine else None)
    checks = list(Checkup(context).checks())
    healthy = is_healthy(checks)
    if target is None:
        found = {"ok": healthy, "checks": [asdict(check) for check in checks]}
        print_result(found, *_in_lines(checks), as_json=as_json)
        return 0 if healthy else 1
    members = pack(target, parts_of_report(context, checks))
    n_bytes = target.stat().st_size
    files = [{"name": name, "bytes": length} for name, length in members]
    print_result(
        {"bundle": str(target), "bytes": n_bytes, "members": files},
        *(f"  {size(length):>10}  {name}" for name, length in members),
        f"Packed {len(members)} parts into {target} ({size(n_bytes)}). Read it before you send it.",
        as_json=as_json,
    )
    return 0


def _in_lines(checks: list[Check]) -> Iterator[str]:
    for check in checks:
        yield f"{MARKS[check.level]} {check.name:<10} {check.found}"
        yield from (f"{'':15}{line}" for line in check.remedy.splitlines())


def _largest_model(context: Context) -> Path | None:
    search = ModelSearch(context.paths, context.config)
    models = [found.path for variant in load_catalog(context.config) if (found := search.find(variant)) is not None]
    return max(models, key=lambda model: model.stat().st_size, default=None)


def parts_of_report(context: Context, checks: list[Check]) -> Iterator[tuple[str, bytes]]:
    """Names and contents, in a fixed order; a part that cannot be had says why."""
    now = verified_status(context.paths, status(context.paths))
    keys = [context.paths.api_key, Path(now.key_file or os.devnull), *_token_files()]
    redactor = Redactor(Path(os.environ.get("R1TUI_HOME") or context.paths.state), keys)

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
            kept = without_chat(lines) if name.startswith("server") else lines
            text = "\n".join(redactor.lines(kept)) + "\n"
            yield f"logs/{redactor.text(name)}", text.encode(errors="replace")


def _guarded(name: str, make: Callable[[], Any]) -> Any:
    try:
        return make()
    except Exception as error:
        shown = as_user_error(error, f"Packing {name}")
        return {"error": shown.cause, "remedy": shown.remedy}


def _config(context: Context) -> dict[str, Any]:
    """The settings that differ from the defaults; prompts, which are the user's texts, only counted."""
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
    """The plan of the config's variant, for when no server tells its own."""
    variant = wanted_variant(context, None, None)
    subject = find_subject(variant, context.paths, context.config) if variant else None
    if variant is None or subject is None:
        return {"none": "no server was started, and the config's model is not on this machine"}
    engine = engine_to_ask(context.config.engine, context.paths)
    request = request_here(context.config, context.paths, engine, HeldMemory.by(now))
    kept = find_kept(variant, context.config, context.paths)
    plan = make_plan(subject.header, for_variant(request, context.config, variant, kept))
    summary: dict[str, Any] = msgspec.to_builtins(plan.summary(variant.name, str(subject.model)))
    return summary


def _versions(context: Context) -> dict[str, Any]:
    nvidia = detect_machine().nvidia
    return {
        "r1tui": __version__,
        "python": sys.version,
        "executable": sys.executable,
        "system": platform.platform(),
        "libc": " ".join(platform.libc_ver()),
        "distribution": _guarded("the distribution", lambda: platform.freedesktop_os_release().get("PRETTY_NAME")),
        "packages": {
            one.metadata["Name"]: one.version
            for one in sorted(importlib.metadata.distributions(), key=lambda one: str(one.metadata["Name"]).lower())
        },
        "driver": {"nvidia": nvidia.driver_version, "cuda": nvidia.cuda_version, "reason": nvidia.reason},
        "engine": _guarded("the engine", lambda: _engine(context)),
    }


def _engine(context: Context) -> dict[str, Any]:
    built = engine_to_ask(context.config.engine, context.paths)
    if built is None:
        return {"none": "not built for these settings"}
    said = built.capabilities
    devices = [asdict(device) for device in said.devices]
    return {"server": str(built.server), "backend": built.backend, "ref": built.ref, "version": said.version,
            "devices": devices, "notes": list(built.notes)}  # fmt: skip


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
        if path.is_symlink() or path.stat().st_uid != os.getuid():
            return None
        raw, end = read_tail(path, LOG_BYTES)
    except OSError:
        return None
    text = raw.decode(errors="replace").replace("\r\n", "\n").replace("\r", "\n").removesuffix("\n")
    lines = text.split("\n")
    return ["[start left out]", *lines[1:]] if end > len(raw) else lines


def _token_files() -> Iterable[Path]:
    home = Path(os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface")
    given = os.environ.get("HF_TOKEN_PATH")
    for path in (*([Path(given)] if given else []), home / "token", home / "stored_tokens"):
        with suppress(RuntimeError):
            yield path.expanduser()


def check_target(target: Path) -> None:
    """Raise UsageError for a name that no archive has, and R1tuiError where there is a file, or no folder, already."""
    if not target.name.lower().endswith((".tar.gz", ".tgz", ".zip")):
        raise UsageError(f"{target.name}: unknown type of archive.", "Name it REPORT.tar.gz or REPORT.zip.")
    if os.path.lexists(target):
        raise R1tuiError(f"{target} already exists.", "Choose another name, or delete it first.")
    if not target.parent.is_dir():
        raise R1tuiError(f"{target.parent} is not a folder.", "Create it, or choose another folder.")


def pack(target: Path, parts: Iterable[tuple[str, bytes]]) -> list[tuple[str, int]]:
    """Write the archive (0600) and return the names and sizes of its members. Raises R1tuiError, OSError.

    What comes after LARGEST_BYTES is left out, with its name in the last member.
    """
    members, left_out, total_bytes = [], [], 0
    for name, content in parts:
        if total_bytes + len(content) > LARGEST_BYTES:
            left_out.append(name)
            continue
        total_bytes += len(content)
        members.append((f"{FOLDER}/{name}", content))
    if left_out:
        members.append((f"{FOLDER}/left-out.txt", "\n".join([*left_out, ""]).encode()))
    try:
        write_new(target, _zip(members) if target.name.lower().endswith(".zip") else _tar(members))
    except FileExistsError as error:
        raise R1tuiError(f"{target} already exists.", "Choose another name, or delete it first.") from error
    return [(name, len(content)) for name, content in members]


def _tar(members: Iterable[tuple[str, bytes]]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz", format=tarfile.PAX_FORMAT) as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size, info.mode, info.mtime = len(content), 0o600, int(time())
            archive.addfile(info, io.BytesIO(content))
    return packed.getvalue()


def _zip(members: Iterable[tuple[str, bytes]]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            info = zipfile.ZipInfo(name, gmtime()[:6])
            info.external_attr = 0o600 << 16
            archive.writestr(info, content, zipfile.ZIP_DEFLATED)
    return packed.getvalue()
