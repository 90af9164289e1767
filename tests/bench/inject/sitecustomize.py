"""Makes one place of r1tui raise what nobody foresees: on the path of the processes that a fault starts.

`$R1TUI_FAULT` is `MODULE:NAME` for a function or coroutine, or `worker:NAME` for a worker of the screen, by the end
of its work's qualified name. The name of each worker that begins is appended to the file `$R1TUI_WORKERS`.
"""

import os
import sys
from importlib.machinery import ModuleSpec, PathFinder
from inspect import iscoroutinefunction
from types import ModuleType
from typing import Any

PLACE, _, NAME = os.environ.get("R1TUI_FAULT", "").partition(":")
GUARD = "r1tui.tui.guarded"
"""Where every worker of the screen passes."""
SEEN = os.environ.get("R1TUI_WORKERS")


class InjectedError(KeyError):
    """What nobody foresaw."""


def _name_of(work: Any) -> str:
    work = getattr(work, "func", work)
    return str(getattr(work, "__qualname__", None) or getattr(work, "__name__", work))


def _in_workers(module: Any) -> None:
    guarded = module._guarded

    def wrapped(work: Any, node: Any, app: Any, name: str, *, thread: bool) -> Any:
        of_work = _name_of(work)
        if SEEN:
            with open(SEEN, "a", encoding="utf-8") as file:  # noqa: PTH123
                file.write(f"{of_work}\n")
        if PLACE == "worker" and of_work == NAME:
            if hasattr(work, "close"):
                work.close()
            work = _raises if thread else _raises_later
        return guarded(work, node, app, name, thread=thread)

    module._guarded = wrapped


def _in_function(module: ModuleType) -> None:
    owner: Any = module
    *path, name = NAME.split(".")
    for part in path:
        owner = getattr(owner, part)

    setattr(owner, name, _raises_later if iscoroutinefunction(getattr(owner, name)) else _raises)


def _raises(*_arguments: Any, **_options: Any) -> Any:
    raise InjectedError(f"injected into {NAME}")


async def _raises_later(*_arguments: Any, **_options: Any) -> Any:
    raise InjectedError(f"injected into {NAME}")


class _Finder:
    """Changes the module once it has been executed."""

    @staticmethod
    def find_spec(name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        changes = {GUARD: _in_workers, PLACE: _in_function}
        if name not in changes or (name == GUARD and not (SEEN or PLACE == "worker")):
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is None or spec.loader is None:
            return spec
        execute, change = spec.loader.exec_module, changes[name]

        def exec_module(module: ModuleType) -> None:
            execute(module)
            change(module)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


if PLACE or SEEN:
    sys.meta_path.insert(0, _Finder)
