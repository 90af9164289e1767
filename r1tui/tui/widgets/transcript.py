"""The conversation on the screen: one widget that draws rows, and redraws only those that changed.

It reads the conversation's model when told by `touch` that it changed, at most `refresh_hz` times a second. Blocks of
Markdown are rendered in slices between other events, the visible ones first.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, ClassVar, Literal

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.geometry import Region
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from r1tui.chat.conversation import Conversation, Exchange
from r1tui.tui.commands import bindings_of
from r1tui.tui.guarded import Guarded
from r1tui.tui.remedies import format_remedies
from r1tui.tui.widgets.once import call_after
from r1tui.tui.widgets.transcript_blocks import Work
from r1tui.tui.widgets.transcript_code import warm_up
from r1tui.tui.widgets.transcript_cursor import Cursor, Mark
from r1tui.tui.widgets.transcript_exchange import ExchangeView
from r1tui.tui.widgets.transcript_layout import Layout
from r1tui.tui.widgets.transcript_passage import FoundPassage
from r1tui.tui.widgets.transcript_queue import RenderQueue
from r1tui.tui.widgets.transcript_rows import EMPTY, Row
from r1tui.tui.widgets.transcript_styles import COMPONENTS, CSS, resolve
from r1tui.tui.widgets.transcript_viewport import JUMP_ROWS, WIDE_JUMP_ROWS, Viewport
from r1tui.tui.widgets.transcript_views import Views

if TYPE_CHECKING:
    from asyncio import TimerHandle
    from collections.abc import Callable

SLICE_S = 0.008
"""Longest rendering time at once on the event loop."""
PAUSE_S = 0.004
WARM_UP_AFTER_S = 0.5
"""Later than the first screen."""
WHEEL_ROWS = 3
SCROLL_COLUMNS = 2
"""Of the scroll indicator, and of the room between text and it."""
QUIET_PERIOD_S = 0.25
"""How often folded thinking is brought up to date: its figures and its last lines need no more."""


class Transcript(Guarded, Widget, can_focus=True):
    """Shows a conversation. Following, it stays at the end; scrolling up releases it, End takes it again."""

    ALLOW_SELECT = False
    COMPONENT_CLASSES: ClassVar[set[str]] = COMPONENTS
    DEFAULT_CSS = CSS
    BINDINGS = bindings_of("transcript")

    class CharacterTyped(Message):
        """A character was typed here, which nobody reads."""

        def __init__(self, character: str) -> None:
            super().__init__()
            self.character = character

    class Shown(Message):
        """Another conversation is shown, or the same one from its end."""

    def on_key(self, event: events.Key) -> None:
        if event.is_printable and event.character and event.key not in self.screen.active_bindings:
            event.stop()
            self.post_message(self.CharacterTyped(event.character))

    def __init__(self, *, refresh_hz: float = 10.0, thinking_lines: int = 4) -> None:
        """`thinking_lines` of the thinking are shown while the model thinks."""
        super().__init__()
        self.work = Work()
        self._period_s = 1 / refresh_hz
        self._views = Views(lambda what: format_remedies(what, self.app), thinking_lines=thinking_lines)
        self._layout = Layout()
        self.cursor = Cursor(self._views, self._layout)
        """The selected exchange or code block."""
        self.when_picked: Callable[[Mark], object] = self.put_mark
        """Told what is clicked while marking."""
        self.view = Viewport(self._layout, self.cursor)
        """The visible rows."""
        self._found: FoundPassage | None = None
        """The passage that a search has led to, while it is marked."""
        self._drawn: list[Row] = []
        self._scroll_cells: list[str] = []
        self._styles: dict[str, Style] = {}
        self._queue = RenderQueue(self.work)
        self._flush_timer: TimerHandle | None = None
        self._flush_is_late = False
        self._slice_timer: TimerHandle | None = None
        self._last_flush_s = 0.0

    @property
    def conversation(self) -> Conversation:
        """The one that is shown."""
        return self._views.conversation

    @property
    def _columns(self) -> int:
        """Columns of its text, with the scroll indicator or without."""
        return max(self.size.width - SCROLL_COLUMNS, 0)

    @property
    def settled(self) -> bool:
        """True if all that the model had when it was last touched is on the screen, rendered."""
        waiting = self._flush_timer or self._slice_timer or self._queue
        return not waiting and self._views.busy is None and not self._seeks

    def set_pace(self, refresh_hz: float, *, wide_jumps: bool) -> None:
        """Draw so often from now on, and jump by half a page where following needs a jump."""
        self._period_s = 1 / refresh_hz
        self.view.jump_rows = WIDE_JUMP_ROWS if wide_jumps else JUMP_ROWS

    def show(self, conversation: Conversation) -> None:
        """Show this conversation from its end."""
        self._views.show(conversation)
        self._queue.replace([])
        self.cursor.put(None)
        self._found = None
        self.view.reset()
        self.flush()
        self.post_message(self.Shown())

    def show_passage(self, exchange: Exchange, passage: str) -> None:
        """Show this passage of an exchange of the shown path, and mark what was found in it, as soon as it is drawn."""
        self.flush()
        if (view := self._views.of(exchange)) is not None:
            self._found = FoundPassage(exchange, passage)
            self.view.stay_at(view.blocks[0], 0)
            self._work_soon()
            self._redraw()

    @property
    def _seeks(self) -> bool:
        return self._found is not None and self._found.is_sought

    def _seek(self, found: FoundPassage) -> None:
        """Bring the passage into view when its block is rendered, which is done first."""
        view, width = self._views.of(found.exchange), self._columns
        if view is None:
            self._found = None
        if view is None or width < 1 or view.busy:
            return
        block = found.block(view.blocks) or view.blocks[0]
        if not block.is_fine(width):
            self._queue.put_first([block])
            self.view.stay_at(block, 0)
            return
        found.is_sought = False
        self.view.stay_at(block, self.size.height // 3 - found.row(block.rows))

    @property
    def waits(self) -> bool:
        """True if a question is shown that is not asked yet."""
        return self._views.waiting is not None

    def show_waiting(self, exchange: Exchange | None) -> None:
        """Show a question at the end that is not asked yet; None: there is none any more."""
        if exchange is not self._views.waiting:
            self._views.waiting = exchange
            self.flush()
            self.to_end()

    def touch(self) -> None:
        """The model has changed: redraw now, or as soon as it is time again. Call it as often as you like."""
        if not self.is_mounted:
            return
        quiet = bool(self._views.all) and self._views.all[-1].is_quiet
        wait_s = self._last_flush_s + (max(QUIET_PERIOD_S, self._period_s) if quiet else self._period_s) - monotonic()
        if wait_s <= 0:
            self.flush()
        elif self._flush_timer is None:
            self._flush_timer = call_after(self, wait_s, self.flush)
        elif self._flush_is_late and not quiet:
            self._flush_timer.cancel()
            self._flush_timer = call_after(self, wait_s, self.flush)
        else:
            return
        self._flush_is_late = quiet

    def first_mark(self) -> Mark | None:
        """The first selection: the last exchange while following, else the first that starts in the view."""
        last = next(reversed(self.cursor.marks()), None)
        return last if self.view.following else self.cursor.first(self.view.top, self.size.height)

    def put_mark(self, mark: Mark | None, *, line: int = 0) -> None:
        """Mark this, one of its lines as wrong, and bring it into view; None marks nothing."""
        self.cursor.put(mark, line=line)
        if mark is not None:
            self.view.following = False
        self._redraw()

    def toggle_thinking(self, exchange: Exchange | None = None) -> None:
        """Open or close the thinking of an exchange, else of the answer at the view: the last one while following."""
        view = self._view_here() if exchange is None else self._views.of(exchange)
        if view is not None:
            self._set_open([view], is_open=not view.open)

    def action_scroll(self, by: Literal["line", "half", "page", "all"], direction: int) -> None:
        """Scroll by a line, half a page, a page less one row, or all; at the end the view stays there."""
        if by == "all" and direction > 0:
            self.to_end()
            return
        height = self.size.height
        rows = {"line": 1, "half": height // 2, "page": height - 1, "all": self._layout.total}[by]
        self._scroll_by(direction * rows)

    def to_end(self) -> None:
        """Scroll to the end and stay there."""
        self._found = None
        self.view.to_end()
        self._redraw()

    def on_mount(self) -> None:
        self.set_interval(1.0, lambda: self.touch() if self._views.running else None)  # seconds are shown
        self.set_timer(WARM_UP_AFTER_S, self._warm_up)
        self.flush()

    def on_resize(self, event: events.Resize) -> None:
        event.stop()
        self._drawn = []
        self._queue.replace([])
        self._redraw()
        self._queue_all()

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        event.stop()
        self._scroll_by(-WHEEL_ROWS)

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        event.stop()
        self._scroll_by(WHEEL_ROWS)

    def on_click(self, event: events.Click) -> None:
        """Open or close the thinking whose line was clicked; while marking, mark what was clicked."""
        row = self.view.top + event.y
        place = self._layout.find(row)
        if self.cursor.mark is not None and (hit := self.cursor.at(row)) is not None:
            self.when_picked(hit)
        for view in self._views.all:
            if place is not None and self._layout.blocks[place[0]] is view.head:
                self._set_open([view], is_open=not view.open)

    def notify_style_update(self) -> None:
        """Colours have changed: resolve them anew."""
        super().notify_style_update()
        self._styles = {}

    def render_line(self, y: int) -> Strip:
        """One row of the view, as wide as the widget."""
        row = self._drawn[y] if y < len(self._drawn) else EMPTY
        mark = self._scroll_cells[y] if y < len(self._scroll_cells) else " "
        segments = [Segment(text, self._style(role)) for text, role in row.spans]
        strip = Strip(segments).adjust_cell_length(self._columns, self._style(row.fill))
        scroll = Segment(mark.rjust(SCROLL_COLUMNS), self._style("scroll"))
        return Strip([*strip, scroll]).adjust_cell_length(self.size.width)

    def _style(self, role: str) -> Style:
        style = self._styles.get(role)
        if style is None:
            style = self._styles[role] = resolve(self, role)
        return style

    def _warm_up(self) -> None:
        """Import in a thread what the first Markdown would otherwise stall on."""
        self.run_worker(warm_up, thread=True, name="Rendering Markdown")

    def flush(self) -> None:
        """Take up what the model has that is new, and show it."""
        if self._flush_timer is not None:
            self._flush_timer.cancel()
            self._flush_timer = None
        self._last_flush_s = monotonic()
        changed, are_others_gone = self._views.update()
        for view in changed:
            self._absorb(view)
        self._redraw()
        if are_others_gone:
            self._queue_all()
        if self._views.is_behind(self._columns):
            self.touch()

    def _absorb(self, view: ExchangeView) -> None:
        finished = view.absorb()
        self._queue.put_first(finished)
        if finished or view.busy:
            self._work_soon()

    def _set_open(self, views: list[ExchangeView], *, is_open: bool) -> None:
        """Open or close; the line that was looked at stays where it is."""
        if not views:
            return
        stays = views[-1].exchange.answer.running and self.view.following
        y = self.view.row_in_view(views[-1].head)
        for view in views:
            view.open = is_open
            self._absorb(view)
        if not stays:
            self.view.stay_at(views[-1].head, y)
        self._redraw()
        self._queue_all()

    def _view_here(self) -> ExchangeView | None:
        """The exchange whose thinking is meant: the first one with any in view, the last one while following."""
        views = self._views.thoughtful()
        if not self.view.following:
            for view in views:
                if self.view.reaches(view.head, view.blocks[-1]):
                    return view
        return views[-1] if views else None

    def _scroll_by(self, rows: int) -> None:
        if self._found is not None:
            self._found.is_sought = False
        self.view.scroll_by(rows)
        self._redraw()

    def _redraw(self) -> None:
        """Lay out, place the view, and refresh the rows that differ from what is on the screen."""
        width, height = self._columns, self.size.height
        if width < 1 or height < 1:
            return
        self._layout.set(self._views.blocks)
        view = self.view
        view.place(width, height, self.work, grows=self._views.running)
        rows = self._layout.rows(view.top, height)
        if self._found is not None and (of_it := self.cursor.rows(Mark(self._found.exchange))) is not None:
            inside = range(*of_it)
            rows = [self._found.paint(row) if y in inside else row for y, row in enumerate(rows, view.top)]
        rows = self.cursor.paint(rows, view.top)
        scroll = self._layout.scroll_cells(view.top, height, view.jump_rows)
        if len(self._drawn) != height or len(self._scroll_cells) != height:
            self._drawn, self._scroll_cells = rows, scroll
            self.work.rows_refreshed += height
            self.refresh()
            return
        regions = []
        for y, (old, new) in enumerate(zip(self._drawn, rows, strict=True)):
            if scroll[y] != self._scroll_cells[y] or old.fill != new.fill:
                regions.append(Region(0, y, self.size.width, 1))
            elif old != new:
                cells = width if new.fill else min(max(old.width, new.width), width)
                regions.append(Region(0, y, cells, 1))
        self._drawn, self._scroll_cells = rows, scroll
        self.work.rows_refreshed += len(regions)
        if regions:
            self.refresh(*regions)

    def _queue_all(self) -> None:
        """All that is not of this width waits for its slice: what is in view, then upwards from the end."""
        width = self._columns
        visible = self._layout.visible(self.view.top, self.size.height)
        ordered = [*visible, *reversed(self._layout.blocks)]
        self._queue.replace(block for block in ordered if not block.is_fine(width))
        if self._queue or self._seeks:
            self._work_soon()

    def _work_soon(self) -> None:
        if self._slice_timer is None and self.is_mounted:
            self._slice_timer = call_after(self, PAUSE_S, self._slice)

    def _slice(self) -> None:
        """Render for a bounded time, show it, and come again if there is more."""
        self._slice_timer = None
        width = self._columns
        self.work.slices += 1
        until_s = monotonic() + SLICE_S
        busy = self._views.busy
        if busy is not None:
            self._absorb(busy)
        while monotonic() < until_s and self._queue.step(width):
            pass
        if self._found is not None and self._found.is_sought:
            self._seek(self._found)
        self._redraw()
        if self._queue or self._views.busy is not None:
            self._work_soon()
