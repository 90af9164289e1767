"""A conversation that is opened from the search: at the passage that was found, with its words marked."""

import pytest
from textual.pilot import Pilot

from r1tui.chat.answer import Answer
from r1tui.chat.conversation import Conversation, Exchange
from r1tui.chat.listing import MARKS
from r1tui.system.paths import Paths
from r1tui.tui.screens.chat import ChatScreen
from r1tui.tui.screens.conversations import ConversationsScreen
from r1tui.tui.widgets.transcript_passage import FoundPassage
from r1tui.tui.widgets.transcript_rows import row_of
from tests.test_conversations_screen import Listening, keep, names
from tests.tui_rig import on_screen, opened, until

FILLER = "\n\n".join(f"Paragraph {number} is about nothing at all, and so are the others." for number in range(80))
CODE = "\n".join(f"value_{number} = {number}" for number in range(60))
ANSWER = (
    f"{FILLER}\n\nThe **grey** heron\nis a `bird` of water.\n\n```python\n{CODE}\nplumage = 'ashen'\n```\n\n{FILLER}"
)


def long_one() -> Conversation:
    """Two exchanges, and a branch beside the second; each is many screens long."""
    conversation = Conversation("long", [Exchange("Why?", Answer.past(ANSWER)), Exchange("And?", Answer.past(FILLER))])
    conversation.ask_instead(conversation.exchanges[1], "Or an egret?").answer = Answer.past(FILLER)
    return conversation


async def search(app: Listening, pilot: Pilot[None], words: str, found: str) -> None:
    await pilot.press("ctrl+l")
    await until(pilot, lambda: isinstance(app.screen, ConversationsScreen))
    await pilot.press("slash", *(key if key != " " else "space" for key in words))
    await until(pilot, lambda: names(app) == [found])
    await pilot.press("enter")
    await until(pilot, lambda: isinstance(app.screen, ChatScreen) and app.chat.conversation.id == "long")


def marked(app: Listening) -> list[str]:
    """What is marked in the rows in view."""
    return [text for row in app.chat.widgets.transcript._drawn for text, role in row.spans if "found" in role.split()]


@pytest.mark.parametrize("size", [(60, 20), (120, 40)])
async def test_it_opens_at_the_passage_and_marks_the_words(paths: Paths, size: tuple[int, int]) -> None:
    keep(paths, long_one(), Conversation("last", [Exchange("Fish?", Answer.past("so"))]))
    app = Listening(paths)
    async with opened(app, size) as pilot:
        transcript = app.chat.widgets.transcript
        await search(app, pilot, "heron wat", "Why?")
        await until(pilot, lambda: transcript.settled and "The grey heron" in on_screen(pilot))
        assert marked(app) == ["heron", "water"]
        await search(app, pilot, "ashen", "Why?")  # it is shown already, and in a listing
        await until(pilot, lambda: transcript.settled and "plumage = 'ashen'" in on_screen(pilot))
        assert marked(app) == ["ashen"]
        width = transcript.size.width
        await pilot.resize_terminal(size[0] - 10, size[1] - 1)
        await until(pilot, lambda: transcript.settled and transcript.size.width < width)
        await until(pilot, lambda: "plumage = 'ashen'" in on_screen(pilot))
        transcript.to_end()
        await until(pilot, lambda: marked(app) == [] and "plumage" not in on_screen(pilot))


async def test_the_branch_of_the_passage_is_shown(paths: Paths) -> None:
    conversation = long_one()
    conversation.show(conversation.every[1])
    keep(paths, conversation, Conversation("last", [Exchange("Fish?", Answer.past("so"))]))
    app = Listening(paths)
    async with opened(app, (80, 24)) as pilot:
        await search(app, pilot, "egret", "Why?")
        await until(pilot, lambda: "❯ Or an egret?" in on_screen(pilot) and marked(app) == ["egret"])
        assert [one.question for one in app.chat.conversation.exchanges] == ["Why?", "Or an egret?"]


def test_a_word_is_marked_across_the_styles_of_a_row_and_nothing_else() -> None:
    found = FoundPassage(Exchange("?"), f"…a {MARKS[0]}grey{MARKS[1]} one")
    painted = found.paint(row_of(("▎ ", "mark"), ("GR", "strong"), ("Ey", "em"), (" green", "answer"), fill="code"))
    assert painted.spans == (("▎ ", "mark"), ("GR", "strong found"), ("Ey", "em found"), (" green", "answer"))
    assert painted.fill == "code"
    plain = row_of(("nothing", "answer"))
    assert found.paint(plain) is plain
