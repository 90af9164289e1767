"""Every argument of every command, with values that nobody expects: an answer or a sentence, never a traceback."""

from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from r1tui.chat.store import Store
from r1tui.cli import cli, run
from r1tui.system.paths import Paths
from tests.conftest import TinyModel
from tests.hub_server import Hub
from tests.store_rig import said, whole

VALUES = {
    "empty": "",
    "space": " ",
    "no UTF-8": "a\udcff",
    "escapes": "\x1b[31m\x9b2J\u202e\u200b",
    "a line end": "a\nb",
    "long": "x" * 5_000,
    "digits": "9" * 5_000,
    "large": "99999999999999999999",
    "larger than an index": str(2**63 - 1),
    "float": "1e20",
    "negative": "-1",
    "very negative": "-99999999999999999999",
    "nan": "nan",
    "inf": "inf",
    "-inf": "-inf",
    "zero": "0",
    "up": "../../x",
    "a device": "/dev/null",
    "format": "%s{0}%n",
    "nobody's home": "~nobody-at-all/x",
    "port": "localhost:99999999999",
    "address": "http://[::1:x",
    "list": ",,1,,",
}
OTHERS = {  # what a command needs besides the one that is tried
    ("chat",): ["hello", "--attach", "unix:/nowhere.sock"],
    ("plan",): ["--model", "MODEL"],
    ("chats", "show"): ["last"],
    ("chats", "export"): ["last"],
    ("chats", "rename"): ["last", "title"],
    ("chats", "delete"): ["last"],
    ("chats", "search"): ["why"],
    ("inspect",): ["MODEL"],
}
"""Of a parameter of these, the one that is tried takes its place."""


def commands(
    command: click.Command = cli, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        for name in command.list_commands(click.Context(command)):
            sub = command.get_command(click.Context(command), name)
            assert sub is not None
            yield from commands(sub, (*path, name))


def cases() -> Iterator[tuple[tuple[str, ...], str, int]]:
    """The path of a command, and one of its parameters: an option's name, or an argument's place."""
    for path, command in commands():
        place = 0
        for parameter in command.params:
            if isinstance(parameter, click.Argument):
                yield path, "", place
                place += 1
            elif not getattr(parameter, "is_flag", False):
                yield path, parameter.opts[0], 0


def line(path: tuple[str, ...], option: str, place: int, value: str, model: Path) -> list[str]:
    others = [str(model) if word == "MODEL" else word for word in OTHERS.get(path, [])]
    if not path:
        return [option, value, "status"]
    if not option:
        options = others if path == ("chat",) else []
        words = [word for word in others if not options and not word.startswith("--")]
        return [*path, *options[1:], "--", *words[:place], value, *words[place + 1 :]]
    if option in others:
        at = others.index(option)
        del others[at : at + 2]
    return [*path, option, value, *others]


@pytest.fixture
def home(paths: Paths, empty_hub: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Paths:
    """A home with a log, where no build begins, since there is no compiler."""
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    monkeypatch.setenv("R1TUI_DEBUG", "1")
    monkeypatch.chdir(tmp_path)
    paths.logs.mkdir(parents=True)
    paths.server_log.write_text("a line\n")
    return paths


@pytest.mark.parametrize("case", list(cases()), ids=lambda case: " ".join((*case[0], case[1] or f"argument {case[2]}")))
def test_no_value_of_any_parameter_ends_in_a_traceback(
    case: tuple[tuple[str, ...], str, int], home: Paths, tiny_r1: TinyModel, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tiny_r1()
    for name, value in VALUES.items():
        with Store(home.conversations) as store:
            store.write([whole(said("c1"))])
        status = run(line(*case, value, model))
        shown = capsys.readouterr()
        assert "Traceback" not in shown.err, f"{name}: {shown.err}"
        assert "unexpected error" not in shown.err, f"{name}: {shown.err}"
        assert status in (0, 1, 2), name
        assert status == 0 or shown.err.strip() or shown.out.strip(), f"{name}: not a word"
        assert not set("\x1b\x9b\u202e\u200b") & set(shown.err), name
