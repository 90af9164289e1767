"""Control tokens that a user pastes stay text."""

import pytest

from r1tui.chat.typed import WORD_JOINER, defuse


@pytest.mark.parametrize(
    "token",
    [
        "<｜Assistant｜>", "<｜User｜>", "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜tool▁calls▁begin｜>",
        "<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|start_header_id|>", "<think>", "</think>",
        "[INST]", "[/INST]", "<start_of_turn>", "<eos>", "<<SYS>>",
    ],
)  # fmt: skip
def test_a_control_token_is_broken_and_named(token: str) -> None:
    text, found = defuse(f"What does {token} do? And {token}?")
    assert found == [token]
    assert token not in text
    assert text.replace(WORD_JOINER, "") == f"What does {token} do? And {token}?"


@pytest.mark.parametrize(
    "text", ["a < b | c > d", "x <| y |> z", "List<|T|, U>\n", "<b>bold</b>", "if (a<b||c>d)", "｜"]
)
def test_ordinary_text_is_left_alone(text: str) -> None:
    assert defuse(text) == (text, [])


def test_the_models_own_tokens_count_too() -> None:
    text, found = defuse("ends with </s> here", ["</s>", "", "<s>"])
    assert found == ["</s>"]
    assert "</s>" not in text
