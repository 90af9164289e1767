"""A very long answer while everything is done to the screen that a person can do: nothing is lost or different."""

import random

from textual.pilot import Pilot

from r1tui.chat.answer import Answer
from r1tui.chat.conversation import Conversation, Exchange
from r1tui.events import Content, Reasoning, StreamEvent
from r1tui.tui.widgets.transcript import Transcript
from tests.bench.replay import Script
from tests.transcript_rig import FINISHED, Seat, asked, settle, toggle_all

N_TOKENS = 12_000
LAST_SIZE = (100, 60)
SIZES = [(80, 24), (120, 40), (200, 60), (40, 10), (13, 5)]
KEYS = ["up", "down", "pageup", "pagedown", "home", "end", "end", "x", "日"]


def stream() -> list[StreamEvent]:
    """As many tokens of thinking and Markdown, in pieces of one to forty as they come in bursts."""
    tokens = Script(N_TOKENS // 2, N_TOKENS // 2, 1000.0).tokens()
    end = tokens.index("\n</think>\n\n")
    events: list[StreamEvent] = []
    chance = random.Random(3407)  # noqa: S311
    for kind, part in ((Reasoning, tokens[:end]), (Content, tokens[end + 1 :])):
        place = 0
        while place < len(part):
            size = chance.randrange(1, 40)
            events.append(kind("".join(part[place : place + size])))
            place += size
    return events


class TypedInto(Seat):
    """Keeps what is typed while reading, as the prompt does."""

    typed = ""

    def on_transcript_character_typed(self, message: Transcript.CharacterTyped) -> None:
        self.typed += message.character


async def pages(pilot: Pilot[None], seat: Seat) -> list[list[str]]:
    """All that the transcript shows, from the first page to the last."""
    found: list[list[str]] = []
    seat.transcript.action_scroll("all", -1)
    await settle(pilot, seat.transcript)
    while not found or seat.lines != found[-1]:
        found.append(seat.lines)
        seat.transcript.action_scroll("page", 1)
        await settle(pilot, seat.transcript)
    return found


async def test_nothing_is_lost_of_12000_tokens_while_the_screen_is_resized_scrolled_typed_into_and_opened() -> None:
    seat, chance, pressed = TypedInto(asked()), random.Random(7), ""  # noqa: S311
    answer, events = seat.conversation.exchanges[-1].answer, stream()
    async with seat.run_test(size=(80, 24)) as pilot:
        for number, event in enumerate(events):
            answer.apply(event)
            seat.transcript.touch()
            if number % 9 == 0:
                await pilot.pause()
            if number % 40 == 0:
                key = chance.choice(KEYS)
                await pilot.press(key)
                pressed += key if len(key) == 1 else ""
            if number % 150 == 0:
                seat.transcript.toggle_thinking()
            if number % 200 == 0:
                await pilot.resize_terminal(*chance.choice(SIZES))
        answer.apply(FINISHED)
        seat.transcript.touch()
        await pilot.resize_terminal(*LAST_SIZE)
        await settle(pilot, seat.transcript)
        if "▸ thought" in "\n".join((await pages(pilot, seat))[0]):
            toggle_all(seat.transcript)
        streamed = await pages(pilot, seat)
    said = "".join(event.text for event in events if isinstance(event, Content))
    thought = "".join(event.text for event in events if isinstance(event, Reasoning))
    assert (answer.content.text, answer.thinking.text) == (said, thought)
    assert seat.typed == pressed != ""
    past = Answer.past(said, thought, thinking_tokens=answer.thinking_tokens, thinking_s=answer.thinking_s)
    past.tokens, past.finished = answer.tokens, answer.finished
    whole = Seat(Conversation("c", [Exchange("Q?", past)]))
    async with whole.run_test(size=LAST_SIZE) as pilot:
        await settle(pilot, whole.transcript)
        toggle_all(whole.transcript)
        expected = await pages(pilot, whole)
    assert len(expected) > 10
    assert streamed == expected
