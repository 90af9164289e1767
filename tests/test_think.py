"""Thinking that the server left in the content is told apart, wherever the stream is cut."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from r1tui.events import Content, Reasoning
from r1tui.server.answer import ThinkSplitter
from tests.odd_rig import texts


def split(pieces: list[str], *, inside: bool) -> tuple[str, str]:
    splitter = ThinkSplitter(inside=inside)
    events = [event for piece in pieces for event in splitter.feed(piece)] + splitter.finish()
    thinking = "".join(event.text for event in events if isinstance(event, Reasoning))
    return thinking, "".join(event.text for event in events if isinstance(event, Content))


@pytest.mark.parametrize(
    ("text", "inside", "thinking", "answer"),
    [
        ("Hm.</think>\n\nYes.", True, "Hm.", "\n\nYes."),
        ("<think>\nHm.</think>\n\nYes.", True, "\nHm.", "\n\nYes."),
        ("<think>Hm.</think>Yes.", False, "Hm.", "Yes."),
        ("\n <think>Hm.</think>Yes.", False, "Hm.", "Yes."),
        ("</think>Yes.", True, "", "Yes."),
        ("Yes.", False, "", "Yes."),
        ("Write <think> and </think>.", False, "", "Write <think> and </think>."),
        ("Hm.</think>It ends with </think>, so <think>.", True, "Hm.", "It ends with </think>, so <think>."),
        ("never ends </thin", True, "never ends </thin", ""),
        ("a < b </ c </think>ok", True, "a < b </ c ", "ok"),
        ("<thinking>", False, "", "<thinking>"),
        ("<thi", False, "", "<thi"),
        ("", True, "", ""),
        ("  \n", False, "", "  \n"),
    ],
)
def test_thinking_and_answer(text: str, inside: bool, thinking: str, answer: str) -> None:
    for pieces in ([text], list(text)):
        assert split(pieces, inside=inside) == (thinking, answer)


TEXTS = st.lists(st.sampled_from(["<think>", "</think>", "<", "</", "think>", "t", " ", "\n", "ü", "<th"])).map("".join)


@given(TEXTS, st.lists(st.integers(0, 60)), st.booleans())
def test_where_it_is_cut_makes_no_difference(text: str, cuts: list[int], inside: bool) -> None:
    places = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    pieces = [text[a:b] for a, b in pairwise(places)]
    assert split(pieces, inside=inside) == split([text], inside=inside)


@given(TEXTS, st.booleans())
def test_nothing_is_lost_but_the_tags(text: str, inside: bool) -> None:
    thinking, answer = split([text], inside=inside)
    shapes = {opened + thinking + closed + answer for opened in ("", "<think>") for closed in ("", "</think>")}
    assert text in shapes or text.lstrip() in shapes


def split_unknown(pieces: list[str]) -> tuple[str, str]:
    """Thinking and answer where it is not known how the prompt ended."""
    splitter = ThinkSplitter(inside=False, may_lack_open=True)
    return texts([event for piece in pieces for event in splitter.feed(piece)] + splitter.finish())


@pytest.mark.parametrize(
    "text",
    [
        "Use `</think>` there.",
        'The tag "</think>" ends it.',
        "R1 writes </think> behind its thoughts.",
        "So:\n```html\n</think>\n```\nThat is all.",
        "So:\n~~~\nx = 1\n</think>\n~~~\n",
        "So: ``a </think>`` is it.",
        "It has <think> and\n</think>\nin it.",
        "<|thinking|>Hm.<|/thinking|>Yes.",
        "[THINK]Hm.[/THINK]Yes.",
        "`</think>`" * 300,
    ],
)
def test_an_answer_that_quotes_the_tag_is_an_answer(text: str) -> None:
    for pieces in ([text], list(text)):
        assert split_unknown(pieces) == ("", text)


@pytest.mark.parametrize(
    ("text", "thinking", "answer"),
    [
        ("Hm, well.\n</think>\n\nYes.", "Hm, well.\n", "\n\nYes."),
        ("Hm. It would end with `</think>`.</think>Yes.", "Hm. It would end with `</think>`.", "Yes."),
        ("Code:\n```\nx\n```\nFine. </think>Yes </think> again.", "Code:\n```\nx\n```\nFine. ", "Yes </think> again."),
        ("</think>Yes.", "", "Yes."),
    ],
)
def test_a_tag_without_its_opening_ends_the_thinking(text: str, thinking: str, answer: str) -> None:
    for pieces in ([text], list(text)):
        assert split_unknown(pieces) == (thinking, answer)
