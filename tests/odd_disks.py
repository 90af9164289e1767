"""File systems without locks or Unix sockets, in this process and in every Python that it starts."""

import fcntl
import os
import socket
from pathlib import Path
from typing import Any

import pytest

_PATCH = """
import fcntl, os, socket
refused = int(os.environ.get("R1TUI_TEST_REFUSED", "0"))
real_flock, real_bind = fcntl.flock, socket.socket.bind

def flock(file, operation):
    if not operation & fcntl.LOCK_UN:
        raise OSError(refused, os.strerror(refused))

def bind(self, address):
    if self.family == socket.AF_UNIX:
        raise OSError(refused, os.strerror(refused))
    return real_bind(self, address)

if os.environ.get("R1TUI_TEST_DISK") == "no locks":
    fcntl.flock = flock
if os.environ.get("R1TUI_TEST_DISK") == "no sockets":
    socket.socket.bind = bind
"""


def _refuse(monkeypatch: pytest.MonkeyPatch, folder: Path, what: str, number: int) -> None:
    hook = folder / "hook"
    hook.mkdir()
    (hook / "sitecustomize.py").write_text(_PATCH, "utf-8")
    path = [str(hook), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path))
    monkeypatch.setenv("R1TUI_TEST_DISK", what)
    monkeypatch.setenv("R1TUI_TEST_REFUSED", str(number))


def without_locks(monkeypatch: pytest.MonkeyPatch, folder: Path, number: int) -> None:
    """No lock can be taken anywhere: `number` is the error. `folder` is where the hook for children goes."""

    def flock(file: Any, operation: int) -> None:
        if not operation & fcntl.LOCK_UN:
            raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    _refuse(monkeypatch, folder, "no locks", number)


def without_sockets(monkeypatch: pytest.MonkeyPatch, folder: Path, number: int) -> None:
    """As `without_locks`, for Unix sockets."""
    real = socket.socket.bind

    def bind(self: socket.socket, address: Any) -> None:
        if self.family == socket.AF_UNIX:
            raise OSError(number, os.strerror(number))
        real(self, address)

    monkeypatch.setattr(socket.socket, "bind", bind)
    _refuse(monkeypatch, folder, "no sockets", number)
