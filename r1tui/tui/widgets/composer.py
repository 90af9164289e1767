"""Where a question is composed: its text and files, its history and draft, the external editor."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from textual import on, work
from textual.app import ComposeResult
from textual.content import Content
from textual.message import Message
from textual.widget import Widget
from textual.widgets import TextArea

from r1tui.chat.attachments import as_asked, mention, mentions, question_of, with_files
from r1tui.chat.typed import Typed, joined
from r1tui.errors import R1tuiError
from r1tui.system.lazy import LazyModule
from r1tui.system.logs import log_unexpected
from r1tui.text import one_line
from r1tui.tui.guarded import Guarded, show_error
from r1tui.tui.remedies import format_error, in_keys
from r1tui.tui.widgets.completion import Completion
from r1tui.tui.widgets.prompt import Prompt

if TYPE_CHECKING:
    from r1tui.chat.conversation import Exchange
    from r1tui.tui.services import composing
else:
    composing = LazyModule("r1tui.tui.services.composing")  # after the first screen

READ_S = 15.0
"""Longest time to read the attached files."""
SENT_FROM_ASIDE = "send-from-draft"
"""The group of the worker that reads the files of a text for which another was put aside."""


class Composer(Guarded, Widget):
    """The prompt with its list of files. It takes text at once; `begin` brings what is on disk."""

    DEFAULT_CSS = "Composer { height: auto; }"

    @dataclass
    class Submitted(Message):
        """The user wants this asked, of which the prompt is empty again; either `was_asked` or `give_back` follows."""

        text: str
        """All of it, with large pieces and attached files."""
        typed: Typed
        """Text of the prompt."""
        instead_of: Exchange | None
        """The exchange whose question it was."""

    def __init__(self) -> None:
        super().__init__()
        self.completion = Completion()
        self.prompt = Prompt(self.completion, self._send)
        self.edited: Exchange | None = None
        """The exchange whose question stands here, to be asked anew."""
        self._aside: Typed | None = None
        """What stood here before that."""
        self._title = ""
        self._on_its_way: list[Typed] = []
        """What was sent and is neither asked nor here again: its files are being read, its room is being counted."""
        self._edit_sent: Typed | None = None
        """That of it for which something was put aside."""
        self._has_begun = False
        self._has_read = False
        """True if history and draft have been read."""
        self._history: composing.HistorySaver
        self._drafts: composing.DraftSaver
        self.is_weighing = self.is_editing = False
        self._mentioned: tuple[list[str], tuple[str, ...], list[str]] = ([], (), [])
        """The files that the prompt names, which of the names are pasted ones, and the labels of its large pieces."""

    def compose(self) -> ComposeResult:
        yield self.completion
        yield self.prompt

    def begin(
        self, folder: Path, count: composing.Count, context_left: Callable[[], int | None], hear: composing.Hear
    ) -> None:
        """Read and keep history and draft in this folder; weigh files against the tokens that are left."""
        self._folder, self._scales, self._context_left = folder, composing.Scales(count), context_left
        self._history = composing.HistorySaver(folder, self.prompt.recall, hear)
        self._drafts = composing.DraftSaver(folder, lambda: self.draft, hear)
        self._has_begun = True
        self._read()

    @property
    def draft(self) -> Typed:
        """The text to save as draft."""
        here = [self.prompt.recall.draft(self.prompt.typed)]
        if self._aside:
            is_changed = self.edited is not None and here[0].whole.strip() != self.edited.question.strip()
            here = [self._aside, *(here if is_changed else [])]
        parts = [*self._on_its_way, *here]
        return joined(parts) if len(parts) > 1 else parts[0]

    @property
    def is_settled(self) -> bool:
        """True if history and draft have been read, and the draft changes no more."""
        return self._drafts.is_settled

    def begin_edit(self, exchange: Exchange, number: int, typed: Typed | None = None) -> None:
        """Have the question of this exchange here, or what has become of it; what stands here comes back when that is
        sent or left."""
        self.leave_edit()
        self.edited = exchange
        title = in_keys(f"Editing question {number}: <prompt.send> asks again, <chat.stop> cancels", self.app)
        if typed is not None:
            self._arrived(typed)
        self._put_aside(as_asked(exchange.question) if typed is None else typed, title)
        self.screen.refresh_bindings()

    def leave_edit(self) -> None:
        """Have again what was put aside; what was edited, even if its files are being read, is not sent."""
        if self.edited is not None:
            self.edited = self._edit_sent = None
            self.workers.cancel_group(self, SENT_FROM_ASIDE)
            self._bring_back()
            self.screen.refresh_bindings()

    def leave_edit_unless_of(self, exchanges: list[Exchange]) -> None:
        """Leave it when its question is none of these exchanges' any more."""
        if self.edited is not None and self.edited not in exchanges:
            changed, question = self._edit_sent or self.prompt.typed, self.edited.question
            self.leave_edit()
            if changed.whole.strip() not in ("", question.strip()):  # of which nobody else knows
                self.give_back(changed)

    def was_asked(self, typed: Typed) -> None:
        """Note that the sent text was asked: it joins the history and is no longer the draft."""
        self._arrived(typed)
        self._add(typed)

    @work(name="Saving the question")
    async def refused(self, typed: Typed) -> None:
        """Remove the last asked text from the earlier questions."""
        await self._history.forget(typed)

    def give_back(self, typed: Typed) -> None:
        """Have what was sent and is not asked again, before what was typed since."""
        self._arrived(typed)
        self.prompt.put_before(typed)

    async def save_draft(self) -> None:
        """Try to write what is typed; what comes of it is heard."""
        if self._has_begun:
            await self._drafts.save()

    def leave_draft(self) -> None:
        """Write what is typed; the process, or the screen, is about to end."""
        if self._has_begun:
            self._drafts.leave()

    async def on_unmount(self) -> None:
        try:
            await asyncio.to_thread(self.leave_draft)
        except Exception as error:  # what comes after it is saved all the same
            log_unexpected(error, "Saving the draft")

    @work(name="Counting the attached files")
    async def weigh(self) -> None:
        """Say anew what the attached files weigh: a server may say now, or the context has grown."""
        if self.is_weighing or not (self._mentioned[0] or self._mentioned[2] or self.prompt.border_subtitle):
            return
        self.is_weighing, weighed = True, None
        try:
            while weighed != self._mentioned:
                weighed = self._mentioned
                weights, left = await self._scales.weigh(self.prompt.typed), self._context_left()
                self.prompt.border_subtitle = composing.format_weights(weights, left) if weights else None
                self.prompt.set_class(composing.too_heavy(weights, left), "-too-heavy")
        finally:
            self.is_weighing = False

    def do(self, what: str) -> None:
        """Open the user's editor (`edit`), or begin the name of a file (`attach`)."""
        if what == "edit":
            self._edit()
            return
        self.prompt.focus()
        if self.prompt.unfinished_mention is None:
            self.prompt.begin_mention()
        self.completion.look_for(self.prompt.unfinished_mention, again=True)

    def can(self, what: str) -> bool:
        """True if that can be done now, as it always can."""
        return True

    @work(name="The editor")
    async def _edit(self) -> None:
        """Have what is typed in the user's editor, one at a time."""
        if self.is_editing:
            return
        self.is_editing = True
        try:
            before = self.prompt.typed.whole
            if (new := await composing.edited(self.app, before, self._folder)) != before:
                self.prompt.rewrite(new)
        except R1tuiError as error:
            show_error(self.app, error)
        finally:
            self.is_editing = False

    @work(name="Reading earlier questions")
    async def _read(self) -> None:
        try:
            await self._drafts.take(self.prompt.put_before)
            await self._history.read()
        except Exception:
            self._has_read = True
            raise
        self._has_read = True
        self._changed()

    @work(name="Saving the question")
    async def _add(self, typed: Typed) -> None:
        await asyncio.gather(self.save_draft(), self._history.add(typed))  # at once: what was sent is no draft

    @work(name="Saving the draft")
    async def _follow(self) -> None:
        await self._drafts.follow()

    @on(TextArea.Changed)
    def _changed(self) -> None:
        if not self._has_read:
            return
        if not self._drafts.is_following:
            self._follow()
        typed = self.prompt.typed
        if (named := (mentions(typed.text), typed.pasted, list(typed.pieces))) != self._mentioned:
            self._mentioned = named
            self.weigh()

    @on(TextArea.SelectionChanged)
    def _cursor_moved(self) -> None:
        self.completion.look_for(self.prompt.unfinished_mention)

    @on(Completion.Chosen)
    def _file_chosen(self, message: Completion.Chosen) -> None:
        named = mention(message.candidate.name)
        self.prompt.complete(named.removesuffix('"') if message.candidate.is_folder else f"{named} ")

    def _put_aside(self, typed: Typed, title: str) -> None:
        if self._aside is None:
            self._aside = self.prompt.recall.draft(self.prompt.typed)
        self.prompt.recall.leave()
        self.prompt.have(typed)
        self.prompt.move_cursor(self.prompt.document.end)
        self._title = title
        self.prompt.border_title = Content(title)

    def _bring_back(self) -> None:
        if self._aside is not None:
            self.prompt.have(self._aside)
            self.prompt.move_cursor(self.prompt.document.end)
        self._aside, self.prompt.border_title = None, None

    def _send(self, typed: Typed) -> None:
        edited = self.edited if self._aside is not None else None
        self._on_its_way.append(typed)
        self._bring_back()
        if not mentions(typed.text):
            self._post(question_of(typed), typed, edited)
            return
        if edited is not None:
            self._edit_sent = typed
        group = "default" if edited is None else SENT_FROM_ASIDE
        self.run_worker(self._read_and_post(typed, edited), group=group, name="Reading the attached files")

    async def _read_and_post(self, typed: Typed, edited: Exchange | None) -> None:
        try:
            text = await _read_files(typed)
        except asyncio.CancelledError:
            if edited is not None:  # the edit was left; otherwise r1tui is, and the draft has it
                self._arrived(typed)
            raise
        except Exception as error:  # whatever it was, the question is not lost
            if edited is None:
                self.give_back(typed)
            else:
                self._arrived(typed)
                self._put_aside(typed, self._title)
            if not isinstance(error, R1tuiError):
                raise
            self.notify(format_error(error, self.app), severity="warning")
        else:
            self._post(text, typed, edited)

    def _post(self, text: str, typed: Typed, edited: Exchange | None) -> None:
        if edited is not None:
            self.edited = self._edit_sent = None
            self.screen.refresh_bindings()
        self.post_message(self.Submitted(text, typed, edited))

    def _arrived(self, typed: Typed) -> None:
        self._on_its_way = [one for one in self._on_its_way if one is not typed]
        if self._edit_sent is typed:
            self._edit_sent = None


async def _read_files(typed: Typed) -> str:
    """As `with_files`; of a disk that does not answer the thread is left behind."""
    try:
        return await asyncio.wait_for(asyncio.to_thread(with_files, typed), READ_S)
    except TimeoutError:
        named = ", ".join(f"@{name}" for name in mentions(typed.text))
        cause = f"{one_line(named)}: not read within {READ_S:.0f} s."
        raise R1tuiError(cause, "<prompt.send> tries again; without the @ it is sent as text.") from None
