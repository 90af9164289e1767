"""When the context is nearly full, and what mends a failed answer, in keys."""

from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from textual.app import App

from r1tui.chat.conversation import ContextBudget, surely_has_room
from r1tui.remedies import AnyRemedy, AskAgain, ShowLog
from r1tui.server.refusal import explain
from r1tui.server.wire import ENDED_ERROR, LOST_ERROR, SERVER_STOPPED_ERROR, TOO_LONG_ERROR, ServerError
from r1tui.tui.remedies import format_remedies, to_go_on


@pytest.mark.parametrize(
    ("context", "left", "nearly"),
    [
        (8192, 1300, False), (8192, 1200, True), (163840, 4100, False), (163840, 3900, True),
        (4096, 1100, False), (4096, 900, True), (512, 130, False), (512, 120, True), (8192, -5, True),
    ],
)  # fmt: skip
def test_little_is_what_r1_needs_to_think(context: int, left: int, nearly: bool) -> None:
    room = ContextBudget(context - left, context)
    assert room.is_nearly_full == nearly
    assert room.is_full == (left <= 0)


@given(st.lists(st.text(max_size=200), max_size=6), st.integers(256, 4096))
def test_what_surely_has_room_has_it_though_each_byte_is_a_token(texts: list[str], context: int) -> None:
    most = sum(len(text.encode()) for text in texts) + 5 * len(texts)
    if surely_has_room(texts, context):
        assert not ContextBudget(most, context).is_nearly_full


@pytest.mark.parametrize("kind", ["server_error", "unavailable_error", *(
    TOO_LONG_ERROR, ENDED_ERROR, LOST_ERROR, SERVER_STOPPED_ERROR, "authentication_error",
)])  # fmt: skip
def test_no_remedy_on_the_screen_names_a_command(kind: str) -> None:
    said = format_remedies(explain(ServerError("m", kind)).remedies, App())
    assert "`" not in said
    assert "sk again" not in said.replace("asks again", "")


@pytest.mark.parametrize(
    ("remedies", "said"),
    [
        ([AskAgain()], ""),
        ([ShowLog(), AskAgain()], "F6 (the log) shows why. "),
        ([ShowLog()], "F6 (the log) shows why. "),
        ([], ""),
    ],
)
def test_the_remedy_of_an_answer_that_has_a_beginning_is_to_go_on_with_it(remedies: list[AnyRemedy], said: str) -> None:
    goes_on = "F8 continues it (Ctrl+Y, then R, asks again)."
    assert format_remedies(to_go_on(tuple(remedies)), App()) == said + goes_on


def test_remedies_name_the_user_s_own_keys() -> None:
    remedies = (ShowLog(), AskAgain())
    assert format_remedies(remedies, App()) == "F6 (the log) shows why. F8 asks again."
    app = Elsewhere()
    assert format_remedies(remedies, app) == "The server's log shows why. Ctrl+X asks again."
    assert format_remedies(to_go_on((AskAgain(),)), app) == "F2 continues it (F3, then N, asks again)."


class Elsewhere(App[None]):
    """One with another key, whose server is on another machine."""

    has_own_server = False
    keymap: ClassVar = {
        "chat.again": "ctrl+x,f12", "chat.continue": "f2", "chat.select": "f3", "select.anew": "n"
    }  # fmt: skip
