"""The list of conversations: found by their words, opened, renamed, deleted and brought back, exported."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from time import time

from rich.text import Text
from textual import on, work
from textual.app import ComposeResult
from textual.message import Message
from textual.widgets import DataTable

from r1tui.chat.export import file_name, written_as
from r1tui.chat.listing import MARKS, ConversationSummary, from_word, without_marks
from r1tui.chat.store import Store
from r1tui.errors import R1tuiError
from r1tui.text import day, one_line, plain, shortened
from r1tui.tui.commands import COMMANDS, bindings_of
from r1tui.tui.controllers.conversations import ConversationController
from r1tui.tui.guarded import show_error
from r1tui.tui.questions import Choice
from r1tui.tui.remedies import format_error, in_keys
from r1tui.tui.screens.dialogs import AskScreen, LineScreen, SaveScreen, SearchScreen
from r1tui.tui.screens.table_base import TableScreen
from r1tui.tui.services.saver import Saver
from r1tui.tui.services.server import ServerMonitor
from r1tui.tui.widgets.still_input import StillInput

LIST = "The list of conversations"
PAGE = 100
"""So many are read at a time; more when the cursor comes to the last one."""
NAME, LAST, WHEN, ASKED = "conversation", "last question", "when", "asked"
WIDTHS = {WHEN: 16, ASKED: 5, "": 14}
"""Of the columns beside the questions."""
RIGHT = (WHEN, ASKED)
"""These stand at the right of their column."""
NARROWEST_NAME = 16
WIDE = 52
"""Room for names from which a part of it is the last question's."""
FORMATS = (
    Choice("m", "markdown", "Markdown: the questions and answers on screen"),
    Choice("t", "thinking", "Markdown, with the thinking"),
    Choice("j", "json", "JSON: everything, with all branches"),
)


class SearchLine(StillInput):
    """The words that are searched for; Enter opens what is found, and the line of keys says so."""

    BINDINGS = [replace(COMMANDS["conversations.choose"].binding(), action="screen.choose")]


class ConversationsScreen(TableScreen[ConversationSummary], SearchScreen[ConversationSummary | None]):
    """The answer is the chosen conversation, with the passage that was found, or None."""

    DEFAULT_CSS = """
    ConversationsScreen {
        Input, Input:focus { display: none; height: 1; border: none; padding: 0 1; margin-bottom: 1; }
        Input, Input:focus { background: $panel; }
        &.-searching Input { display: block; }
    }
    """
    TABLE_TITLE = "Conversations"
    SAID_ROWS = 3
    BINDINGS = bindings_of("conversations")
    FOUND = DataTable

    @dataclass
    class Found(Message):
        """Posted with results of a search: `more` beside the listed ones; `is_whole` without another page."""

        wanted: str
        listed: list[ConversationSummary]
        more: bool
        is_whole: bool

    def __init__(self, saved: Saver, chat: ConversationController, monitor: ServerMonitor) -> None:
        super().__init__()
        self._saved = saved
        self._chat = chat
        self._monitor = monitor
        self._listed: list[ConversationSummary] = []
        self._whole = False
        """True if there are no more than are listed."""
        self._wanted = self._found_for = ""
        self._opens_found = False
        """True if the first one that is found is opened."""
        self._restored = ""
        """Id of the conversation that was restored, which the cursor goes to."""
        self._unread: R1tuiError | None = None
        """Why the list could not be read; then what is listed may be past, and an empty list says nothing."""

    def _heading(self) -> ComposeResult:
        yield SearchLine(placeholder="Search titles, questions and answers")

    @property
    def _heading_rows(self) -> int:
        return 1

    def on_mount(self) -> None:
        self.query_one(DataTable).focus()
        self._look()

    def on_resize(self) -> None:
        self._fill(self.cursor)

    def _look(self, *, more: bool = False) -> None:
        self._read(self._wanted, len(self._listed), more=more)

    @work(name=LIST, exclusive=True, group="look")
    async def _read(self, wanted: str, listed: int, *, more: bool) -> None:
        limit, offset = (PAGE, listed) if more else (max(PAGE, listed), 0)
        if wanted.strip():
            found = await self._saved.read(lambda store: store.search(wanted, PAGE))
        else:
            found = await self._saved.read(lambda store: store.newest(limit, offset))
        is_whole = bool(wanted.strip()) or len(found) < limit
        self.post_message(self.Found(wanted, found, more, is_whole))

    def work_failed(self, name: str, error: R1tuiError) -> None:
        """Show that the list could not be read, as long as it cannot."""
        super().work_failed(name, error)
        if name == LIST and self.is_attached:
            self._unread = error
            self._show_detail()

    @on(Found)
    def _found(self, message: Found) -> None:
        if message.wanted != self._wanted:  # another search has begun
            return
        self._unread = None
        is_first, self._found_for = self._wanted not in ("", self._found_for), self._wanted
        cursor, under = self.cursor, self._under_cursor()
        self._listed = [*self._listed, *message.listed] if message.more else message.listed
        self._whole = message.is_whole
        ids = [one.id for one in self._listed]
        follows = self._restored or (under.id if under is not None else "")
        self._fill(0 if is_first else ids.index(follows) if follows in ids else cursor)
        self._restored = ""
        if self._opens_found:
            self._enter()

    def _fill(self, cursor: int) -> None:
        table = self.query_one(DataTable)
        table.clear(columns=True)  # whose widths would only grow
        widths = self._widths()
        for label, width in widths.items():
            table.add_column(label.rjust(width) if label in RIGHT else label, width=width)
        for number, one in enumerate(self._listed):
            name, last = _fitted(one.name, widths[NAME]), _fitted(one.last_question, widths.get(LAST, 0))
            if one.passage:
                name.append_text(Text("\n  ").append_text(_passage(one.passage, widths[NAME] - 2)))
            last.stylize("dim")
            cells = {
                NAME: name,
                LAST: last,
                WHEN: day(one.updated_s, time()),
                ASKED: one.exchanges,
                "": self._state(one),
            }
            shown = [str(cells[label]).rjust(widths[label]) if label in RIGHT else cells[label] for label in widths]
            table.add_row(*shown, key=str(number), height=2 if one.passage else 1)
        table.move_cursor(row=min(cursor, max(len(self._listed) - 1, 0)))
        self._show_detail()

    def _widths(self) -> dict[str, int]:
        """The columns and their widths: the last question stands beside the name where there is room for both."""
        beside = self._columns - sum(WIDTHS.values()) - 2 * len(WIDTHS) - 2
        last = {LAST: beside * 2 // 5} if beside >= WIDE else {}
        name = beside - sum(width + 2 for width in last.values())
        return {NAME: max(NARROWEST_NAME, name), **last, **WIDTHS}

    def _state(self, one: ConversationSummary) -> str:
        here = self._chat.open_here(one.id)
        if here is not None:
            return "answering" if self._chat.is_answering(one.id) else "shown"
        if one.open_in is not None:
            return "open elsewhere"
        return "answering" if one.running and self._is_recorded(one) else ""

    def _is_recorded(self, one: ConversationSummary) -> bool:
        return one.answer_id in self._monitor.refresh().answers

    def _under_cursor(self) -> ConversationSummary | None:
        return self._listed[self.cursor] if self.cursor < len(self._listed) else None

    def _show_detail(self) -> None:
        one = self._under_cursor()
        if one is None and self._unread is not None:
            self._say(["The list could not be read.", format_error(self._unread, self.app)])
            return
        if one is None:
            said = "No matches." if self._wanted.strip() else "There are no conversations yet."
            self._say([said])
            return
        elsewhere = f"Open in another r1tui (PID {one.open_in}); <conversations.choose> shows it read-only."
        place = "<conversations.choose> opens it." if one.open_in is None else elsewhere
        self._say(filter(None, [one.name, without_marks(one.passage) or one.last_question, in_keys(place, self.app)]))

    def on_data_table_row_highlighted(self) -> None:
        self._show_detail()
        if not self._whole and self._listed and self.cursor >= len(self._listed) - 1:
            self._look(more=True)

    def on_data_table_row_selected(self) -> None:
        if (one := self._under_cursor()) is not None:
            self.dismiss(one)

    def action_choose(self) -> None:
        if isinstance(self.focused, SearchLine):
            self._enter()
        else:
            super().action_choose()

    def _enter(self) -> None:
        """Open the first one, as soon as it is found."""
        self._opens_found = self._found_for != self._wanted
        if not self._opens_found:
            self.on_data_table_row_selected()

    def _search(self, wanted: str) -> None:
        self._wanted, self._opens_found = wanted, False
        self._look()

    def action_rename(self) -> None:
        if (one := self._under_cursor()) is not None:
            asks = LineScreen("Its title; empty: its first question.", one.name)
            self.app.push_screen(asks, lambda title: self._rename(one, title) if title is not None else None)

    def _rename(self, one: ConversationSummary, title: str) -> None:
        title = one_line(title)
        here = self._chat.open_here(one.id)
        if here is not None and self._saved.elsewhere(here) is None:
            here.title = title
            self._do(lambda: self._saved.save(here), "")
        else:
            self._do(lambda: self._saved.read(lambda store: store.rename(one.id, title)), "")

    def action_delete(self) -> None:
        one = self._under_cursor()
        if one is None:
            return
        if self._chat.is_answering(one.id):
            self.notify("Its answer is still coming. <chat.stop> in the chat stops it.")
            return
        told = f"“{shortened(one.name)}” is deleted. <conversations.restore> restores it for 30 days."
        self._do(lambda: self._delete(one), told)

    async def _delete(self, one: ConversationSummary) -> None:
        await self._saved.written(one.id, lambda store: store.delete(one.id))
        self._chat.leave(one.id)

    def action_restore(self) -> None:
        self._do(self._restore, "Restored.")

    async def _restore(self) -> None:
        self._restored = await self._saved.read(Store.restore)

    def action_export(self) -> None:
        if (one := self._under_cursor()) is not None:
            self._export(one)

    @work(name="The export")
    async def _export(self, one: ConversationSummary) -> None:
        kind = await self.app.push_screen_wait(AskScreen(f"Export “{shortened(one.name)}” as what?", FORMATS))
        if kind is None:
            return
        here = self._chat.open_here(one.id)
        if here is not None and self._saved.elsewhere(here) is None:
            await self._saved.save(here)
        loaded = await self._saved.read(lambda store: store.look(one.id))
        format_ = "json" if kind == "json" else "markdown"
        text = await asyncio.to_thread(written_as, loaded, format_, thinking=kind == "thinking")
        path = await self.app.push_screen_wait(SaveScreen(text, file_name(one.name, format_)))
        if path is not None:
            self.notify(plain(f"Written to {path}."))

    @work(name="Changing the conversation")
    async def _do(self, change: Callable[[], Awaitable[object]], told: str) -> None:
        try:
            await change()
        except R1tuiError as error:
            show_error(self.app, error)
        else:
            if told:
                self.notify(told)
        self._look()


def _fitted(text: str, width: int) -> Text:
    """On one line, in so many cells."""
    fitted = Text(shortened(text, 2 * width), no_wrap=True)
    fitted.truncate(width, overflow="ellipsis")
    return fitted


def _passage(passage: str, width: int) -> Text:
    """The passage with what was found marked, as much of it as fits around the first."""
    before, _, rest = plain(passage).partition(MARKS[0])
    room = max(width - len(rest.partition(MARKS[1])[0]), 0) // 3
    before = before if len(before) <= room else f"…{from_word(before[len(before) - room + 1 :])}"
    text = Text(before, no_wrap=True)
    for piece in rest.split(MARKS[0]):
        hit, _, after = piece.partition(MARKS[1])
        text.append(hit, style="bold underline").append(after)
    text.truncate(width, overflow="ellipsis")
    return text
