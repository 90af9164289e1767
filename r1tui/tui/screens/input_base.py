"""What of the chat is about the question: its history and draft, the editor, files, prompts, sampling."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from textual import events, on, work
from textual.widgets import TextArea

from r1tui.chat.attachments import mention, mentions
from r1tui.chat.paths import Candidates, candidates
from r1tui.errors import R1tuiError
from r1tui.system.logs import unforeseen
from r1tui.tui.messages import FileChosen, FilesClosed
from r1tui.tui.screens.seat_base import SeatBase

if TYPE_CHECKING:
    from r1tui.chat.typed import Typed

DRAFT_S = 1.0
"""A draft is written at most so often."""
RETRY_S = 5.0
"""What the disk refuses is tried again after so long."""


class InputBase(SeatBase):
    """A screen with a prompt, whose files are read and written beside the event loop."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        super().__init__(clock)
        self._drafting = True
        """Whether drafts are being written, or must not be yet."""
        self._editing = False
        self._looking = False
        self._begun: str | None = None
        """The file's name that is being typed."""
        self._let_be = False
        """Whether the list of files is not wanted for it."""
        self._weighing_files = False
        self._mentioned: tuple[list[str], tuple[str, ...]] = ([], ())
        """The files that the prompt names, and which of the names are pasted ones."""
        self._not_in_history: list[Typed] = []
        self._remembering = asyncio.Lock()
        """Questions that the file of the history could not take yet."""
        self._has_read_draft = False
        """Whether what was left by another r1tui stands in the prompt; before that nothing may take its place."""

    def _open_prompt(self) -> None:
        """Have what was asked before this start, and what was typed and not sent, as soon as it is read."""
        from r1tui.chat.prompt_files import Drafts, PromptHistory  # noqa: PLC0415  after the first screen
        from r1tui.tui.attached import Scales  # noqa: PLC0415  as above

        self._history, self._drafts = PromptHistory(self.r1.paths.prompt), Drafts(self.r1.paths.prompt)
        self._scales = Scales(self.r1.session.server.count_tokens)
        self._read_prompt()

    @work(name="Reading earlier questions")
    async def _read_prompt(self) -> None:
        try:
            if draft := await asyncio.to_thread(self._drafts.take):
                self.prompt.put_before(draft)
            self._has_read_draft = True
            self.prompt.recall.entries = await asyncio.to_thread(self._history.entries)
        except Exception:
            self._begin_drafting()
            raise
        self._begin_drafting()

    def _begin_drafting(self) -> None:
        """Keep from now on what is typed."""
        self._has_read_draft = True
        self._drafting = False
        self._prompt_changed()

    async def on_unmount(self) -> None:
        if self.furnished:
            try:
                await asyncio.to_thread(self._leave_draft, self.prompt.draft)
            except Exception as error:  # what comes after it is saved all the same
                unforeseen(error, "Saving the draft")

    async def save_draft(self) -> None:
        """Try to write what is typed; whether that worked is told."""
        if self.furnished and self._has_read_draft:
            await self._has_kept(self.prompt.draft)

    def leave_draft_at_once(self) -> None:
        """Write what is typed before anything else happens: the process is about to end."""
        if self.furnished:
            self._leave_draft(self.prompt.draft)

    @work(name="Saving the question")
    async def _take_from_history(self, typed: Typed) -> None:
        with suppress(R1tuiError):  # a question too many costs nothing
            await asyncio.to_thread(self._history.forget, typed)
        self.prompt.recall.entries = await asyncio.to_thread(self._history.entries)

    @work(name="Saving the question")
    async def _add_to_history(self, typed: Typed) -> None:
        self.prompt.recall.entries = [*self.prompt.recall.entries, typed]
        self._not_in_history.append(typed)
        await self.save_draft()  # at once: what was sent is no draft
        await self._remember_all()

    async def _remember_all(self) -> None:
        """Write what the history lacks, now or as soon as the disk takes it."""
        async with self._remembering:  # two at once would write a question twice
            if await self._has_remembered():
                entries = await asyncio.to_thread(self._history.entries)  # of another r1tui too
                self.prompt.recall.entries = [*entries, *self._not_in_history]
            else:
                self.set_timer(RETRY_S, self._remember_all)

    async def _has_remembered(self) -> bool:
        """Whether the history has all questions now; it is said for as long as it has not."""
        from r1tui.tui.unsaved import HISTORY  # noqa: PLC0415  as above

        try:
            while self._not_in_history:
                typed = self._not_in_history[0]
                await asyncio.to_thread(self._history.add, typed)
                self._not_in_history = [one for one in self._not_in_history if one is not typed]
        except R1tuiError as error:
            self.r1.unsaved.hear_of_prompt(HISTORY, error)
            return False
        self.r1.unsaved.hear_of_prompt(HISTORY, None)
        return True

    async def _has_kept(self, draft: Typed) -> bool:
        """Whether the draft is on disk now; it is said for as long as it is not."""
        from r1tui.tui.unsaved import DRAFT  # noqa: PLC0415  as above

        try:
            await asyncio.to_thread(self._drafts.save, draft)
        except R1tuiError as error:
            self.r1.unsaved.hear_of_prompt(DRAFT, error if draft.whole.strip() else None)
            return False
        self.r1.unsaved.hear_of_prompt(DRAFT, None)
        return True

    @on(TextArea.Changed)
    def _prompt_changed(self) -> None:
        if not self._drafting:
            self._drafting = True
            self._keep_draft()
        typed = self.prompt.typed
        if (named := (mentions(typed.text), typed.pasted)) != self._mentioned:
            self._mentioned = named
            self._weigh_again()

    @work(name="Saving the draft")
    async def _keep_draft(self) -> None:
        """Write the draft until it changes no more, at most so often."""
        kept: Typed | None = None
        try:
            while (draft := self.prompt.draft) != kept:
                kept = draft if await self._has_kept(draft) else None
                await asyncio.sleep(DRAFT_S if kept is not None else RETRY_S)
        finally:
            self._drafting = False

    def _leave_draft(self, draft: Typed) -> None:
        with suppress(R1tuiError):  # nobody is there to be told
            self._drafts.leave(draft if self._has_read_draft else None)

    def on_paste(self, event: events.Paste) -> None:
        """What is pasted while reading belongs into the prompt."""
        event.stop()
        self.prompt.focus()
        self.prompt.paste(event.text)

    def action_edit(self) -> None:
        """Open what is typed in the user's editor."""
        if not self._editing:
            self._editing = True
            self._edit()

    @work(name="The editor")
    async def _edit(self) -> None:
        from r1tui.tui.editor import edited  # noqa: PLC0415  as above

        text = self.prompt.typed.whole
        try:
            new = await edited(self.r1, text, self.r1.paths.prompt)
            if new != text:
                self.prompt.rewrite(new)
        except R1tuiError as error:
            self.r1.show_error(error)
        finally:
            self._editing = False

    def action_prompts(self) -> None:
        """Choose one of the config's prompts."""
        from r1tui.tui.screens.prompts import PromptsScreen  # noqa: PLC0415  as above

        def chosen(text: str | None) -> None:
            self.prompt.focus()
            if text is not None:
                self.prompt.paste(text, is_own=True)

        self.app.push_screen(PromptsScreen(self.r1.config.prompts), chosen)

    def action_sampling(self) -> None:
        """Say how the next answer's tokens are chosen: temperature, seed, limits and the like."""
        from r1tui.tui.screens.sampling import SamplingScreen  # noqa: PLC0415  as above

        config_file = Path(self.r1.config_file or self.r1.paths.config_file)
        self.app.push_screen(SamplingScreen(self.r1.session, config_file))

    def action_attach(self) -> None:
        """Attach a text file: begin its name."""
        self.prompt.focus()
        if self.prompt.unfinished_mention is None:
            self.prompt.begin_mention()
        self._let_be = False
        self._cursor_moved()

    @on(TextArea.SelectionChanged)
    def _cursor_moved(self) -> None:
        self._begun = self.prompt.unfinished_mention
        if self._begun is None:
            self._let_be = False
        if self._begun is None or self._let_be:
            self._close_files()
        elif not self._looking:
            self._looking = True
            self._look()

    @work(name="The list of files")
    async def _look(self) -> None:
        """Offer what the name may become, until that is what is typed now; one look at a time on a slow disk."""
        looked: str | None = None
        try:
            while (begun := self._begun) is not None and begun != looked and not self._let_be:
                looked = begun
                typed = begun.removeprefix('"')
                offered = await asyncio.to_thread(candidates, typed)
                is_whole = [one.name for one in offered.found] == [typed]
                if begun == self._begun and not self._let_be:
                    await self._offer(Candidates([]) if is_whole else offered)
        finally:
            self._looking = False

    async def _offer(self, offered: Candidates) -> None:
        if self.prompt.completion is None:
            from r1tui.tui.widgets.completion import Completion  # noqa: PLC0415  as above

            completion = Completion()
            await self.mount(completion, before=self.prompt)
            self.prompt.completion = completion
        self.prompt.completion.offer(offered)

    def _close_files(self) -> None:
        if self.prompt.completion is not None and self.prompt.completion.is_open:
            self.prompt.completion.offer(Candidates([]))

    @on(FilesClosed)
    def _files_closed(self) -> None:
        self._let_be = True
        self._close_files()

    @on(FileChosen)
    def _file_chosen(self, message: FileChosen) -> None:
        self._close_files()
        name = message.candidate.name
        if message.candidate.is_folder:
            self.prompt.complete(mention(name).removesuffix('"'))
        else:
            self.prompt.complete(f"{mention(name)} ")

    def _weigh_again(self) -> None:
        """Say anew what the attached files weigh: a server may say now, or the context has grown."""
        if not self._weighing_files and (self._mentioned[0] or self.prompt.border_subtitle):
            self._weighing_files = True
            self._weigh()

    @work(name="Counting the attached files")
    async def _weigh(self) -> None:
        from r1tui.tui.attached import in_words, too_heavy  # noqa: PLC0415  as above

        weighed = None
        try:
            while weighed != self._mentioned:
                weighed = self._mentioned
                weights = await self._scales.weigh(self.prompt.typed)
                left = self._context_left()
                self.prompt.border_subtitle = in_words(weights, left) if weights else None
                self.prompt.set_class(too_heavy(weights, left), "-too-heavy")
        finally:
            self._weighing_files = False

    def _context_left(self) -> int | None:
        """Tokens that the next question and its answer have, as far as it is known."""
        size = self.instruments.context_size
        return None if size is None else max(size - (self.conversation.context_tokens or 0), 0)
