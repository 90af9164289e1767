"""The list of all sentences that a user sees (tests/tools/strings.py)."""

from pathlib import Path

from tests.tools import strings


def test_the_list_of_sentences_has_what_a_user_sees_and_nothing_for_machines(tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text(
        '"""A docstring of words."""\n'
        "import re\n"
        "NAME: Literal['two words'] = re.compile('some words')\n"
        "raise R1tuiError(f'{size} bytes are missing.', 'Try again, '\n    'please.')\n"
        "db.execute('SELECT this FROM that')\n"
    )
    assert [sentence.text for sentence in strings.sentences(module)] == [
        "{size} bytes are missing.",
        "Try again, please.",
    ]
    assert any(sentence.text.startswith("Did you mean") for sentence in strings.all_sentences("catalog"))
