"""What tests do to a supervisor from inside its own process: on PYTHONPATH, Python runs this before the supervisor.

`$R1TUI_TEST_HOOK` names a folder. While there is a file in it, the supervisor meets what the file is called:

    raise       the functions that it names (module:name, one a line) raise KeyError
    stall       whatever touches a file of this R1TUI_HOME, but for its sockets, waits until the file is gone
    on-loop     gets a line for each such touch that was made on the event loop
"""

import asyncio
import builtins
import importlib
import io
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

OF_A_PATH = ("open", "stat", "lstat", "unlink", "remove", "rename", "replace", "mkdir", "rmdir", "chmod", "truncate",
             "scandir", "listdir")  # fmt: skip
OF_A_DESCRIPTOR = ("fsync", "pwrite", "ftruncate")
real_open, real_sleep, real_stat = os.open, time.sleep, os.stat


def there(file: str) -> bool:
    try:
        real_stat(file)
    except OSError:
        return False
    return True


class Disk:
    """Sees every touch of a file under `home`."""

    def __init__(self, home: str, folder: str) -> None:
        self._home = home + os.sep
        self._folder = folder
        self._main = threading.main_thread()

    def touched(self, what: str, where: Any) -> None:
        if isinstance(where, int):
            try:
                where = os.readlink(f"/proc/self/fd/{where}")  # noqa: PTH115
            except OSError:
                return
        path = os.fsdecode(where) if isinstance(where, str | bytes | os.PathLike) else ""
        if not path.startswith(self._home) or path.endswith((".sock", "keeper.lock")):
            return
        if threading.current_thread() is self._main and asyncio._get_running_loop() is not None:
            note = f"{self._folder}/on-loop"
            if there(note):
                line = f"{what} {path} {[f'{one.name}:{one.lineno}' for one in traceback.extract_stack()[-6:-2]]}\n"
                fd = real_open(note, os.O_WRONLY | os.O_APPEND)
                os.write(fd, line.encode())
                os.close(fd)
        while there(f"{self._folder}/stall"):
            real_sleep(0.01)

    def watch(self, owner: Any, name: str) -> None:
        real = getattr(owner, name)

        def wrapped(where: Any, *args: Any, **kwargs: Any) -> Any:
            self.touched(name, where)
            return real(where, *args, **kwargs)

        setattr(owner, name, wrapped)


def raising(real: Callable[..., Any], name: str, folder: str) -> Callable[..., Any]:
    """The function, which raises while it is named."""

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        file = f"{folder}/raise"
        if there(file) and name in Path(file).read_text().split():
            raise KeyError("injected")
        return real(*args, **kwargs)

    return wrapped


def install(folder: str, home: str) -> None:
    """Put the hooks in."""
    for point in Path(folder, "points").read_text().split():
        module_name, _, name = point.partition(":")
        owner: Any = importlib.import_module(module_name)
        *outer, last = name.split(".")
        for one in outer:
            owner = getattr(owner, one)
        setattr(owner, last, raising(getattr(owner, last), point, folder))
    disk = Disk(home, folder)
    for name in (*OF_A_PATH, *OF_A_DESCRIPTOR):
        disk.watch(os, name)
    disk.watch(io, "open")
    builtins.open = io.open


if "r1tui.supervisor" in sys.orig_argv and "R1TUI_TEST_HOOK" in os.environ:
    install(os.environ["R1TUI_TEST_HOOK"], os.environ["R1TUI_HOME"])
