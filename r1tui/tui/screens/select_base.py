"""What of the chat is about what is said already: marking an exchange or a listing, and acting on it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from textual import on
from textual.events import DescendantFocus

from r1tui.errors import R1tuiError
from r1tui.text import plain
from r1tui.tui.remedies import in_keys
from r1tui.tui.screens.seat_base import SeatBase
from r1tui.tui.widgets.prompt import Prompt
from r1tui.tui.widgets.transcript import Transcript
from r1tui.tui.widgets.transcript_cursor import Mark

if TYPE_CHECKING:
    from r1tui.chat.conversation import Conversation, Removal, Turn
    from r1tui.tui.widgets.select_bar import SelectBar

CHECK = "The check"
STILL_COMING = "The answer is still coming. <select.leave> leaves the selection, then <chat.stop> stops the answer."


class SelectBase(SeatBase):
    """A screen with a mode in which single letters act on what is marked; the prompt has the focus again after it."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        super().__init__(clock)
        self._bar: SelectBar | None = None
        """Says what is marked, and has the keys; None while nothing is being marked."""
        self._followed = False
        """Whether the view followed the answer before."""
        self._removed: list[tuple[Conversation, Removal]] = []
        """What was deleted of the conversation, to be put back."""

    @property
    def mark(self) -> Mark | None:
        """What is marked."""
        return self.furniture.transcript.cursor.mark if self.furnished else None

    async def action_select(self) -> None:
        """Mark an exchange or a listing; or no longer."""
        transcript = self.furniture.transcript
        if self._bar is not None:
            self.action_select_leave()
            return
        from r1tui.tui.widgets.select_bar import SelectBar  # noqa: PLC0415  after the first screen

        mark, self._followed = transcript.first_mark(), transcript.following
        self._bar = bar = SelectBar()
        await self.mount(bar, before=self.query_one(Prompt))
        self._put(mark)
        self.set_focus(bar)

    async def action_begin_with(self, action: str) -> None:
        """Mark the last exchange, or else listing, that this can be done with, and do it."""
        mark = self._last_for(_name(action))
        if self._bar is None:
            await self.action_select()
        if mark is not None:
            self._put(mark)
        await self.run_action(action)

    def action_select_leave(self) -> None:
        """Mark nothing any more."""
        self._end_marking(focus_prompt=True)

    def action_select_step(self, step: int) -> None:
        """Mark the next one, or the one before."""
        marks = self.furniture.transcript.cursor.marks()
        index = marks.index(self.mark) if self.mark in marks else -1
        if 0 <= index + step < len(marks):
            self._put(marks[index + step])

    def action_select_end(self, index: int) -> None:
        """Mark the first one, or the last."""
        if marks := self.furniture.transcript.cursor.marks():
            self._put(marks[index])

    def action_select_page(self, step: int) -> None:
        """Scroll, with the mark where it is."""
        transcript = self.furniture.transcript
        if step < 0:
            transcript.action_page_up()
        else:
            transcript.action_page_down()

    def action_select_copy(self) -> None:
        """Copy the listing, or the answer as Markdown, without its thinking."""
        if self.mark is not None:
            self._copy(self._text_of(self.mark))

    def action_copy_last(self) -> None:
        """Copy the last answer that has words, as Markdown, whatever is selected."""
        texts = [turn.answer.content.text for turn in self.conversation.turns if turn.answer.content]
        if texts:
            self._copy(texts[-1])
        else:
            self.notify("There is no answer in this conversation.", markup=False)

    def action_copy_code(self) -> None:
        """Copy the last listing, whatever is marked."""
        if (mark := self._last_listing()) is not None:
            self._copy(self._text_of(mark))

    def action_save_code(self) -> None:
        """Save the last listing, whatever is marked."""
        if (mark := self._last_listing()) is not None:
            self._save(mark)

    def action_select_save(self) -> None:
        """Save the listing, or the answer, to a file."""
        if self.mark is not None:
            self._save(self.mark)

    def action_select_check(self) -> None:
        """Find out whether the listing, or the only one of the exchange, parses, and show the line that does not."""
        if (mark := self.mark) is None:
            return
        if not mark.listing:
            listings = self._listings_of(mark.turn)
            if len(listings) > 1:
                how = "<select.down> marks the next one, then <select.check> checks it"
                self._say(f"There are {len(listings)} code blocks: {how}.")
                return
            mark = listings[0]
            self._put(mark)
        self._say("Checking…")
        self.run_worker(self._check(mark), group="check", exclusive=True, name=CHECK)

    def action_select_edit(self) -> None:
        """Put the question into the prompt; sent, it begins a branch."""
        if (mark := self.mark) is None or not self._may_change() or not self.answers.can_ask():
            return
        self._end_marking(focus_prompt=True)
        self.prompt.begin_edit(mark.turn, self.conversation.turns.index(mark.turn) + 1)

    def action_select_anew(self) -> None:
        """Ask the same question again; the answer that there is stays as a branch."""
        if (mark := self.mark) is None or not self._may_change() or not self.answers.can_ask():
            return
        self.run_worker(self._warn_of_the_same(), name="Reading the settings")
        self._end_marking(focus_prompt=True)
        self.answers.ask_anew(mark.turn)

    async def _warn_of_the_same(self) -> None:
        session = self.r1.session
        chosen = (await session.sampling()).temperature
        if chosen == 0 or (chosen is None and (await session.effective_sampling()).temperature == 0):
            self.notify("At temperature 0 the same answer comes again.", markup=False)

    def action_select_thinking(self) -> None:
        """Open or close the thinking of the marked exchange."""
        if self.mark is not None:
            self.furniture.transcript.toggle_thinking(self.mark.turn)

    def action_select_branch(self, step: int) -> None:
        """Show the next branch, or the one before; after the last comes the first."""
        if (mark := self.mark) is None or not self._may_change():
            return
        branches = self.conversation.branches(mark.turn)
        turn = branches[(branches.index(mark.turn) + step) % len(branches)]
        self.conversation.show(turn)
        self._changed(Mark(turn))

    def action_select_delete(self) -> None:
        """Take the exchange out of the conversation."""
        if (mark := self.mark) is None or not self._may_change():
            return
        turns = self.conversation.turns
        index, n_left = turns.index(mark.turn), len(self.conversation.branches(mark.turn)) - 1
        self._removed.append((self.conversation, self.conversation.remove(mark.turn)))
        self._changed(Mark(turns[min(index, len(turns) - 1)]) if turns else None)
        left = f"This branch is deleted, {n_left} {'is' if n_left == 1 else 'are'} left" if n_left else "It is deleted"
        self._say(f"{left}. <select.undo> puts it back.")

    def action_select_undo(self) -> None:
        """Put back what was deleted last."""
        if self._may_change():
            _, removal = self._removed.pop()
            self.conversation.put_back(removal)
            self._changed(Mark(removal.turn))

    @on(Transcript.Picked)
    def _picked(self, message: Transcript.Picked) -> None:
        if self._bar is not None:
            self._put(message.mark)

    @on(Transcript.Shown)
    def _conversation_shown(self) -> None:
        """Forget what was of another conversation."""
        if self.mark is None or self.mark.turn not in self.conversation.turns:
            self._end_marking(focus_prompt=False)
        self._removed = [one for one in self._removed if one[0] is self.conversation]
        self.prompt.leave_edit_unless_of(self.conversation.turns)
        self.refresh_bindings()

    @on(DescendantFocus)
    def _focus_moved(self, event: DescendantFocus) -> None:
        """The marking has the keys until something else is wanted."""
        if self._bar is None or event.widget is self._bar:
            return
        if isinstance(event.widget, Transcript):  # clicked
            self.set_focus(self._bar)
        else:
            self._end_marking(focus_prompt=False)

    def _end_marking(self, *, focus_prompt: bool) -> None:
        bar, self._bar = self._bar, None
        if bar is None:
            return
        if focus_prompt or self.focused is bar:
            self.set_focus(self.query_one(Prompt))
        bar.remove()
        transcript = self.furniture.transcript
        transcript.put_mark(None)
        if self._followed:
            transcript.action_to_end()
        self.refresh_bindings()

    def _put(self, mark: Mark | None, *, line: int = 0) -> None:
        self.furniture.transcript.put_mark(mark, line=line)
        self._say(self._describe(mark) if mark is not None else "There is nothing left. <select.undo> puts it back.")
        self.refresh_bindings()

    def _say(self, text: str) -> None:
        if self._bar is not None:
            self._bar.say(in_keys(text, self.app))

    def _describe(self, mark: Mark) -> str:
        turns = self.conversation.turns
        if not mark.listing:
            branches = self.conversation.branches(mark.turn)
            which = f", branch {branches.index(mark.turn) + 1} of {len(branches)}" if len(branches) > 1 else ""
            return f"Exchange {turns.index(mark.turn) + 1} of {len(turns)}{which}"
        listing = self.furniture.transcript.cursor.listing(mark)
        siblings = self._listings_of(mark.turn)
        lines = "1 line" if listing.n_lines == 1 else f"{listing.n_lines:,} lines"
        words = (f"Code {mark.listing} of {len(siblings)}", listing.language, lines, listing.file_name())
        return " · ".join(word for word in words if word)

    def _listings_of(self, turn: Turn) -> list[Mark]:
        return [one for one in self.furniture.transcript.cursor.marks() if one.turn is turn and one.listing]

    def _text_of(self, mark: Mark) -> str:
        return self.furniture.transcript.cursor.listing(mark).code if mark.listing else mark.turn.answer.content.text

    def _last_listing(self) -> Mark | None:
        found = [mark for mark in self.furniture.transcript.cursor.marks() if mark.listing]
        if not found:
            self.notify("There is no code in this conversation.", markup=False)
        return found[-1] if found else None

    def _copy(self, text: str) -> None:
        from r1tui.tui.clipboard import told  # noqa: PLC0415

        self.app.copy_to_clipboard(text)
        how = "<select.save>" if self._bar is not None else "<chat.select> and <select.save>"
        self.notify(f"{told(text)} {how} saves it to a file.", markup=False)

    def _save(self, mark: Mark) -> None:
        from r1tui.tui.screens.save import SaveScreen  # noqa: PLC0415

        def saved(path: Path | None) -> None:
            if path is not None:
                self.notify(f"Saved as {plain(str(path))}.", markup=False)

        name = self.furniture.transcript.cursor.listing(mark).file_name() if mark.listing else "answer.md"
        self.app.push_screen(SaveScreen(self._text_of(mark), name), saved)

    def work_failed(self, name: str, error: R1tuiError) -> None:
        """Where the bar says that something is being done, it says how that ended."""
        super().work_failed(name, error)
        if name == CHECK:
            self._say(error.cause)

    async def _check(self, mark: Mark) -> None:
        from r1tui.chat.check import check  # noqa: PLC0415

        listing = self.furniture.transcript.cursor.listing(mark)
        verdict = await check(listing.code, listing.language)
        if self.mark == mark:
            self._put(mark, line=verdict.line)
            self._say(verdict.text)

    def _changed(self, mark: Mark | None) -> None:
        """The shown path is another: show and save it."""
        self.prompt.leave_edit_unless_of(self.conversation.turns)
        self.furniture.transcript.catch_up()
        self.instruments.show_context(self.conversation.context_tokens)
        self._put(mark)
        self.run_worker(self.r1.save(self.conversation), group="save", name="Saving the conversation")

    def _may_change(self) -> bool:
        """Whether another path may be shown; the running answer is the end of this one."""
        if (pid := self.r1.saved.elsewhere(self.conversation)) is not None:
            self.notify(f"This conversation is open in another r1tui (process {pid}).", markup=False)
            return False
        if self.answers.is_shown or self.conversation.running:
            self.notify(STILL_COMING, markup=False)
            return False
        return True

    def _leave_lost_mark(self) -> None:
        """End the marking where what is marked is not shown any more."""
        if self.mark is not None and self.mark.turn not in self.conversation.turns:
            self._end_marking(focus_prompt=True)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Keys show where they do something."""
        if action == "stop" and self._bar is not None:
            return False  # the same key leaves the marking first
        if action == "select":
            return self.furnished and bool(self.conversation.turns or self._removed)
        if action == "begin_with":
            name = _name(str(*parameters))
            puts_back = name == "select_undo" and bool(self._removed)
            return puts_back or (name != "select_leave" and self._last_for(name) is not None)
        if not action.startswith("select_"):
            return super().check_action(action, parameters)
        return self._bar is not None and self._can(action, self.mark)

    def _last_for(self, action: str) -> Mark | None:
        """The last exchange that an action is for, or else the last listing; a check is of a listing."""
        marks = self.furniture.transcript.cursor.marks() if self.furnished else []
        fitting = [mark for mark in marks if self._can(action, mark)]
        wants_listing = action == "select_check"
        return max(fitting, key=lambda mark: (bool(mark.listing) == wants_listing, marks.index(mark)), default=None)

    def _can(self, action: str, mark: Mark | None) -> bool:
        """Whether an action does something with what is marked."""
        is_exchange = mark is not None and not mark.listing
        match action:
            case "select_edit" | "select_anew" | "select_delete":
                return is_exchange
            case "select_copy" | "select_save":
                return mark is not None and (bool(mark.listing) or bool(mark.turn.answer.content))
            case "select_check":
                return mark is not None and bool(mark.listing or self._listings_of(mark.turn))
            case "select_thinking":
                return mark is not None and is_exchange and mark.turn.answer.has_thoughts
            case "select_branch":
                return mark is not None and is_exchange and len(self.conversation.branches(mark.turn)) > 1
            case "select_undo":
                return bool(self._removed)
            case _:
                return True


def _name(action: str) -> str:
    """Of an action of this screen, as bindings have it: `screen.select_step(-1)` is `select_step`."""
    return action.partition("(")[0].removeprefix("screen.")
