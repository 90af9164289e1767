"""The exchange or code block that is marked: the line above the prompt that tells it, and whose keys act on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from textual.content import Content
from textual.message import Message
from textual.widgets import Static

from r1tui.chat.code import check
from r1tui.errors import R1tuiError
from r1tui.tui.commands import bindings_of
from r1tui.tui.guarded import Guarded
from r1tui.tui.remedies import in_keys
from r1tui.tui.terminal import format_copied
from r1tui.tui.widgets.prompt import Prompt
from r1tui.tui.widgets.transcript import Transcript
from r1tui.tui.widgets.transcript_cursor import Mark

if TYPE_CHECKING:
    from r1tui.chat.conversation import Conversation, Exchange, Removal

CHECK = "Checking the code"


class Selection(Guarded, Static, can_focus=True):
    """One line of text, cut where the screen ends. It is there, and has the focus, while something is being marked."""

    DEFAULT_CSS = """
    Selection {
        height: 1;
        padding: 0 1;
        background: $primary-muted;
        color: $text;
        text-wrap: nowrap;
        text-overflow: ellipsis;
    }
    """
    BINDINGS = bindings_of("select")
    keys_alone = True
    """True if the line of keys shows those of the screen no more while this has the focus."""

    @dataclass
    class QuestionChosen(Message):
        """The question of this exchange is to be edited, or asked anew as it is."""

        exchange: Exchange
        what: Literal["edit", "anew"]

    @dataclass
    class Saving(Message):
        """This text is to be saved, in a file that may have this name."""

        text: str
        name: str

    @dataclass
    class FiguresWanted(Message):
        """All that is known of this exchange's answer is to be shown."""

        exchange: Exchange

    class Changed(Message):
        """Other exchanges of the conversation are shown than before."""

    def __init__(self, transcript: Transcript, may_change: Callable[[], bool]) -> None:
        """`may_change` says whether other exchanges may be shown; the user is told why not."""
        super().__init__()
        self.display = False
        self._transcript = transcript
        self._cursor = transcript.cursor
        self._may_change = may_change
        self._followed = False
        """True if the view followed the answer before."""
        self._removed: list[tuple[Conversation, Removal]] = []
        """Deleted exchanges, for undo."""
        transcript.when_picked = self._put

    @property
    def mark(self) -> Mark | None:
        """The selected exchange or code block."""
        return self._cursor.mark

    async def do(self, what: str) -> None:
        """Begin or end the marking (`select`), or do something with the last answer or code block (`copy_last`,
        `copy_code`, `save_code`), or mark the last of what one of the actions is for and do that."""
        match what:
            case "select" if self.display:
                self.action_leave()
            case "select":
                self._begin()
            case "copy_last":
                answers = [Mark(exchange) for exchange in self._conversation.exchanges if exchange.answer.content]
                self._do_with_last(answers, self._copy, "answer")
            case "copy_code" | "save_code":
                do = self._copy if what == "copy_code" else self._save
                self._do_with_last([mark for mark in self._cursor.marks() if mark.listing], do, "code")
            case _:
                mark = self._cursor.last_for(_name(what))
                if not self.display:
                    self._begin()
                if mark is not None:
                    self._put(mark)
                await self.run_action(what)

    def can(self, what: str) -> bool:
        """True if that does something now."""
        if what == "select":
            return bool(self._conversation.exchanges or self._removed)
        if what in ("copy_last", "copy_code", "save_code"):
            return True
        name = _name(what)
        return (name == "undo" and bool(self._removed)) or (name != "leave" and self._cursor.last_for(name) is not None)

    def action_leave(self, *, focus_prompt: bool = True) -> None:
        """Mark nothing any more."""
        if not self.display:
            return
        if focus_prompt or self.has_focus:
            self.screen.set_focus(self.screen.query_one(Prompt))
        self.display = False
        self._transcript.put_mark(None)
        if self._followed:
            self._transcript.to_end()
        self.screen.refresh_bindings()

    def leave_lost_mark(self) -> None:
        """Leave where what is marked is not shown any more."""
        if self.mark is not None and self.mark.exchange not in self._conversation.exchanges:
            self.action_leave()

    def keep_to_shown(self) -> None:
        """Forget what is of another conversation."""
        if self.mark is None or self.mark.exchange not in self._conversation.exchanges:
            self.action_leave(focus_prompt=False)
        self._removed = [one for one in self._removed if one[0] is self._conversation]

    def action_step(self, step: int) -> None:
        """Mark the next one, or the one before."""
        marks = self._cursor.marks()
        index = marks.index(self.mark) if self.mark in marks else -1
        if 0 <= index + step < len(marks):
            self._put(marks[index + step])

    def action_end(self, index: int) -> None:
        """Mark the first one, or the last."""
        if marks := self._cursor.marks():
            self._put(marks[index])

    def action_page(self, step: int) -> None:
        """Scroll, with the mark where it is."""
        self._transcript.action_scroll("page", step)

    def action_copy(self) -> None:
        """Copy the code block, or the answer as Markdown, without its thinking."""
        if self.mark is not None:
            self._copy(self.mark)

    def action_save(self) -> None:
        """Save the code block, or the answer, to a file."""
        if self.mark is not None:
            self._save(self.mark)

    def action_figures(self) -> None:
        """Show all that is known of the answer."""
        if self.mark is not None:
            self.post_message(self.FiguresWanted(self.mark.exchange))

    def action_check(self) -> None:
        """Find out whether the code block, or the only one of the exchange, parses, and show the line that does not."""
        if (mark := self.mark) is None:
            return
        if not mark.listing:
            listings = self._cursor.code_of(mark.exchange)
            if len(listings) > 1:
                how = "<select.down> selects the next, <select.check> checks it"
                self._say(f"There are {len(listings)} code blocks: {how}.")
                return
            mark = listings[0]
            self._put(mark)
        self._say("Checking…")
        self.run_worker(self._check(mark), group="check", exclusive=True, name=CHECK)

    def action_choose(self, what: Literal["edit", "anew"]) -> None:
        """Have the question edited in the prompt, or asked again as it is; either begins a branch."""
        if self.mark is not None and self._may_change():
            self.post_message(self.QuestionChosen(self.mark.exchange, what))

    def action_thinking(self) -> None:
        """Open or close the thinking of the marked exchange."""
        if self.mark is not None:
            self._transcript.toggle_thinking(self.mark.exchange)

    def action_branch(self, step: int) -> None:
        """Show the next branch, or the one before; after the last comes the first."""
        if (mark := self.mark) is None or not self._may_change():
            return
        branches = self._conversation.branches(mark.exchange)
        exchange = branches[(branches.index(mark.exchange) + step) % len(branches)]
        self._conversation.show(exchange)
        self._changed(Mark(exchange))

    def action_delete(self) -> None:
        """Take the exchange out of the conversation."""
        if (mark := self.mark) is None or not self._may_change():
            return
        exchanges = self._conversation.exchanges
        index, n_left = exchanges.index(mark.exchange), len(self._conversation.branches(mark.exchange)) - 1
        self._removed.append((self._conversation, self._conversation.remove(mark.exchange)))
        self._changed(Mark(exchanges[min(index, len(exchanges) - 1)]) if exchanges else None)
        left = f"Branch deleted, {n_left} left" if n_left else "Deleted"
        self._say(f"{left}. <select.undo> restores it.")

    def action_undo(self) -> None:
        """Put back what was deleted last."""
        if self._may_change():
            _, removal = self._removed.pop()
            self._conversation.put_back(removal)
            self._changed(Mark(removal.exchange))

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Keys show where they do something."""
        return self.display and (bool(self._removed) if action == "undo" else self._cursor.fits(action, self.mark))

    def on_blur(self) -> None:
        """It has the keys until something else is wanted."""
        focused = self.screen.focused
        if not self.display or focused is None or focused is self:
            return
        if focused is self._transcript:  # clicked
            self.screen.set_focus(self)
        else:
            self.action_leave(focus_prompt=False)

    def work_failed(self, name: str, error: R1tuiError) -> None:
        """It says how that ended of which it says that it is being done."""
        super().work_failed(name, error)
        if name == CHECK:
            self._say(error.cause)

    @property
    def _conversation(self) -> Conversation:
        return self._transcript.conversation

    def _begin(self) -> None:
        mark, self._followed = self._transcript.first_mark(), self._transcript.view.following
        self.display = True
        self._put(mark)
        self.screen.set_focus(self)

    def _put(self, mark: Mark | None, *, line: int = 0) -> None:
        self._transcript.put_mark(mark, line=line)
        left = "Nothing is left. <select.undo> restores it."
        self._say(self._cursor.describe(mark) if mark is not None else left)
        self.screen.refresh_bindings()

    def _say(self, text: str) -> None:
        self.update(Content(in_keys(text, self.app)), layout=False)

    def _do_with_last(self, marks: list[Mark], do: Callable[[Mark], None], what: str) -> None:
        """Do this with the last of these, whatever is marked."""
        if marks:
            do(marks[-1])
        else:
            self.notify(f"There is no {what} in this conversation.")

    def _copy(self, mark: Mark) -> None:
        text = self._cursor.text_of(mark)
        self.app.copy_to_clipboard(text)
        how = "<select.save>" if self.display else "<chat.select> and <select.save>"
        self.notify(f"{format_copied(text)} {how} saves it to a file.")

    def _save(self, mark: Mark) -> None:
        name = self._cursor.listing(mark).file_name() if mark.listing else "answer.md"
        self.post_message(self.Saving(self._cursor.text_of(mark), name))

    async def _check(self, mark: Mark) -> None:
        listing = self._cursor.listing(mark)
        verdict = await check(listing.code, listing.language)
        if self.mark == mark:
            self._put(mark, line=verdict.line)
            self._say(verdict.text)

    def _changed(self, mark: Mark | None) -> None:
        self._transcript.flush()
        self._put(mark)
        self.post_message(self.Changed())


def _name(action: str) -> str:
    """Of an action with its parameters: `step(-1)` is `step`."""
    return action.partition("(")[0]
