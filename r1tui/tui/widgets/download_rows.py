"""A download as rows of text: a bar for each file and one for all, the rate, the time left, what went wrong."""

from collections import deque
from dataclasses import dataclass, field
from typing import Literal

from textual.content import Content

from r1tui.errors import CancelledError
from r1tui.events import (
    FileProgress,
    FilesProgress,
    FileState,
    Notice,
    Progress,
    StageDone,
    StageEvent,
    StageFailed,
    StageStarted,
)
from r1tui.text import duration, percent, size
from r1tui.tui.widgets.gauges import Ink, bar, elided, one_line, sides

NOTICES = 4
NAME_SHARE = 3
"""A file's name has one part in so many of the width."""
State = Literal["begins", "runs", "waits", "stopped", "failed", "done"]
WORDS: dict[State, tuple[str, str]] = {
    "begins": ("beginning…", ""), "runs": ("downloading", "$accent"), "waits": ("waiting", "$warning"),
    "stopped": ("paused", "$warning"), "failed": ("failed", "$error"), "done": ("complete", "$success"),
}  # fmt: skip
BARS: dict[FileState, str] = {
    "waiting": "$primary", "arriving": "$primary", "checking": "$accent", "done": "$success",
}  # fmt: skip


@dataclass
class DownloadView:
    """State of one download."""

    title: str
    state: State = "begins"
    files: FilesProgress | None = None
    progress: Progress | None = None
    notices: deque[str] = field(default_factory=lambda: deque(maxlen=NOTICES))
    said: str = ""
    remedy: str = ""

    def apply(self, event: StageEvent) -> None:
        """Take what an event says."""
        match event:
            case StageStarted():
                self.state, self.said, self.remedy = "begins", "", ""
                self.notices.clear()
            case FilesProgress():
                self.files = event
                self.state = "waits" if event.paused else "runs"
            case Progress():
                self.progress = event
                self.state = "runs" if self.state == "begins" else self.state
            case Notice(_, text):
                self.notices.append(one_line(text))
            case StageDone(_, result):
                self.state, self.said, self.remedy = "done", one_line(result), ""
            case StageFailed(_, cause, remedy, exit_status):
                self.state = "stopped" if exit_status == CancelledError.exit_status else "failed"
                self.said, self.remedy = one_line(cause), one_line(remedy)

    def stop(self) -> None:
        """Its process has ended; one that was killed has not said so."""
        if self.state in ("begins", "runs", "waits"):
            self.state, self.said = "stopped", "The download process ended. What was downloaded is kept."


def download_rows(view: DownloadView, width: int, height: int, ink: Ink) -> list[Content]:
    """The whole download in a room; where it is low, the empty rows go first, then the notices."""
    word, style = WORDS[view.state]
    head = [sides(Content.styled(one_line(view.title), ink.strong), Content.styled(word, style), width)]
    body = _files(view.files.files, width, ink) if view.files else []
    total = _total(view, width, ink)
    end = Content.styled(view.said, ink.muted if view.state == "done" else style).wrap(width) if view.said else []
    end += Content.styled(view.remedy, ink.strong).wrap(width) if view.remedy else []
    told = [row for text in view.notices for row in Content.styled(text, ink.muted).wrap(width)]
    blank = [Content("")]
    parts = [part for part in (head, body, total, end) if part]
    rows = [row for part in parts for row in [*blank, *part]][1:]
    if len(rows) + 1 >= height:
        rows = [row for part in parts for row in part]
    room = height - len(rows) - 1
    return [*rows, *blank, *told[-room:]][:height] if told and room > 0 else rows[:height]


def _files(files: tuple[FileProgress, ...], width: int, ink: Ink) -> list[Content]:
    return [_bar_row(file, file.state, width, ink) for file in files]


def _total(view: DownloadView, width: int, ink: Ink) -> list[Content]:
    """All files together, and how fast they come."""
    if view.files is None:
        known = view.progress
        return [_all_row(known.done, known.total, width, ink)] if known is not None and known.total else []
    files = view.files
    here = sum(file.total if file.state in ("checking", "done") else file.done for file in files.files)
    words = []
    if view.state == "runs":
        words.append(f"{size(files.rate)}/s now" if files.rate else "stalled" if files.average else "connecting…")
        if files.average:
            words.append(f"{size(files.average)}/s on average")
        if files.eta_s is not None:
            words.append(f"{duration(files.eta_s)} left")
    if files.retries:
        words.append("1 retry" if files.retries == 1 else f"{files.retries} retries")
    rows = [_all_row(here, sum(file.total for file in files.files), width, ink)]
    return [*rows, Content.styled(", ".join(words), ink.muted)] if words else rows


def _all_row(done: int, total: int, width: int, ink: Ink) -> Content:
    return _bar_row(FileProgress("all", done, total, "done" if done == total else "arriving"), "", width, ink)


def _bar_row(file: FileProgress, word: str, width: int, ink: Ink) -> Content:
    """Name, bar, share, bytes and a word; the name has its end, where the shards differ."""
    share = min(file.done / file.total, 1.0) if file.total else 1.0
    column = max(width // NAME_SHARE - 2, 8)
    figures = f" {percent(share):>5} {size(file.done):>10} of {size(file.total):>9}  {word:<8}"
    room = max(width - column - 2 - len(figures), 4)
    name = f"{elided(one_line(file.name), column):<{column}}  "
    return Content.assemble(name, bar(share, room, ink, BARS[file.state]), (figures, ink.muted))
