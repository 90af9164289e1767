"""One exchange as blocks: the question, the thinking behind its one line, the answer, and what became of it."""

from collections.abc import Callable, Iterable, Sequence

from r1tui.chat.answer import Answer
from r1tui.chat.attachments import files_in
from r1tui.chat.code import CodeBlock
from r1tui.chat.conversation import Exchange
from r1tui.chat.markdown import MarkdownSplitter, open_listing
from r1tui.chat.typed import format_question
from r1tui.events import PromptProgress
from r1tui.remedies import Remedies, Remedy
from r1tui.text import duration, percent
from r1tui.tui.remedies import say, to_go_on
from r1tui.tui.widgets.transcript_blocks import (
    CHUNK_CHARS,
    LAST_CHARS,
    MARGIN,
    AnswerBlock,
    Block,
    LastLines,
    OpenListing,
    OpenMarkdown,
    PlainBlock,
)
from r1tui.tui.widgets.transcript_rows import clean
from r1tui.tui.widgets.transcript_summary import SummaryBlock, summary

InWords = Callable[[str | Iterable[Remedy]], str]
BAR_CELLS = 20
CONTEXT_FULL = (
    " Another question may fit, as thinking is not sent again. <chat.new> starts a new chat; "
    "with a larger plan.ctx_size <chat.continue> continues this answer."
)
THINKING_BAR = ("│ ", "thinking mark")
FEED_CHARS = 8_000
"""An old answer is taken in by pieces of this size, so that none takes long."""


class ExchangeView:
    """The blocks of an exchange. `absorb` takes up what is new in the model; nothing else reads it."""

    def __init__(self, exchange: Exchange, *, is_first: bool, in_words: InWords = say, thinking_lines: int = 0) -> None:
        """`thinking_lines` of the folded thinking are shown while it grows."""
        self.exchange = exchange
        self._in_words = in_words
        self.is_first = is_first
        self.place = (1, 1)
        """Its branch number and the number of branches."""
        self.listings: list[tuple[AnswerBlock, int]] = []
        """The listings of the answer: the block of each, and its number there."""
        self.is_last = True
        """True if keys are about its answer."""
        self.open = False
        """True if the thinking is shown."""
        self.blocks: list[Block] = []
        """All of them, from top to bottom."""
        self.head = PlainBlock("", "thought", gap=True)
        """The thinking's one line."""
        self.busy = False
        """True if `absorb` has left something for the next time."""
        question = clean(format_question(exchange.question, files_in(exchange.question))).strip("\n")
        self._question = PlainBlock(question, "question", gap=not is_first, first=("❯ ", "question mark"), rest=MARGIN)
        self._branch = PlainBlock("", "status", first=MARGIN, rest=MARGIN)
        self._thinking_lines = thinking_lines
        self._last_thoughts = LastLines(thinking_lines, "thinking", THINKING_BAR)
        self._last_thoughts_seen = 0
        self._thoughts: list[PlainBlock] = []
        self._thoughts_seen = 0
        self._thinking_of = exchange.answer.thinking
        self._splitter = MarkdownSplitter()
        self._answer: list[AnswerBlock] = []
        self._unread = ""
        self._content_seen = 0
        self._content_of = exchange.answer.content
        self._tail = PlainBlock("", "answer")
        self._status = PlainBlock("", "status", gap=True, first=MARGIN, rest=MARGIN)
        self._remedy = PlainBlock("", "status", first=MARGIN, rest=MARGIN)
        self._summary = SummaryBlock()
        self._failure = PlainBlock("", "failure", gap=True, first=("✗ ", "failure"), rest=MARGIN)

    @property
    def is_quiet(self) -> bool:
        """True if all that changes now is folded thinking: the figures in its one line, and its last lines."""
        return self.exchange.answer.state == "thinking" and self.exchange.answer.has_thoughts and not self.open

    @property
    def _shows_last_thoughts(self) -> bool:
        """True if the thinking is folded, and its last lines run by."""
        return self.is_quiet and self._thinking_lines > 0

    def absorb(self) -> list[AnswerBlock]:
        """Take up what the model has more than this, at most a bounded piece; the blocks that it finished."""
        answer = self.exchange.answer
        self._absorb_thoughts(answer)
        finished = self._absorb_content(answer)
        self._branch.replace("◂ {}/{} ▸".format(*self.place) if self.place[1] > 1 else "")
        failed = answer.state == "failed"
        self._failure.replace(clean(answer.cause) if failed else "")
        self._remedy.replace(clean(self._in_words(_remedies(answer, is_last=self.is_last))) if failed else "")
        self._status.replace(self._in_words(_status(answer, is_last=self.is_last)))
        is_said = bool(self._failure.text or self._status.text)
        self._summary.replace(summary(self.exchange), gap=not is_said)
        parts: list[tuple[bool, Sequence[Block]]] = [
            (True, [self._question]),
            (bool(self._branch.text), [self._branch]),
            (answer.has_thoughts, [self.head]),
            (self.open and answer.has_thoughts, self._thoughts),
            (self._shows_last_thoughts, [self._last_thoughts]),
            (True, self._answer),
            (not self._tail.text.isspace() and self._tail.text != "", [self._tail]),
            (bool(self._failure.text), [self._failure]),
            (bool(self._remedy.text), [self._remedy]),
            (bool(self._status.text), [self._status]),
            (bool(self._summary), [self._summary]),
        ]
        self.blocks = [block for shown, blocks in parts if shown for block in blocks]
        return finished

    def listing(self, number: int) -> CodeBlock:
        """The answer's listing of this number, the first one being 1."""
        block, within = self.listings[number - 1]
        index = self._answer.index(block)
        return block.listing(within, self._answer[index - 1] if index else None)

    def _absorb_thoughts(self, answer: Answer) -> None:
        if not answer.has_thoughts:
            return
        self.head.replace(("▾ " if self.open else "▸ ") + _thinking(answer))
        if self._thinking_of is not answer.thinking:
            self._thinking_of, self._thoughts, self._thoughts_seen = answer.thinking, [], 0
            self._last_thoughts = LastLines(self._thinking_lines, "thinking", THINKING_BAR)
            self._last_thoughts_seen = 0
        if self._shows_last_thoughts:
            text, self._last_thoughts_seen = answer.thinking.since(self._last_thoughts_seen)
            self._last_thoughts.append(clean(text[-LAST_CHARS:]))
        if not self.open:
            return
        text, self._thoughts_seen = answer.thinking.since(self._thoughts_seen)
        text = clean(text)
        if not self._thoughts:
            text = text.lstrip("\n")
        while text:
            last = self._thoughts[-1] if self._thoughts else None
            if last is None or (len(last.text) >= CHUNK_CHARS and last.text.endswith("\n")):
                last = PlainBlock("", "thinking", first=THINKING_BAR, rest=THINKING_BAR)
                self._thoughts.append(last)
            end = text.find("\n", max(CHUNK_CHARS - len(last.text), 0)) + 1 or len(text)
            last.append(text[:end])
            text = text[end:]

    def _absorb_content(self, answer: Answer) -> list[AnswerBlock]:
        is_another = self._content_of is not answer.content  # what has come of it was thinking
        if is_another or (self._splitter.closed and answer.running):  # it goes on, and its last block with it
            self._splitter, self._answer, self._tail = MarkdownSplitter(), [], PlainBlock("", "answer")
            self.listings.clear()
            self._content_of, self._content_seen, self._unread = answer.content, 0, ""
        text, self._content_seen = answer.content.since(self._content_seen)
        self._unread += clean(text)
        piece, self._unread = self._unread[:FEED_CHARS], self._unread[FEED_CHARS:]
        self._splitter.feed(piece)
        if not answer.running and not self._unread:
            self._splitter.close()
        finished = [AnswerBlock(block, gap=True, shown=self._tail) for block in self._splitter.step()]
        self._answer += finished
        self.listings += [(block, number) for block in finished for number in range(1, block.listings + 1)]
        rest = self._splitter.unfinished
        self.busy = bool(self._unread) or bool(finished) or (self._splitter.closed and bool(rest))
        listing = None if isinstance(self._tail, OpenListing) and not finished else open_listing(rest)
        if listing is not None:
            self._tail = OpenListing(listing)
        elif finished or self._splitter.closed or not self._tail.text.strip():
            self._tail = self._open_block(rest.lstrip("\n"), grows=answer.running)
        elif piece:
            self._tail.append(piece)
        return finished

    def _open_block(self, text: str, *, grows: bool) -> PlainBlock:
        if grows:
            return OpenMarkdown(text)
        return PlainBlock(text, "answer", gap=True, first=MARGIN, rest=MARGIN)


def _thinking(answer: Answer) -> str:
    """`thinking… 1,204 tokens, 48 s`, and when it has ended `thought 1,204 tokens in 2 min`."""
    count = answer.thinking_tokens
    tokens = f" {count:,} token{'s' * (count != 1)}" if count else ""
    seconds = answer.thinking_s
    if answer.state == "thinking":
        return f"thinking…{tokens}" + (f", {duration(seconds)}" if seconds is not None else "")
    return f"thought{tokens}" + (f" in {duration(seconds)}" if seconds is not None else "")


def _reading(prompt: PromptProgress, left_s: float | None) -> str:
    """Progress of reading the prompt: `reading ████░░░░ 43 % of 2,800 tokens, 96.4/s, 17 s left`."""
    share = min(prompt.processed / prompt.total, 1.0)
    full = int(share * BAR_CELLS)
    rate = f", {prompt.tps:.1f}/s" if prompt.tps is not None else ""
    left = f", {duration(left_s)} left" if left_s else ""
    bar = "█" * full + "░" * (BAR_CELLS - full)
    return f"reading {bar} {percent(share)} of {prompt.total:,} tokens{rate}{left}"


def _remedies(answer: Answer, *, is_last: bool) -> Remedies:
    return to_go_on(answer.remedies, is_last=is_last) if answer.can_go_on else answer.remedies


def _status(answer: Answer, *, is_last: bool) -> str:
    goes_on = " <chat.continue> continues it." if is_last and answer.can_go_on else ""
    match answer.state:
        case "waiting" if answer.waits_for:
            return f"Waiting: {answer.waits_for}. <chat.stop> takes the question back."
        case "waiting" if answer.waited_s:
            return f"Waiting for the server: {duration(answer.waited_s)}. <chat.stop> stops."
        case "waiting":
            return "waiting for the first token…"
        case "reading" if answer.prompt and answer.prompt.total:
            return _reading(answer.prompt, answer.reading_left_s)
        case "stopped":
            return f"{answer.cause or 'Stopped.'}{goes_on}"
        case "done" if answer.cut == "limit":
            return f"Cut off at the token limit (sampling.max_tokens).{goes_on}"
        case "done" if not (answer.content or answer.cut):
            return "The answer has no text."
        case "done" if answer.cut == "context":
            return f"Cut off: the context is full.{CONTEXT_FULL if is_last else ''}"
        case _:
            return ""
