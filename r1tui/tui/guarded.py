"""Exceptions on the screen that nobody expected: what was going on ends, one line says so, the log has the rest."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar, cast

from rich.text import Text

from r1tui.errors import R1tuiError
from r1tui.system.logs import as_user_error

if TYPE_CHECKING:
    from textual.app import App
    from textual.dom import DOMNode as Node
    from textual.worker import Worker, WorkType
else:
    Node = object  # a mixin that were a DOMNode would hide the CSS of the class beside it

T = TypeVar("T")


class FatalError(R1tuiError):
    """An unexpected exception that ended the screen; the command line prints it afterwards."""

    def __rich__(self) -> Text:
        """Nothing for Textual to print: it would cut a long path."""
        return Text("", end="")


class Guarded(Node):
    """A mixin that reports every exception of a worker.

    A worker's `name` says what ends with it, as the beginning of a sentence: `@work(name="The export")`. What is shown
    of its failure is over when it succeeds.
    """

    def run_worker(self, work: WorkType[T], name: str | None = "", *args: Any, **options: Any) -> Worker[T]:
        """As Textual's; exceptions are logged and given to `work_failed`, and do not end the screen."""
        guarded = _guarded(work, self, self.app, name or "Something", thread=options.get("thread", False))
        return super().run_worker(guarded, name, *args, **options | {"exit_on_error": False})

    def work_failed(self, name: str, error: R1tuiError) -> None:
        """Report the failed worker; override it to end what depends on it."""
        show_error(self.app, error, topic=name)


def show_error(app: App[Any], error: R1tuiError, topic: str = "") -> None:
    """Show a notice with what went wrong, for as long as this `topic` is not over."""
    show = getattr(app, "show_error", None)
    if show is not None:
        show(error, topic)
    else:
        app.notify(f"{error.cause} {error.remedy}", severity="error")


def report_at_end(task: asyncio.Task[Any]) -> None:
    """Log and show what the task raises, although nobody awaits it."""

    def ended(task: asyncio.Task[Any]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            context = {"message": "A task failed", "exception": error, "task": task}
            task.get_loop().call_exception_handler(context)

    task.add_done_callback(ended)


def _guarded(work: WorkType[T], node: Guarded, app: App[Any], name: str, *, thread: bool) -> WorkType[T]:
    """The same work; exceptions are reported and raised again."""

    def failed(error: Exception) -> None:
        if app.is_running:
            app.call_later(node.work_failed, name, as_user_error(error, name))
        else:
            logging.getLogger(__name__).info("%s ended while the screen closed", name, exc_info=error)

    def succeeded(result: T) -> T:
        if (end := getattr(app, "end_notice", None)) is not None:
            end(name)
        return result

    if thread:

        def in_thread() -> T:
            try:
                return succeeded(cast("Callable[[], T]", work)())
            except Exception as error:
                failed(error)
                raise

        return in_thread

    async def on_loop() -> T:
        try:
            awaitable = work if inspect.isawaitable(work) else cast("Callable[[], T]", work)()
            return succeeded(await cast("Awaitable[T]", awaitable))
        except Exception as error:
            failed(error)
            raise

    return on_loop
