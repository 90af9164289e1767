"""A launch's four stages as rows of text: what their events said, and how that looks in a given room."""

from collections import deque
from dataclasses import dataclass, field
from typing import Literal, get_args

from textual.content import Content

from r1tui.errors import CancelledError
from r1tui.events import (
    LogLine,
    Notice,
    Progress,
    Stage,
    StageDone,
    StageEvent,
    StageFailed,
    StageStarted,
    describe_progress,
)
from r1tui.text import duration, percent
from r1tui.tui.widgets.gauges import Ink, bar, elided, one_line, sides

STAGES: tuple[Stage, ...] = get_args(Stage)
LOG_ROWS: dict[Stage, int] = {"engine": 4, "model": 2, "plan": 0, "server": 1}
NOTICES = 3
SIDE_BY_SIDE_COLUMNS = 79
"""What a terminal of 120 columns leaves beside the instruments, and one of 80 does not have."""
GAP = 3
WORDY_ROWS = 3
"""A stage that has more to say than this in half the width is not put beside another."""
WORDS_COLUMNS = 50
"""Room for `131.2 GiB of 131.2 GiB, 1023.9 MiB/s, 2 h 05 min left`, nearly always."""
State = Literal["waiting", "running", "done", "failed", "cancelled"]
MARKS: dict[State, tuple[str, str]] = {
    "waiting": ("·", ""), "running": ("▸", "$accent"), "done": ("✓", "$success"), "failed": ("✗", "$error"),
    "cancelled": ("■", "$warning"),
}  # fmt: skip


@dataclass
class StageView:
    """State of one stage."""

    stage: Stage
    state: State = "waiting"
    title: str = ""
    progress: Progress | None = None
    log: deque[str] = field(default_factory=lambda: deque(maxlen=max(LOG_ROWS.values())))
    notices: deque[str] = field(default_factory=lambda: deque(maxlen=NOTICES))
    said: str = ""
    """Result at its end: the reason of a failure, or a fact about the result."""
    result: str = ""
    remedy: str = ""
    began_s: float | None = None

    def apply(self, event: StageEvent, now_s: float) -> None:
        """Take what an event of this stage says."""
        if self.began_s is None:
            self.began_s = now_s
        match event:
            case StageStarted(_, title):
                self.state, self.title, self.progress = "running", one_line(title), None
                self.said = self.result = self.remedy = ""
            case Progress():
                self.state, self.progress = "running", event
            case LogLine(_, text):
                if shown := one_line(text):
                    self.log.append(shown)
            case Notice(_, text):
                self.notices.append(one_line(text))
            case StageDone(_, result, detail):
                self.state, self.progress = "done", None
                self.said, self.result, self.remedy = one_line(detail), one_line(result), ""
            case StageFailed(_, cause, remedy, exit_status):
                cancelled = exit_status == CancelledError.exit_status
                self.state = "cancelled" if cancelled else "failed"
                self.progress, self.said, self.remedy = None, one_line(cause), one_line(remedy)

    def is_wordy(self, columns: int) -> bool:
        """True if a sentence of it would take too many rows in so little room."""
        return any(len(text) > WORDY_ROWS * columns for text in (*self.notices, self.said, self.remedy))

    def stop(self) -> None:
        """The launch is over: nothing runs on."""
        if self.state == "running":
            self.state, self.progress, self.said = "cancelled", None, "Stopped. It continues next time."


@dataclass(frozen=True)
class Room:
    """Amount shown: with little height the empty rows go first, then the log, then the results of done stages."""

    log_rows: int
    spaced: bool = False
    brief: bool = False


MOST = max(LOG_ROWS.values())
ROOMS = (Room(MOST, spaced=True), *(Room(n) for n in range(MOST, -1, -1)), Room(0, brief=True))


def launch_rows(views: list[StageView], width: int, height: int, now_s: float, ink: Ink) -> list[Content]:
    """All stages; the first two beside each other where both have room, as much of each as there is height."""
    rows: list[Content] = []
    column = (width - GAP) // 2
    beside = width >= SIDE_BY_SIDE_COLUMNS and not any(view.is_wordy(column - 2) for view in views[:2])
    for room in ROOMS:
        groups = [
            stage_rows(view, column if beside and view in views[:2] else width, room, now_s, ink) for view in views
        ]
        if beside:
            groups[:2] = [_beside(groups[0], groups[1], column)]
        rows = []
        for index, group in enumerate(groups):
            if room.spaced and index and len(groups[index - 1]) > 1:
                rows.append(Content(""))
            rows += group
        if len(rows) <= height:
            break
    return rows[:height]


def stage_rows(view: StageView, width: int, room: Room, now_s: float, ink: Ink) -> list[Content]:
    """One stage: its name and title, how far it is, the end of its log, what the user should know or do."""
    mark, style = MARKS[view.state]
    running, done = view.state == "running", view.state == "done"
    name = (view.stage, ink.muted if view.state == "waiting" else ink.strong)
    elapsed = duration(now_s - view.began_s) if running and view.began_s is not None else ""
    title = Content.assemble((mark, style), " ", name, f"  {view.title}" if view.title else "")
    rows = [sides(title, Content.styled(elapsed, ink.muted), width)]
    if done and room.brief:
        return rows
    inside = max(width - 2, 1)
    body: list[Content] = []
    if running:
        body += _progress(view.progress, inside, ink)
        lines = min(room.log_rows, LOG_ROWS[view.stage])
        body += [
            Content.styled(elided(text, inside), ink.muted) for text in list(view.log)[max(len(view.log) - lines, 0) :]
        ]
    for notice in view.notices:
        body += Content.styled(notice, "$warning").wrap(inside)
    if view.said:
        body += Content.styled(view.said, ink.muted if done else style).wrap(inside)
    elif view.result:
        body.append(Content.styled(elided(view.result, inside), ink.muted))
    if view.remedy:
        body += Content.styled(view.remedy, ink.strong).wrap(inside)
    return rows + [Content("  ") + row for row in body]


def _progress(progress: Progress | None, width: int, ink: Ink) -> list[Content]:
    if progress is None:
        return []
    done, _, rest = describe_progress(progress).partition(", ")
    words = [Content(f"{done}, {rest}" if rest else done)]
    if width < WORDS_COLUMNS:  # always two rows, or what is below would jump
        words = [Content(done), Content(rest)]
    if not progress.total:
        return words
    share = progress.done / progress.total
    return [Content("").join([bar(share, width - 6, ink), Content(f" {percent(min(share, 1.0)):>5}")]), *words]


def _beside(left: list[Content], right: list[Content], column: int) -> list[Content]:
    blank = Content("")
    return [
        Content(" " * GAP).join(
            [
                (left[y] if y < len(left) else blank).truncate(column, ellipsis=True, pad=True),
                (right[y] if y < len(right) else blank).truncate(column, ellipsis=True),
            ]
        )
        for y in range(max(len(left), len(right)))
    ]
