"""A model on its way to this machine: every file, the rate, the time left; paused, gone on with, given up, or left."""

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path

from textual import on, work
from textual.app import ComposeResult
from textual.content import Content
from textual.screen import Screen

from r1tui.catalog.variants import Variant
from r1tui.config import Config
from r1tui.events import StageEvent
from r1tui.hub.download.staging import discard, download_job, unfinished
from r1tui.system.jobs import r1tui_command
from r1tui.system.paths import Paths
from r1tui.text import size
from r1tui.tui.beneath import Beneath
from r1tui.tui.commands import bindings_of
from r1tui.tui.guarded import Guarded
from r1tui.tui.messages import DownloadEnded, DownloadReported
from r1tui.tui.questions import Choice
from r1tui.tui.remedies import in_keys, with_keys
from r1tui.tui.screens.dialogs import AskScreen
from r1tui.tui.widgets.download_rows import DownloadView, download_rows
from r1tui.tui.widgets.key_line import KeyLine
from r1tui.tui.widgets.rows import Rows

TAIL_BYTES = 1 << 16
"""What is read of a log that is long already: each of its reports says everything."""
GIVE_UP = (Choice("d", "delete", "Cancel and delete"),)


class Download(Rows):
    """The rows of one download."""

    INTERVAL_S = 0.2
    DEFAULT_CSS = "Download { height: 1fr; padding: 1 2; }"

    def __init__(self, title: str) -> None:
        super().__init__()
        self.view = DownloadView(title)

    def apply(self, event: StageEvent) -> None:
        """Show what the event says."""
        self.view.apply(event)
        self.touch()

    def rows(self, width: int, height: int) -> list[Content]:
        return download_rows(self.view, width, height, self.ink)


class DownloadScreen(Guarded, Beneath, Screen[Variant | None]):
    """Follows the download of a variant, whoever began it; the answer is the variant when it is to be brought up."""

    BINDINGS = bindings_of("download")

    def __init__(
        self,
        variant: Variant,
        paths: Paths,
        config: Config,
        *,
        config_file: str | None = None,
        begin: bool = False,
        before_stop: Callable[[], object] = lambda: None,
    ) -> None:
        """`before_stop` is called before the process is stopped, to end what would start it again."""
        super().__init__()
        self._before_stop = before_stop
        self.variant = variant
        self._paths = paths
        self._config = config
        self._config_file = config_file
        self._begin = begin
        self._job = download_job(variant, paths)
        self.running = begin
        """True if its process is there, as far as was told."""

    def compose(self) -> ComposeResult:
        yield Download(self.variant.title or self.variant.name)
        yield KeyLine()

    def on_mount(self) -> None:
        self._follow(begin=self._begin)

    @property
    def view(self) -> DownloadView:
        """The shown state."""
        return self.query_one(Download).view

    @work(name="Following the download", exclusive=True, group="download")
    async def _follow(self, *, begin: bool) -> None:
        """Post what the download reports until its process ends; begin it first where it does not run."""
        try:
            if begin:
                command = r1tui_command(["download", "--json", self.variant.name], self._config_file)
                await asyncio.to_thread(self._job.start, command)
            self.running = await asyncio.to_thread(self._job.running) is not None
            self.refresh_bindings()
            start = max(0, await asyncio.to_thread(_size, self._job.log) - TAIL_BYTES)
            async with aclosing(self._job.events("model", start)) as events:
                async for event in events:
                    if not isinstance(event, str):
                        self.post_message(DownloadReported(event))
        except Exception:
            self.post_message(DownloadEnded())
            raise
        self.post_message(DownloadEnded())

    @on(DownloadReported)
    def _reported(self, message: DownloadReported) -> None:
        self.query_one(Download).apply(with_keys(message.event, self.app))
        self._offer_to_resume()

    @on(DownloadEnded)
    def _ended(self) -> None:
        self.running = False
        self.view.stop()
        self._offer_to_resume()
        self.query_one(Download).touch()
        self.refresh_bindings()

    def _offer_to_resume(self) -> None:
        """Name the key of this screen that resumes a stopped download."""
        if self.view.state == "stopped":
            self.view.remedy = in_keys("<download.pause> resumes it.", self.app)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Keys show where they do something."""
        match action:
            case "pause" | "give_up":
                return self.view.state != "done"
            case "choose":
                return self.view.state == "done"
            case _:
                return True

    @work(name="Pausing the download", group="pause")
    async def action_pause(self) -> None:
        if self.running:
            self._before_stop()
            await asyncio.to_thread(self._job.stop)
        else:
            self.running = True
            self._follow(begin=True)

    @work(name="Deleting the download", group="give_up")
    async def action_give_up(self) -> None:
        found = await asyncio.to_thread(unfinished, self.variant, self._paths, self._config)
        question = f"Cancel the download and delete {size(found[0] if found else 0)}?"
        if await self.app.push_screen_wait(AskScreen(question, GIVE_UP)) != "delete":
            return
        self._before_stop()
        await asyncio.to_thread(self._job.stop)
        gone = await asyncio.to_thread(discard, self.variant, self._paths, self._config)
        self.notify(f"Deleted {size(gone)}.")
        self.dismiss(None)

    def action_choose(self) -> None:
        self.dismiss(self.variant)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
