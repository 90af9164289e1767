"""Words for people."""

import json
import re
import unicodedata
from pathlib import Path
from time import mktime

import pytest
from hypothesis import given
from hypothesis import strategies as st

import r1tui
from r1tui.text import day, listed, part_of, percent, plain, rough, safe_json, size, without_controls

NOW = (2025, 11, 20, 18, 30, 0, 0, 0, -1)


@pytest.mark.parametrize(
    ("then", "words"),
    [
        ((2025, 11, 20, 0, 1), "today 00:01"),
        ((2025, 11, 19, 23, 59), "yesterday 23:59"),
        ((2025, 11, 18, 23, 59), "2025-11-18 23:59"),
        ((2024, 11, 20, 18, 30), "2024-11-20 18:30"),
        ((2025, 11, 21, 7, 5), "2025-11-21 07:05"),
    ],
)
def test_a_day_in_words_has_its_time(then: tuple[int, ...], words: str) -> None:
    time_s = mktime((*then, 0, 0, 0, -1))  # type: ignore[arg-type]
    assert day(time_s, mktime(NOW)) == words


SEEN = "grün 日本 שלום العربية 🦙 a\tb\n"
UNSEEN = "\u200b\u200d\u200e\u202e\u2066\u2069\u061c\u00ad\ufeff\u2060\U000e0041\U000e0100"
CONTROLS = "\x00\x07\x08\x0b\r\x7f\x84\x9b31m\x1b[31m\x1b]0;t\x07\x1bc\x9d"


def test_a_terminal_gets_nothing_that_it_obeys_and_nothing_that_nobody_sees() -> None:
    assert plain(SEEN) == SEEN
    assert plain(UNSEEN) == ""
    assert plain(CONTROLS) == ""
    assert plain("a\udc9bb\u2028") == "a\ufffdb\ufffd", "a raw byte is none any more"


@given(st.text(st.characters()) | st.text(st.sampled_from(UNSEEN + CONTROLS + "[0m;")))
def test_whatever_the_text_what_is_left_is_harmless(text: str) -> None:
    left = plain(text)
    left.encode()  # raises for what would go out as a raw byte
    assert not any(unicodedata.category(one) in ("Cc", "Cs") and one not in "\t\n" for one in left)
    assert not set(left) & set(UNSEEN)
    assert plain(left) == left


@given(st.text(st.characters()))
def test_json_says_the_same_with_nothing_hidden_in_it(text: str) -> None:
    said = safe_json(json.dumps({text: [text]}, ensure_ascii=False))
    assert json.loads(said) == {text: [text]}
    assert not any(unicodedata.category(one) in ("Cc", "Cs") for one in said)
    assert not set(said) & set(UNSEEN)
    assert safe_json('"שלום 🦙"') == '"שלום 🦙"'


def test_a_file_keeps_what_is_content() -> None:
    assert without_controls(f"\x1b[31m{UNSEEN}\x9b") == UNSEEN


def test_a_list_is_read_as_a_sentence_says_it() -> None:
    assert [listed(words) for words in ([], ["A"], ["A", "B"], ["A", "B", "C"])] == ["", "A", "A and B", "A, B and C"]


def test_a_rough_number_is_written_out() -> None:
    assert rough(310_123, 1_234_567) == "310,000 to 1,200,000"
    assert rough(0.0000123, 0.72) == "0.000012 to 0.72"
    assert [rough(value, value) for value in (8.7, 0.0, 33.4, 420.0, 100.0)] == ["8.7", "0", "33", "420", "100"]


def test_sizes_have_one_rounding_and_what_is_small_a_smaller_unit() -> None:
    sizes_gib = {0.4: "409.6 MiB", 254: "254.0 GiB", 1300: "1,300.0 GiB", 1e5: "97.7 TiB"}
    assert [size(gib * 2**30) for gib in sizes_gib] == list(sizes_gib.values())
    assert size(12) == "12 B"
    assert part_of(62 * 2**30, 80 * 2**30) == "62.0 of 80.0 GiB"
    assert part_of(31 * 2**20, 94 * 2**20, " / ") == "31.0 / 94.0 MiB"
    assert (part_of(1, 2**40), part_of(0, 0)) == ("<0.1 of 1,024.0 GiB", "0 of 0 B")


def test_a_percentage_has_one_form_in_the_whole_program() -> None:
    assert [percent(share) for share in (0.0, 0.29, 0.999, 1.0)] == ["0 %", "29 %", "99 %", "100 %"]
    sources = {path: path.read_text() for path in Path(r1tui.__file__).parent.rglob("*.py")}
    assert [str(path) for path, text in sources.items() if re.search(r"""%\}|\}%["' ,.]""", text)] == []
