"""Takes R1's thinking out of content in which llama-server left it."""

import re

from r1tui.events import Content, ContentWasThinking, Reasoning

OPEN, CLOSE = "<think>", "</think>"
MOST_QUOTED = 100
"""After so many quoted tags none is expected to be the thinking's end."""
_FENCE = re.compile(r"^ {0,3}(?:```|~~~)", re.MULTILINE)
_QUOTES = ("`", '"', "'", "(", "[", "“", "‘", "«", "„")
Piece = Reasoning | Content | ContentWasThinking


class ThinkSplitter:
    """Splits streamed content at `<think>` and `</think>`, wherever the pieces are cut.

    With `inside` the prompt ended in `<think>`, so thinking comes first even without the opening tag. Tags count
    only where they open a reply and end its thinking; later ones are the answer's own words. A reply that `goes_on`
    begins in the middle of its thinking, with `inside`, or of its answer.

    With `may_lack_open` it is not known how the prompt ended: a first `</think>` with no `<think>` before it tells
    that everything up to it was thinking. One that the answer quotes, in code or in the middle of a sentence, does not.
    """

    def __init__(self, *, inside: bool, goes_on: bool = False, may_lack_open: bool = False) -> None:
        self._forced = inside
        self._may_lack_open = may_lack_open and not inside and not goes_on
        self._said: list[str] = []
        """What was passed on, while a `</think>` may still tell what it was."""
        self._quoted = 0
        self._state = ("thinking" if inside else "answer") if goes_on else "start"
        self._held = ""

    def is_split_already(self) -> None:
        """The server tells thinking and answer apart itself: tags in the answer are its own words."""
        self._may_lack_open = False

    def feed(self, text: str) -> list[Piece]:
        """What is certain after this piece; at most a partial tag and leading white space are held back."""
        self._held += text
        out: list[Piece] = []
        if self._state == "start" and not self._decide_start():
            return out
        if self._state == "thinking":
            self._read_thinking(out)
        if self._state == "answer" and self._held:
            self._read_answer(out)
        return out

    def finish(self) -> list[Piece]:
        """What was still held back when the stream ended."""
        held, self._held = self._held, ""
        if not held:
            return []
        thinking = self._state == "thinking" or (self._state == "start" and self._forced)
        return [Reasoning(held) if thinking else Content(held)]

    def _decide_start(self) -> bool:
        """Whether it is known by now with what the reply begins."""
        stripped = self._held.lstrip()
        if OPEN.startswith(stripped) and stripped != OPEN:
            return False
        if stripped.startswith(OPEN):
            self._held = stripped.removeprefix(OPEN)
            self._state = "thinking"
            self._may_lack_open = False
        else:
            self._state = "thinking" if self._forced else "answer"
        return True

    def _read_answer(self, out: list[Piece]) -> None:
        while self._held and self._may_lack_open:
            said, tag, rest = self._held.partition(CLOSE)
            if not tag:
                break
            self._said = ["".join([*self._said, said])]
            if _is_quoted(self._said[0]):
                self._said.append(tag)
                self._quoted += 1
                self._may_lack_open = self._quoted < MOST_QUOTED
                out.append(Content(said + tag))
            else:
                self._may_lack_open = False
                out += [*([Content(said)] if said else []), ContentWasThinking()]
            self._held = rest
        keep = _partial_tag_length(self._held) if self._may_lack_open else 0
        said, self._held = self._held[: len(self._held) - keep], self._held[len(self._held) - keep :]
        if said:
            self._said.append(said)
            out.append(Content(said))

    def _read_thinking(self, out: list[Piece]) -> None:
        thought, tag, rest = self._held.partition(CLOSE)
        if tag:
            self._state = "answer"
            self._held = rest
        else:
            keep = _partial_tag_length(thought)
            thought, self._held = thought[: len(thought) - keep], thought[len(thought) - keep :]
        if thought:
            out.append(Reasoning(thought))


def _is_quoted(before: str) -> bool:
    """Whether a `</think>` after this text is a word of the answer: in code, behind `<think>`, or within a sentence."""
    in_code = len(_FENCE.findall(before)) % 2 or before.rpartition("\n")[2].count("`") % 2
    in_sentence = before[-1:] in _QUOTES or (before[-1:] == " " and before.rstrip()[-1:].isalnum())
    return bool(in_code) or in_sentence or OPEN in before


def _partial_tag_length(text: str) -> int:
    """How many characters at the end of the text could be the beginning of `</think>`."""
    for length in range(min(len(CLOSE) - 1, len(text)), 0, -1):
        if CLOSE.startswith(text[-length:]):
            return length
    return 0
