"""Where the question is typed: several lines, Enter sends. Large pieces stand in it as labels."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from textual import events
from textual.content import Content
from textual.message import Message
from textual.widgets import TextArea

from r1tui.chat.attachments import as_asked, mentions, mentions_pasted, question_of, unfinished_mention, with_files
from r1tui.chat.recall import Recall
from r1tui.chat.typed import Typed, cleaned, is_large, joined, label_for, typed_of
from r1tui.errors import R1tuiError
from r1tui.text import one_line
from r1tui.tui.commands import bindings_of
from r1tui.tui.guarded import Guarded
from r1tui.tui.remedies import in_keys, told

if TYPE_CHECKING:
    from r1tui.chat.conversation import Turn
    from r1tui.tui.widgets.completion import Completion


READ_S = 15.0
"""How long the attached files may take to be read."""
SENT_FROM_ASIDE = "sent from aside"
"""The group of the worker that reads the files of a text for which another was put aside."""


class Prompt(Guarded, TextArea):
    """A text area that grows with its text up to a third of a small terminal."""

    DEFAULT_CSS = """
    Prompt {
        height: auto;
        min-width: 12;
        min-height: 3;
        max-height: 8;
        border: round $primary-muted;
        background: $background;
        padding: 0 1;
        &:focus { border: round $primary; }
        & .text-area--placeholder { color: $text-muted; }
        &.-too-heavy { border-subtitle-color: $error; }
    }
    """
    BINDINGS = bindings_of("prompt")

    @dataclass
    class Submitted(Message):
        """The user wants this asked, of which the prompt is empty again; either `was_asked` or `give_back` follows."""

        text: str
        """All of it, with large pieces and attached files."""
        typed: Typed
        """What stood in the prompt."""

    def __init__(self) -> None:
        super().__init__(soft_wrap=True, show_line_numbers=False, tab_behavior="focus", placeholder="Ask something.")
        self.cursor_blink = False  # two repaints a second, over SSH too
        self.recall = Recall()
        """What was asked before; whoever knows it puts it there."""
        self.completion: Completion | None = None
        """The list of files, where there is one; while it is open it has the keys that choose."""
        self._pieces: dict[str, str] = {}
        self._pasted: set[str] = set()
        """Names of files that were pasted with their `@`, or decided about when the question was asked first."""
        self.edited: Turn | None = None
        """The exchange whose question stands here, to be asked anew."""
        self._aside: Typed | None = None
        self._title = ""
        self._on_its_way: list[Typed] = []
        """What was sent and is neither asked nor here again: its files are being read, its room is being counted."""

    @property
    def typed(self) -> Typed:
        """What stands here now."""
        text = self.text
        pasted = sorted(name for name in self._pasted if f"@{name}" in text or f'@"{name}' in text)
        pieces = {label: piece for label, piece in self._pieces.items() if label in text}
        return Typed(text, pieces, tuple(pasted))

    @property
    def draft(self) -> Typed:
        """What would be missed if this were lost."""
        here = self._aside or self.recall.draft(self.typed)
        return joined([*self._on_its_way, here]) if self._on_its_way else here

    @property
    def unfinished_mention(self) -> str | None:
        """What is typed of a file's name up to the cursor, its `@` left out; None where no file is being named."""
        row, column = self.cursor_location
        return unfinished_mention(self.document.get_line(row)[:column]) if self.selection.is_empty else None

    @property
    def is_completing(self) -> bool:
        """Whether the list of files is there for what is typed now, and takes keys."""
        is_open = self.completion is not None and self.completion.is_open
        return self.has_focus and is_open and self.unfinished_mention is not None

    def have(self, typed: Typed) -> None:
        """Have this in place of what stands here, ready to be walked on from."""
        self._pieces, self._pasted = dict(typed.pieces), set(typed.pasted)
        self.load_text(typed.text)

    def rewrite(self, text: str) -> None:
        """Have this text in place of what stands here, as somebody has edited it; undo brings the other back."""
        typed = typed_of(cleaned(text), self.typed.pieces)
        self.replace(self._adopted(typed), (0, 0), self.document.end, maintain_selection_offset=False)

    def paste(self, text: str, *, is_own: bool = False) -> None:
        """Insert the text at the cursor, as a label where it is large; it attaches files only where it `is_own`."""
        text = cleaned(text)
        if is_large(text):
            label = label_for(text, self._pieces)
            text = self._adopted(Typed(label, {label: text}))
        elif not is_own:
            by_hand = mentions_pasted(self.text) - self._pasted
            self._pasted |= mentions_pasted(text) - by_hand
        self.replace(text, *self.selection, maintain_selection_offset=False)

    def complete(self, mention: str) -> None:
        """Have this in place of the mention that is not finished; nothing where none is."""
        row, column = self.cursor_location
        if (begun := self.unfinished_mention) is None:
            return
        self._pasted.difference_update(mentions(mention))
        self.replace(mention, (row, column - len(begun) - 1), (row, column), maintain_selection_offset=False)

    def was_asked(self, typed: Typed) -> None:
        """What was sent is asked now."""
        self._on_its_way = [one for one in self._on_its_way if one is not typed]

    def give_back(self, typed: Typed) -> None:
        """Have what was sent and is not asked again, before what was typed since."""
        self.was_asked(typed)
        self.put_before(typed)

    def put_before(self, typed: Typed) -> None:
        """Have this before what stands here."""
        self.insert(self._adopted(typed), (0, 0))

    def begin_mention(self) -> None:
        """Begin a word that names a file."""
        row, column = self.cursor_location
        before = self.document.get_line(row)[:column]
        self.insert("@" if unfinished_mention(f"{before}@") is not None else " @")

    def begin_edit(self, turn: Turn, number: int, typed: Typed | None = None) -> None:
        """Have the question of this exchange here, or what has become of it; what stands here comes back when that is
        sent or left."""
        self.leave_edit()
        self.edited = turn
        title = in_keys(f"Editing question {number}: <prompt.send> asks it anew, <chat.stop> leaves it", self.app)
        self._put_aside(as_asked(turn.question) if typed is None else typed, title)
        self.screen.refresh_bindings()

    def leave_edit(self) -> Turn | None:
        """Have again what was put aside; what was edited, even if its files are being read, is not sent.

        Returns the exchange that was edited.
        """
        edited, self.edited = self.edited, None
        if edited is not None:
            self.workers.cancel_group(self, SENT_FROM_ASIDE)
            self._bring_back()
            self.screen.refresh_bindings()
        return edited

    def leave_edit_unless_of(self, turns: list[Turn]) -> None:
        """Leave it when its question is none of these exchanges' any more."""
        if self.edited is not None and self.edited not in turns:
            changed, question = self.typed, self.edited.question
            self.leave_edit()
            if changed.whole.strip() not in ("", question.strip()):  # of which nobody else knows
                self.put_before(changed)

    def _put_aside(self, typed: Typed, title: str) -> None:
        if self._aside is None:
            self._aside = self.draft
        self.recall.leave()
        self.have(typed)
        self.move_cursor(self.document.end)
        self._title = title
        self.border_title = Content(title)

    def _bring_back(self) -> None:
        if self._aside is not None:
            self.have(self._aside)
            self.move_cursor(self.document.end)
        self._aside, self.border_title = None, None

    def action_submit(self) -> None:
        """Send what is typed.

        It waits for the keys that came before this one and still wait for their turn.
        """
        self.call_later(self._submit)

    def action_newline(self) -> None:
        """Begin another line.

        It waits for its turn too.
        """
        self.call_later(self.insert, "\n")

    def action_older(self) -> None:
        """The row above; from the first one, the question before."""
        if not self.navigator.is_first_wrapped_line(self.cursor_location):
            self.action_cursor_up()
        elif (typed := self.recall.older(self.typed)) is not None:
            self.have(typed)
            if self.wrapped_document.height == 1:  # of several rows, the first one is where Up goes on
                self.move_cursor(self.document.end)

    def action_newer(self) -> None:
        """The row below; from the last one, the question after, in the end what was being typed."""
        if not self.navigator.is_last_wrapped_line(self.cursor_location):
            self.action_cursor_down()
        elif (typed := self.recall.newer(self.typed)) is not None:
            self.have(typed)
            self.move_cursor(self.document.end)

    def action_delete_left(self) -> None:
        """Delete what is left of the cursor: a character, or a whole label."""
        row, column = self.cursor_location
        before = self.document.get_line(row)[:column]
        label = next((label for label in self._pieces if before.endswith(label)), None)
        if label is not None and self.selection.is_empty:
            self.delete((row, column - len(label)), (row, column))
        else:
            super().action_delete_left()

    def action_paste(self) -> None:
        """Insert what was cut or copied here."""
        self.paste(self.app.clipboard)

    def on_paste(self, event: events.Paste) -> None:
        event.stop()
        event.prevent_default()
        self.paste(event.text)
        self.focus()

    def on_key(self, event: events.Key) -> None:
        if self._completes(event.key):
            event.stop()
            event.prevent_default()
        elif self._pasted and event.is_printable and event.character is not None:
            row, column = self.cursor_location
            by_hand = unfinished_mention(self.document.get_line(row)[:column] + event.character)
            self._pasted.discard((by_hand or "").removeprefix('"'))

    def _completes(self, key: str) -> bool:
        """Whether the list of files takes the key; one that is still open for what is typed no more takes none."""
        return self.completion is not None and self.unfinished_mention is not None and self.completion.takes(key)

    def _submit(self) -> None:
        if self._completes("enter"):
            return
        typed = self.typed
        if not typed.text.strip():
            return
        title = self._title if self._aside is not None else None
        self.recall.leave()
        self._on_its_way.append(typed)
        self.clear()
        self._pasted.clear()
        self._bring_back()
        if mentions(typed.text):
            group = "default" if title is None else SENT_FROM_ASIDE
            self.run_worker(self._read_and_post(typed, title), group=group, name="Reading the attached files")
        else:
            self.post_message(self.Submitted(question_of(typed), typed))

    async def _read_and_post(self, typed: Typed, title: str | None) -> None:
        try:
            text = await _with_files(typed)
        except asyncio.CancelledError:
            if title is not None:  # the edit was left; otherwise r1tui is, and the draft has it
                self.was_asked(typed)
            raise
        except Exception as error:  # whatever it was, the question is not lost
            if title is None:
                self.give_back(typed)
            else:
                self.was_asked(typed)
                self._put_aside(typed, title)
            if not isinstance(error, R1tuiError):
                raise
            self.notify(told(error, self.app), severity="warning", markup=False)
        else:
            self.post_message(self.Submitted(text, typed))

    def _adopted(self, typed: Typed) -> str:
        """The text, whose pieces are known from now on; a label that means something else here is another one there."""
        text = typed.text
        self._pasted.update(typed.pasted)
        for label, piece in typed.pieces.items():
            ours = label
            if self._pieces.get(label, piece) != piece:
                ours = label_for(piece, self._pieces)
                text = text.replace(label, ours)
            self._pieces[ours] = piece
        return text


async def _with_files(typed: Typed) -> str:
    """As `with_files`; of a disk that does not answer the thread is left behind."""
    try:
        return await asyncio.wait_for(asyncio.to_thread(with_files, typed), READ_S)
    except TimeoutError:
        named = ", ".join(f"@{name}" for name in mentions(typed.text))
        cause = f"{one_line(named)}: not read within {READ_S:.0f} s."
        raise R1tuiError(cause, "<prompt.send> tries again; without the @ it is sent as text.") from None
