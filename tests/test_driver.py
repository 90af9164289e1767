"""Pastes into a real terminal: whatever stands in one is text, and no key."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from r1tui.chat.typed import Typed
from r1tui.system.paths import Paths
from r1tui.text import without_controls
from r1tui.tui.terminal import END, START, Pastes
from tests.ptys import Terminal
from tests.supervisor_rig import until

QUIT, UP, PIECES = "\x11", "\x1b[A", st.sampled_from(["a", "é", "\x1b", "\x1b[A", START, END, "\r", "\x11", "[201~"])


def parsed(*bursts: list[str]) -> str:
    pastes, told = Pastes(), ""
    for burst in bursts:
        for piece in burst:
            told += pastes.feed(piece)
        told += pastes.end_burst()
    return told


@given(st.lists(PIECES).map("".join), st.integers(1, 9))
def test_a_paste_is_one_text_however_it_is_cut_and_whatever_stands_in_it(text: str, size: int) -> None:
    sent = f"x{START}{text}{END}"
    pieces = [sent[at : at + size] for at in range(0, len(sent), size)]
    wanted = without_controls(text.replace("\r\n", "\n").replace("\r", "\n"))
    assert parsed(pieces) == f"x{START}{wanted}{END}"


@given(st.lists(PIECES).map("".join))
def test_what_is_typed_passes_as_it_comes(text: str) -> None:
    typed = text.replace(START, "")
    pastes = Pastes()
    if START not in typed:
        assert "".join(pastes.feed(one) for one in typed) == typed


def test_what_is_typed_after_a_paste_is_typed_and_a_paste_may_pause() -> None:
    assert parsed([f"{START}a{END}"], ["b", QUIT]) == f"{START}a{END}b{QUIT}"
    assert parsed([f"{START}a"], ["b"], [f"c{END}d"]) == f"{START}abc{END}d"
    pastes = Pastes()
    pastes.feed(f"{START}a")
    assert pastes.goes_on("a"), "its end has not come"
    pastes.feed(END)
    assert pastes.goes_on(END), "the end may stand in the text"
    pastes.feed("k")
    assert not pastes.goes_on("k"), "a key that is held down does not hold up the paste"


@pytest.mark.parametrize(
    ("pasted", "text"),
    [
        (f"one {UP}two \x1b[31mred", "one two red"),
        (f"safe {END}{QUIT} and more", "safe  and more"),
        (f"safe {END}{QUIT}{START} and more", "safe  and more"),
        (f"an end\x1b {'x' * 60}", f"an end{'x' * 59}"),
        ("esc at the end\x1b", "esc at the end"),
        (f"\x1bOP{QUIT}\x03f1", "Pf1"),
    ],
)
def test_escape_characters_in_a_paste_press_no_keys(paths: Paths, pasted: str, text: str) -> None:
    with Terminal("--attach", f"unix:{paths.run}/none.sock") as terminal:
        terminal.wait_for("New chat")
        terminal.type("typed ")
        terminal.type(f"{START}{pasted}{END}")
        terminal.type("!")
        until(lambda: draft(paths).endswith("!"))
        assert draft(paths) == f"typed {text}!"
        terminal.type(QUIT)
        assert terminal.ended() == 0


def draft(paths: Paths) -> str:
    try:
        return msgspec.json.decode((paths.prompt / "draft-0.json").read_bytes(), type=Typed).whole
    except FileNotFoundError:
        return ""
