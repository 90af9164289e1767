"""Where the question is typed: several lines, Enter sends. Large pieces stand in it as labels."""

from __future__ import annotations

from collections.abc import Callable

from textual import events
from textual.widgets import TextArea

from r1tui.chat.attachments import mentions, mentions_pasted, unfinished_mention
from r1tui.chat.typed import Recall, Typed, cleaned, is_large, label_for, typed_of
from r1tui.tui.commands import bindings_of
from r1tui.tui.remedies import in_keys
from r1tui.tui.widgets.completion import Completion
from r1tui.tui.widgets.own_keys import run_own_binding


class Prompt(TextArea):
    """A text area that grows with its text up to a third of a small terminal."""

    DEFAULT_CSS = """
    Prompt {
        height: auto;
        min-width: 12;
        min-height: 3;
        max-height: 8;
        border: round $primary-muted;
        background: $background;
        padding: 0 0 0 1;
        scrollbar-size: 0 1;
        scrollbar-gutter: stable;
        &:focus { border: round $primary; }
        & .text-area--placeholder { color: $text-muted; }
        &.-too-heavy { border-subtitle-color: $error; }
    }
    """
    BINDINGS = bindings_of("prompt")

    def __init__(self, completion: Completion, send: Callable[[Typed], None]) -> None:
        super().__init__(soft_wrap=True, show_line_numbers=False, tab_behavior="focus")
        self.cursor_blink = False  # two repaints a second, over SSH too
        self.recall = Recall()
        """Earlier questions; set by their owner."""
        self._completion = completion
        """While it is open it has the keys that choose."""
        self._send = send
        self._pieces: dict[str, str] = {}
        self._pasted: set[str] = set()
        """Names of files that were pasted with their `@`, or decided about when the question was asked first."""

    @property
    def typed(self) -> Typed:
        """The typed text."""
        text = self.text
        pasted = sorted(name for name in self._pasted if f"@{name}" in text or f'@"{name}' in text)
        pieces = {label: piece for label, piece in self._pieces.items() if label in text}
        return Typed(text, pieces, tuple(pasted))

    @property
    def unfinished_mention(self) -> str | None:
        """The typed part of a file's name before the cursor, without `@`; None if there is none."""
        row, column = self.cursor_location
        return unfinished_mention(self.document.get_line(row)[:column]) if self.selection.is_empty else None

    @property
    def is_completing(self) -> bool:
        """True if the list of files is there for what is typed now, and takes keys."""
        return self.has_focus and self._completion.is_open and self.unfinished_mention is not None

    def on_mount(self) -> None:
        self.placeholder = in_keys("Ask something. <prompt.send> sends.", self.app)

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

    def put_before(self, typed: Typed) -> None:
        """Have this above what stands here."""
        self.insert(self._adopted(typed) + "\n" * bool(self.text.strip()), (0, 0))

    def begin_mention(self) -> None:
        """Begin a word that names a file."""
        row, column = self.cursor_location
        before = self.document.get_line(row)[:column]
        self.insert("@" if unfinished_mention(f"{before}@") is not None else " @")

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

    async def on_key(self, event: events.Key) -> None:
        if self._completes(event.key):
            event.stop()
            event.prevent_default()
        elif not event.is_printable:
            await run_own_binding(self, event)
        elif self._pasted and event.character is not None:
            row, column = self.cursor_location
            by_hand = unfinished_mention(self.document.get_line(row)[:column] + event.character)
            self._pasted.discard((by_hand or "").removeprefix('"'))

    def _completes(self, key: str) -> bool:
        """True if the list of files takes the key; one that is still open for what is typed no more takes none."""
        return self.unfinished_mention is not None and self._completion.takes(key)

    def _submit(self) -> None:
        typed = self.typed
        if not self._completes("enter") and typed.text.strip():
            self.recall.leave()
            self.clear()
            self._pasted.clear()
            self._send(typed)

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
