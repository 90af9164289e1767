"""What is known of an answer besides its text: one line below it, and all of it as names and values."""

from datetime import datetime

from rich.cells import cell_len

from r1tui.chat.answer import Answer
from r1tui.chat.conversation import Exchange
from r1tui.events import Finished, Timings, telling_tps
from r1tui.text import duration, one_line
from r1tui.tui.widgets.quantities import seconds, tps
from r1tui.tui.widgets.transcript_blocks import MARGIN, Block, Work
from r1tui.tui.widgets.transcript_rows import EMPTY, row_of, safe_text

BETWEEN = " · "
DROPPED_FIRST = ("first token", "waited", "time", "tokens", "ended", "model")
"""What a narrow screen does without, in this order; the speed stays."""
LEAST_WAIT_S = 1.0
_CUT = {"limit": "cut off by max_tokens", "context": "cut off, context full"}


def summary(exchange: Exchange) -> dict[str, str]:
    """The parts of the line below an answer, in their order; none while it runs, or where nothing is known."""
    answer = exchange.answer
    counters = answer.finished or answer.timings
    if answer.running or not answer.tokens or not (counters or exchange.model):
        return {}
    first_s, waited_s, all_s = _first_token_s(answer), _waited_s(answer), _all_s(answer)
    parts = {
        "model": safe_text(one_line(exchange.model)),
        "tokens": _tokens(answer.tokens),
        "speed": _speed(counters),
        "first token": f"first token {seconds(first_s)}" if first_s is not None else "",
        "waited": f"waited {seconds(waited_s)}" if waited_s is not None else "",
        "time": seconds(all_s) if all_s is not None else "",
        "ended": ended(answer),
    }
    return {name: text for name, text in parts.items() if text}


def ended(answer: Answer) -> str:
    """Its end in one to three words; `running` if it has none."""
    if answer.running:
        return "running"
    return _CUT.get(answer.cut) or ("complete" if answer.state == "done" else answer.state)


def all_figures(exchange: Exchange) -> dict[str, str]:
    """Everything that is known of an answer, by its name."""
    answer = exchange.answer
    counters, timings = answer.finished or answer.timings, answer.timings
    first_s, waited_s = _first_token_s(answer), _waited_s(answer)
    all_s, thinking_s = _all_s(answer), answer.thinking_s
    figures = {
        "Model": exchange.model,
        "Server": exchange.endpoint,
        "Sampling": exchange.sampling,
        "Asked": datetime.fromtimestamp(exchange.asked_s).strftime("%Y-%m-%d %H:%M:%S"),
        "Prompt": _tokens_at(counters.prompt_tokens, counters.prompt_tps) if counters else "",
        "Reused": f"{_tokens(timings.cached_tokens)} of the prompt" if timings else "",
        "Waited": f"{seconds(waited_s)} until the server took the question" if waited_s is not None else "",
        "First token": f"after {seconds(first_s)}" if first_s is not None else "",
        "Thinking": _tokens(answer.thinking_tokens) if answer.has_thoughts else "",
        "Answer": _tokens_at(answer.tokens - answer.thinking_tokens, None) if answer.tokens else "",
        "Speed": _speed(counters),
        "Time": seconds(all_s) if all_s is not None else "",
        "Context": f"{_tokens(answer.context_tokens)} with prompt and answer" if answer.context_tokens else "",
        "Ended": f"{ended(answer)}{': ' + answer.cause if answer.cause else ''}",
    }
    if thinking_s is not None and figures["Thinking"]:
        figures["Thinking"] += f" in {duration(thinking_s)}"
    return {name: safe_text(one_line(text)) for name, text in figures.items() if text}


class SummaryBlock(Block):
    """The line below an answer; a narrow one has less."""

    def __init__(self) -> None:
        super().__init__(gap=True)
        self._parts: dict[str, str] = {}

    def __bool__(self) -> bool:
        return bool(self._parts)

    def replace(self, parts: dict[str, str], *, gap: bool) -> None:
        """Have these parts."""
        if (parts, gap) != (self._parts, self.gap):
            self._parts, self.gap, self.width = parts, gap, 0
            self.height = gap + 1

    def lay_out(self, width: int, work: Work) -> None:
        """Make the row, of as much as fits."""
        if self.is_fine(width):
            return
        parts = dict(self._parts)
        for name in DROPPED_FIRST:
            if cell_len(BETWEEN.join(parts.values())) + len(MARGIN[0]) <= width:
                break
            if len(parts) > 1:
                parts.pop(name, None)
        row = row_of(MARGIN, (BETWEEN.join(parts.values()), "summary"))
        self.rows = [EMPTY, row] if self.gap else [row]
        self.width = width
        work.rows_built += 1


def _tokens(count: int) -> str:
    return f"{count:,} token{'s' * (count != 1)}"


def _tokens_at(count: int | None, tokens_per_s: float | None) -> str:
    if count is None:
        return ""
    return _tokens(count) + (f" at {tps(tokens_per_s)} tok/s" if tokens_per_s else "")


def _speed(counters: Timings | Finished | None) -> str:
    answer_tps = telling_tps(counters) if counters else None
    return f"{tps(answer_tps)} tok/s" if answer_tps else ""


def _first_token_s(answer: Answer) -> float | None:
    return answer.finished.first_token_s if answer.finished else None


def _waited_s(answer: Answer) -> float | None:
    """Seconds in which the server was busy with something else; None where these are too few to be worth a word."""
    waited_s = ((answer.finished and answer.finished.waited_ms) or 0.0) / 1000
    return waited_s if waited_s >= LEAST_WAIT_S else None


def _all_s(answer: Answer) -> float | None:
    """Seconds from when the server took the question to the last token of its last request."""
    first_s, end = _first_token_s(answer), answer.finished
    if first_s is None or end is None or not end.tps or end.completion_tokens is None:
        return None
    return first_s + end.completion_tokens / end.tps
