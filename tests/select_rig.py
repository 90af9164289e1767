"""What the tests of marking share."""

from r1tui.chat.answer import Answer
from r1tui.chat.conversation import Turn
from r1tui.tui.widgets.transcript import Transcript


def exchange(question: str, content: str, thinking: str = "") -> Turn:
    return Turn(question, Answer.past(content, thinking, thinking_tokens=1204, thinking_s=130))


def marked(transcript: Transcript) -> list[str]:
    """The rows with the bar of the mark."""
    strips = [transcript.render_line(y) for y in range(transcript.size.height)]
    return [strip.text[:-1].rstrip() for strip in strips if (style := next(iter(strip)).style) and style.reverse]
