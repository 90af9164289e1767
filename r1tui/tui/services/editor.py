"""The user's editor, in the terminal that the screen leaves to it for a while; the answer goes on meanwhile."""

import asyncio
import os
import shlex
import shutil
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from textual.app import App, SuspendNotSupported

from r1tui.errors import R1tuiError, os_error
from r1tui.system.paths import private_folder

FALLBACKS = ("nano", "vim", "vi", "micro", "emacs")


def editor_command(env: Mapping[str, str]) -> list[str]:
    """The words of the editor's command line: `$VISUAL`, `$EDITOR`, else what is installed. Raises R1tuiError."""
    for name in ("VISUAL", "EDITOR"):
        if not env.get(name, "").strip():
            continue
        try:
            words = shlex.split(env[name])
        except ValueError as error:
            raise R1tuiError(f"${name} cannot be understood: {error}.", f"export {name}=nano") from error
        if shutil.which(words[0], path=env.get("PATH")) is None:
            raise R1tuiError(f"There is no program {words[0]!r}, which ${name} names.", f"export {name}=nano")
        return words
    for program in FALLBACKS:
        if shutil.which(program, path=env.get("PATH")) is not None:
            return [program]
    raise R1tuiError("There is no editor on this machine.", "Install one and name it: export EDITOR=nano")


async def edited(app: App[Any], text: str, folder: Path) -> str:
    """The text as the user has left it; its file, in a private folder, is gone afterwards. Raises R1tuiError."""
    command = editor_command(os.environ)
    try:
        with TemporaryDirectory(dir=private_folder(folder), prefix="edit-") as place:
            file = Path(place) / "prompt.md"
            file.write_text(text, encoding="utf-8")
            await _run(app, [*command, str(file)])
            return file.read_text(encoding="utf-8", errors="replace").removesuffix("\n")
    except OSError as error:
        raise os_error(error, folder) from error


async def _run(app: App[Any], command: list[str]) -> None:
    try:
        # Nothing is painted meanwhile: the terminal is the editor's. The loop goes on, and with it the answer.
        with app.batch_update(), app.suspend(), _signals_of_the_terminal():
            process = await asyncio.create_subprocess_exec(*command)
            try:
                status = await process.wait()
            except asyncio.CancelledError:  # the screen ends
                process.terminate()
                raise
    except SuspendNotSupported as error:
        raise R1tuiError(
            "This terminal cannot be left to an editor.", "Type here; <prompt.newline> begins a new line."
        ) from error
    if status:
        raise R1tuiError(
            f"{Path(command[0]).name} ended with status {status}; the prompt is as it was.",
            "Save and leave the editor in its usual way, or name another: export EDITOR=nano",
        )


@contextmanager
def _signals_of_the_terminal() -> Iterator[None]:
    """Ctrl+C and Ctrl+\\ are the editor's for the block: they reach the whole foreground group."""
    before = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGINT, signal.SIGQUIT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
