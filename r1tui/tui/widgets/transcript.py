"""The conversation on the screen: one widget that draws rows, and redraws only those that changed.

It reads the conversation's model when told by `touch` that it changed, at most `refresh_hz` times a second. Blocks of
Markdown are rendered in slices between other events, the visible ones first.
"""

from collections import deque
from collections.abc import Iterator
from time import monotonic
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region
from textual.message import Message
from textual.strip import Strip
from textual.timer import Timer
from textual.widget import Widget

from r1tui.chat.conversation import Conversation
from r1tui.tui.widgets.transcript_blocks import Block, Work
from r1tui.tui.widgets.transcript_code import warm_up
from r1tui.tui.widgets.transcript_layout import Layout
from r1tui.tui.widgets.transcript_rows import EMPTY, Row
from r1tui.tui.widgets.transcript_styles import COMPONENTS, CSS, resolve
from r1tui.tui.widgets.transcript_turn import TurnView

SLICE_S = 0.008
"""How long the event loop is kept for rendering at a time."""
PAUSE_S = 0.004
WARM_UP_AFTER_S = 0.5
"""Later than the first screen."""
JUMP_ROWS = 10
"""Following, the view jumps by this much instead of moving with each row: a moved row costs a repaint of the page."""
WHEEL_ROWS = 3
QUIET_PERIOD_S = 0.25
"""How often the one line of folded thinking is brought up to date: its figures need no more."""


class Transcript(Widget, can_focus=True):
    """Shows a conversation. Following, it stays at the end; scrolling up releases it, End takes it again."""

    ALLOW_SELECT = False
    COMPONENT_CLASSES: ClassVar[set[str]] = COMPONENTS
    DEFAULT_CSS = CSS
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "line_up", "Line up", show=False, id="transcript.line_up"),
        Binding("down", "line_down", "Line down", show=False, id="transcript.line_down"),
        Binding("pageup", "page_up", "Page up", show=False, id="transcript.page_up"),
        Binding("pagedown", "page_down", "Page down", show=False, id="transcript.page_down"),
        Binding("home", "to_start", "To the start", show=False, id="transcript.start"),
        Binding("end", "to_end", "To the end", show=False, id="transcript.end"),
    ]

    class Typed(Message):
        """A character was typed here, which nobody reads."""

        def __init__(self, character: str) -> None:
            super().__init__()
            self.character = character

    def on_key(self, event: events.Key) -> None:
        if event.is_printable and event.character:
            event.stop()
            self.post_message(self.Typed(event.character))

    def __init__(self, *, refresh_hz: float = 10.0, id: str | None = None, classes: str | None = None) -> None:  # noqa: A002  Textual's name
        super().__init__(id=id, classes=classes)
        self.following = True
        """Whether the view stays at the end."""
        self.work = Work()
        self._period_s = 1 / refresh_hz
        self._views: list[TurnView] = []
        self._conversation = Conversation("")
        self._layout = Layout()
        self._top = 0
        self._anchor: tuple[Block, int] | None = None
        self._drawn: list[Row] = []
        self._scroll_cells: list[str] = []
        self._styles: dict[str, Style] = {}
        self._queue: deque[Block] = deque()
        self._current: tuple[Block, int, Iterator[None]] | None = None
        self._flush_timer: Timer | None = None
        self._flush_is_late = False
        self._slice_timer: Timer | None = None
        self._last_flush_s = 0.0

    @property
    def settled(self) -> bool:
        """Whether all that the model had when it was last touched is on the screen, rendered."""
        waiting = self._flush_timer or self._slice_timer or self._queue or self._current
        return not waiting and not any(view.busy for view in self._views)

    def show(self, conversation: Conversation) -> None:
        """Show this conversation from its end."""
        self._conversation = conversation
        self._views = []
        self._queue.clear()
        self._current = None
        self.following = True
        self._anchor = None
        self._top = 0
        self._flush()

    def touch(self) -> None:
        """The model has changed: redraw now, or as soon as it is time again. Call it as often as you like."""
        if not self.is_mounted:
            return
        quiet = bool(self._views) and self._views[-1].is_quiet
        wait_s = self._last_flush_s + (QUIET_PERIOD_S if quiet else self._period_s) - monotonic()
        if wait_s <= 0:
            self._flush()
        elif self._flush_timer is None:
            self._flush_timer = self.set_timer(wait_s, self._flush)
        elif self._flush_is_late and not quiet:
            self._stop_flush_timer()
            self._flush_timer = self.set_timer(wait_s, self._flush)
        else:
            return
        self._flush_is_late = quiet

    def toggle_thinking(self) -> None:
        """Open or close the thinking of the answer at the view: the last one while following."""
        view = self._view_here()
        if view is not None:
            self._set_open([view], is_open=not view.open)

    def toggle_all(self) -> None:
        """Open all thinking, or close it all if none is closed."""
        views = [view for view in self._views if view.turn.answer.has_thoughts]
        self._set_open(views, is_open=not all(view.open for view in views))

    def action_line_up(self) -> None:
        """Scroll up by a row."""
        self._scroll_by(-1)

    def action_line_down(self) -> None:
        """Scroll down by a row."""
        self._scroll_by(1)

    def action_page_up(self) -> None:
        """Scroll up by a page, less one row."""
        self._scroll_by(1 - self.size.height)

    def action_page_down(self) -> None:
        """Scroll down by a page, less one row."""
        self._scroll_by(self.size.height - 1)

    def action_to_start(self) -> None:
        """Scroll to the beginning."""
        self._scroll_by(-self._layout.total)

    def action_to_end(self) -> None:
        """Scroll to the end and stay there."""
        self.following = True
        self._top = self._last_top()
        self._redraw()

    def on_mount(self) -> None:
        self.set_interval(1.0, self._tick)
        self.set_timer(WARM_UP_AFTER_S, self._warm_up)
        self._flush()

    def on_resize(self, event: events.Resize) -> None:
        event.stop()
        self._drawn = []
        self._queue.clear()
        self._redraw()
        self._queue_all()

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        event.stop()
        self._scroll_by(-WHEEL_ROWS)

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        event.stop()
        self._scroll_by(WHEEL_ROWS)

    def on_click(self, event: events.Click) -> None:
        """Open or close the thinking whose line was clicked."""
        place = self._layout.find(self._top + event.y)
        for view in self._views:
            if place is not None and self._layout.blocks[place[0]] is view.head:
                self._set_open([view], is_open=not view.open)

    def notify_style_update(self) -> None:
        """Colours have changed: resolve them anew."""
        super().notify_style_update()
        self._styles = {}

    def render_line(self, y: int) -> Strip:
        """One row of the view, as wide as the widget."""
        width = self.size.width
        row = self._drawn[y] if y < len(self._drawn) else EMPTY
        mark = self._scroll_cells[y] if y < len(self._scroll_cells) else " "
        segments = [Segment(text, self._style(role)) for text, role in row.spans]
        strip = Strip(segments).adjust_cell_length(max(width - 1, 0), self._style(row.fill))
        return Strip([*strip, Segment(mark, self._style("scroll"))], width).adjust_cell_length(width)

    def _style(self, role: str) -> Style:
        style = self._styles.get(role)
        if style is None:
            style = self._styles[role] = resolve(self, role)
        return style

    def _tick(self) -> None:
        """Seconds are shown while an answer runs."""
        if self._conversation.turns and self._conversation.turns[-1].answer.running:
            self.touch()

    def _warm_up(self) -> None:
        """Import in a thread what the first Markdown would otherwise stall on."""
        self.run_worker(warm_up, thread=True, exit_on_error=False)

    def _flush(self) -> None:
        """Take up what the model has that is new, and show it."""
        self._stop_flush_timer()
        self._last_flush_s = monotonic()
        turns = self._conversation.turns
        if len(self._views) > len(turns) or any(v.turn is not t for v, t in zip(self._views, turns, strict=False)):
            self._views = []
        changed_from = max(len(self._views) - 1, 0)
        for turn in turns[len(self._views) :]:
            self._views.append(TurnView(turn, is_first=not self._views))
        for view in self._views[changed_from:]:
            view.is_last = view is self._views[-1]
            self._absorb(view)
        self._redraw()

    def _absorb(self, view: TurnView) -> None:
        finished = view.absorb()
        self._queue.extendleft(reversed(finished))
        if finished or view.busy:
            self._work_soon()

    def _set_open(self, views: list[TurnView], *, is_open: bool) -> None:
        """Open or close; the line that was looked at stays where it is."""
        if not views:
            return
        rows = [self._layout.start_of(view.head) for view in views]
        running = views[-1].turn.answer.running and self.following
        y = max(rows[-1] - self._top, -1) if rows[-1] is not None else 0
        for view in views:
            view.open = is_open
            self._absorb(view)
        if not running:
            self.following = False
            self._anchor = (views[-1].head, -min(y, self.size.height - 1))
        self._redraw()
        self._queue_all()

    def _view_here(self) -> TurnView | None:
        """The turn whose thinking is meant: the first one with any in view, the last one while following."""
        views = [view for view in self._views if view.turn.answer.has_thoughts]
        if not self.following:
            bottom = self._top + self.size.height
            for view in views:
                end = self._layout.end_of(view.blocks[-1])
                start = self._layout.start_of(view.head)
                if start is not None and end is not None and start < bottom and end > self._top:
                    return view
        return views[-1] if views else None

    def _scroll_by(self, rows: int) -> None:
        last = self._last_top()
        top = min(max(self._top + rows, 0), max(last, self._top if rows > 0 else 0))
        if rows < 0:
            self.following = False
        elif top >= last:
            self.following = self.following or self._top < last or rows > 0
        self._top = top
        self._anchor = self._layout.anchor(top)
        self._redraw()

    def _last_top(self) -> int:
        return max(self._layout.total - self.size.height, 0)

    def _redraw(self) -> None:
        """Lay out, place the view, and refresh the rows that differ from what is on the screen."""
        width, height = self.size.width - 1, self.size.height
        if width < 1 or height < 1:
            return
        self._layout.set([block for view in self._views for block in view.blocks])
        self._place(width, height)
        rows = self._layout.rows(self._top, height)
        scroll = self._layout.scroll_cells(self._top, height, JUMP_ROWS)
        if len(self._drawn) != height or len(self._scroll_cells) != height:
            self._drawn, self._scroll_cells = rows, scroll
            self.work.rows_refreshed += height
            self.refresh()
            return
        regions = []
        for y, (old, new) in enumerate(zip(self._drawn, rows, strict=True)):
            if scroll[y] != self._scroll_cells[y] or old.fill != new.fill:
                regions.append(Region(0, y, width + 1, 1))
            elif old != new:
                cells = width if new.fill else min(max(old.width, new.width), width)
                regions.append(Region(0, y, cells, 1))
        self._drawn, self._scroll_cells = rows, scroll
        self.work.rows_refreshed += len(regions)
        if regions:
            self.refresh(*regions)

    def _place(self, width: int, height: int) -> None:
        """Find the top row; blocks in view are laid out on the way, which may move it."""
        for _ in range(4):
            if self.following:
                self._top = self._following_top(height)
            elif self._anchor is not None and (row := self._layout.row_of_anchor(self._anchor)) is not None:
                self._top = row
            self._top = min(self._top, max(self._layout.total - 1, 0))
            if not self._layout.lay_out(self._top, height, width, self.work):
                break
        if not self.following:
            self._anchor = self._layout.anchor(self._top)

    def _following_top(self, height: int) -> int:
        """The top row that shows the end: the old one while it does, else with some room below."""
        last = self._last_top()
        turns = self._conversation.turns
        running = bool(turns) and turns[-1].answer.running
        room = min(JUMP_ROWS, height // 4) if running else 0
        return self._top if last <= self._top <= last + room else last + (room if last > 0 else 0)

    def _queue_all(self) -> None:
        """All that is not of this width waits for its slice: what is in view, then upwards from the end."""
        width = self.size.width - 1
        visible = self._layout.visible(self._top, self.size.height)
        ordered = [*visible, *reversed(self._layout.blocks)]
        self._queue = deque(block for block in ordered if not block.is_fine(width))
        self._current = None
        if self._queue:
            self._work_soon()

    def _work_soon(self) -> None:
        if self._slice_timer is None and self.is_mounted:
            self._slice_timer = self.set_timer(PAUSE_S, self._slice)

    def _slice(self) -> None:
        """Render for a bounded time, show it, and come again if there is more."""
        self._slice_timer = None
        width = self.size.width - 1
        self.work.slices += 1
        until_s = monotonic() + SLICE_S
        busy = next((view for view in reversed(self._views) if view.busy), None)
        if busy is not None:
            self._absorb(busy)
        while monotonic() < until_s and self._step(width):
            pass
        self._redraw()
        if self._queue or self._current or any(view.busy for view in self._views):
            self._work_soon()

    def _step(self, width: int) -> bool:
        """One step of the block at hand, or of the next; False when none is left."""
        if self._current is None or self._current[1] != width:
            while self._queue and self._queue[0].is_fine(width):
                self._queue.popleft()
            if not self._queue:
                self._current = None
                return False
            block = self._queue.popleft()
            self._current = (block, width, block.refine(width, self.work))
        try:
            next(self._current[2])
        except StopIteration:
            self._current = None
        return True

    def _stop_flush_timer(self) -> None:
        if self._flush_timer is not None:
            self._flush_timer.stop()
            self._flush_timer = None
