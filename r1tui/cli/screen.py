"""`r1tui` and `r1tui demo`: the screen, where there is a terminal that can show it."""

import gc
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from types import FrameType
from typing import TYPE_CHECKING

import click

from r1tui.cli.context import Context, is_terminal, pass_context, say
from r1tui.cli.target import attached_endpoint, wanted_variant
from r1tui.errors import CancelledError, R1tuiError, UsageError
from r1tui.remedies import Run
from r1tui.system.lazy import asyncio
from r1tui.system.logs import flush_log, log_unexpected
from r1tui.system.own_process import leaving_threads
from r1tui.system.paths import Paths
from r1tui.text import plain

if TYPE_CHECKING:
    from r1tui.tui.app import R1App

SMALLEST = (60, 16)
"""Columns and rows that the chat needs; it is made for 80×24 and more."""
STOP_S = 15.0
"""The longest time for the server's orderly stop when the terminal is gone."""
SAY_S = 1.0
"""The longest time for a terminal to show the last words after a hang-up."""
RESCUE_S = 20.0
"""The longest time for saving then, even on a disk that hangs."""
_CHAT = Run("r1tui chat", "chats without the screen")
_HEADLESS = (_CHAT, Run("r1tui serve", "runs a server without the screen"))


@click.command()
@click.option("--no-mouse", is_flag=True, help="Leave the mouse to the terminal.")
@pass_context
def demo(context: Context, *, no_mouse: bool) -> None:
    """Open the screen with a small model: build, download, start and chat without questions."""
    run_screen(context, "demo", None, None, mouse=not no_mouse)


def run_screen(
    context: Context, variant: str | None, attach: str | None, model_name: str | None, *, mouse: bool
) -> None:
    """Run the screen until the user leaves it."""
    _check_terminal()
    if attach and variant:
        raise UsageError("--attach was given together with a variant.", "The running server already has its model.")
    endpoint = attached_endpoint(attach, model_name)
    target = None if endpoint else wanted_variant(context, variant, None)
    config = context.config
    if config.variants:  # the screen loads the catalog when it is open; a fault of the user's is told before
        from r1tui.catalog.variants import load_catalog  # noqa: PLC0415

        load_catalog(config)
    gc.disable()  # until the screen is there: it would look at each module that stays for good
    from r1tui.tui.app import R1App  # noqa: PLC0415

    named = variant is not None
    app = R1App(
        context.paths,
        config,
        config_file=context.config_file,
        variant=target,
        insists=named,
        attach=endpoint,
        model_name=model_name or "",
    )
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        stops = config.server.on_hangup == "stop" and endpoint is None
        signal.signal(signal.SIGHUP, partial(_leave_at_once, app, context.paths if stops else None))
    try:
        asyncio.run(leaving_threads(app.run_async(mouse=mouse)))
    finally:
        say(*app.unsaved.last_words, err=True)
    if app.failure is not None:
        raise app.failure
    if app.return_code or app.unsaved.has_lost:
        raise SystemExit(app.return_code or 1)


def _leave_at_once(app: "R1App", stopped: Paths | None, number: int, frame: FrameType | None) -> None:
    """The terminal is gone, and an orderly end would wait for it for ever; what must last is the supervisor's, and what
    is written here.

    The server of `stopped` is stopped before.
    """
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # the kernel sends it again when the terminal is closed
    _in_time(app.unsaved.rescue_at_once, RESCUE_S)
    words = "".join(f"\x1b[?1049l\r\n{plain(line)}\r\n" for line in app.unsaved.last_words)

    def say_last_words() -> None:
        with suppress(OSError):
            os.write(2, words.encode(errors="replace"))

    _in_time(say_last_words, SAY_S)
    if stopped is not None:
        from r1tui.supervisor.protocol import is_asked_by_others  # noqa: PLC0415
        from r1tui.supervisor.status import status  # noqa: PLC0415
        from r1tui.system.jobs import r1tui_command  # noqa: PLC0415

        if not is_asked_by_others(status(stopped).answers, os.getpid()):
            # a process of its own: this one, interrupted anywhere, may hold what stopping needs
            null = subprocess.DEVNULL
            with suppress(OSError, subprocess.TimeoutExpired):
                command = r1tui_command(["stop"])
                subprocess.Popen(command, stdin=null, stdout=null, stderr=null, start_new_session=True).wait(STOP_S)
    flush_log()
    os._exit(CancelledError.exit_status)


def _in_time(work: Callable[[], None], longest_s: float) -> None:
    """Do this in a thread: this one, which was interrupted anywhere, may hold what it needs."""

    def run() -> None:
        try:
            work()
        except Exception as error:  # the process must end all the same
            log_unexpected(error, "Quitting after a hang-up")

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(longest_s)


def _check_terminal() -> None:
    if not all(is_terminal(stream) for stream in (sys.stdin, sys.stdout, sys.stderr)):
        raise R1tuiError("The screen needs a terminal.", *_HEADLESS)
    encoding = getattr(sys.__stderr__, "encoding", None) or "unknown"  # of what the screen is written to
    if encoding.lower().replace("-", "").replace("_", "") != "utf8":
        cure = "Unset PYTHONIOENCODING" if os.environ.get("PYTHONIOENCODING") else "Start it with LC_ALL=C.UTF-8"
        raise R1tuiError(
            f"This terminal's encoding is {encoding}; the screen needs UTF-8.",
            f"{cure} if the terminal shows UTF-8 (nearly all do).",
            _CHAT,
        )
    if os.environ.get("TERM", "dumb") in ("dumb", "unknown", ""):
        raise R1tuiError("This terminal (TERM=dumb) cannot show the screen.", *_HEADLESS)
    columns, rows = shutil.get_terminal_size()
    if columns < SMALLEST[0] or rows < SMALLEST[1]:
        raise R1tuiError(
            f"This terminal is {columns}×{rows}; the screen needs {SMALLEST[0]}×{SMALLEST[1]}.",
            "Enlarge the window.",
            _CHAT,
        )
