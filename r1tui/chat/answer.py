"""The model of an answer: text and counters that grow with the events of its stream.

Widgets read it and never change it; whoever reads the stream calls `Answer.apply`.
"""

from collections.abc import Callable
from time import monotonic
from typing import Literal, Self

from r1tui.events import Content, Failed, Finished, PromptProgress, Reasoning, StreamEvent, Timings

State = Literal["waiting", "reading", "thinking", "answering", "done", "stopped", "failed"]
RUNNING: frozenset[State] = frozenset({"waiting", "reading", "thinking", "answering"})


class Pieces:
    """Text that grows piece by piece: appending costs nothing, and a reader takes up only what is new to it."""

    def __init__(self, text: str = "") -> None:
        self._pieces = [text] if text else []
        self._joined: tuple[int, str] = (0, "")

    def __bool__(self) -> bool:
        return bool(self._pieces)

    def append(self, text: str) -> None:
        """Add a piece at the end."""
        self._pieces.append(text)

    def since(self, seen: int) -> tuple[str, int]:
        """What came after the first `seen` pieces, and the number to ask with the next time."""
        count = len(self._pieces)
        return ("".join(self._pieces[seen:]) if seen < count else ""), count

    @property
    def text(self) -> str:
        """All of it; joined only when there is something new."""
        count, text = self._joined
        if new := self._pieces[count:]:  # once: another thread may append meanwhile
            text += "".join(new)
            self._joined = (count + len(new), text)
        return text


class Answer:
    """An answer in whatever state it is. `clock` gives seconds."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self.state: State = "waiting"
        self.thinking = Pieces()
        self.content = Pieces()
        self.has_thoughts = False
        """Whether the thinking has more than white space."""
        self.prompt: PromptProgress | None = None
        self.timings: Timings | None = None
        self.finished: Finished | None = None
        self.cause = ""
        """What went wrong, of a failed answer; otherwise empty, as is `remedy`."""
        self.remedy = ""
        self.tokens = 0
        """Tokens made so far, thinking included: the server's count, or ours where it sends none."""
        self.thinking_tokens = 0
        self._clock = clock
        self._started_s = clock()
        self._thinking_from_s: float | None = None
        self._thinking_s: float | None = None

    @classmethod
    def past(
        cls,
        content: str,
        thinking: str = "",
        *,
        thinking_tokens: int = 0,
        thinking_s: float | None = None,
        state: State = "done",
    ) -> Self:
        """An answer of an earlier day."""
        answer = cls()
        answer.content, answer.thinking = Pieces(content), Pieces(thinking)
        answer.has_thoughts = bool(thinking.strip())
        answer.thinking_tokens, answer._thinking_s = thinking_tokens, thinking_s
        answer.state = state
        return answer

    @property
    def running(self) -> bool:
        """Whether more may come."""
        return self.state in RUNNING

    @property
    def is_empty(self) -> bool:
        """Whether nothing has come, not even a thought."""
        return not self.content and not self.has_thoughts

    @property
    def elapsed_s(self) -> float:
        """Seconds since the question was sent; meaningful while it runs."""
        return self._clock() - self._started_s

    @property
    def thinking_s(self) -> float | None:
        """How long it has thought, or thought in all; None when it did not or nobody knows."""
        if self._thinking_s is None and self._thinking_from_s is not None:
            return self._clock() - self._thinking_from_s
        return self._thinking_s

    @property
    def is_cut(self) -> bool:
        """Whether it ended at the token limit or the end of the context, not by itself."""
        return self.finished is not None and self.finished.finish_reason == "length"

    def apply(self, event: StreamEvent) -> None:
        """Take in the next event of the stream."""
        match event:
            case Reasoning(text):
                self._think(text)
            case Content(text):
                self._end_thinking()
                self.state = "answering"
                self.content.append(text)
                self._count()
            case Timings():
                self.timings = event
                self.tokens = event.completion_tokens
                if self.state == "thinking":
                    self.thinking_tokens = self.tokens
            case PromptProgress():
                self.prompt = event
                if self.state == "waiting":
                    self.state = "reading"
            case Finished():
                self._end_thinking()
                self.finished = event
                self.tokens = event.completion_tokens or self.tokens
                self.thinking_tokens = event.reasoning_tokens or self.thinking_tokens
                self.state = "stopped" if event.finish_reason == "cancelled" else "done"
            case Failed(cause, remedy):
                self._end_thinking()
                self.state, self.cause, self.remedy = "failed", cause, remedy

    def _think(self, text: str) -> None:
        if self._thinking_from_s is None:
            self._thinking_from_s = self._clock()
        if not self.content:
            self.state = "thinking"
        self.has_thoughts = self.has_thoughts or not text.isspace()
        self.thinking.append(text)
        self._count()
        if self.timings is None:
            self.thinking_tokens = self.tokens

    def _count(self) -> None:
        if self.timings is None:
            self.tokens += 1

    def _end_thinking(self) -> None:
        self._thinking_s = self.thinking_s
