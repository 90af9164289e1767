"""Remedies: what the command line says, what JSON has, and what comes of the texts of a version before."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import msgspec
import pytest

import r1tui
from r1tui.config import Config
from r1tui.errors import R1tuiError
from r1tui.events import Failed, StageFailed, decode_event, encode_event
from r1tui.remedies import (
    Advice,
    AnyRemedy,
    AskAgain,
    AskAnew,
    BuildEngine,
    CheckMachine,
    ChooseModel,
    ContinueAnswer,
    FetchModel,
    GiveUp,
    ListConversations,
    ListModels,
    NewChat,
    Remedies,
    RestartServer,
    Run,
    ShowLog,
    ShowPlan,
    ShowStatus,
    StartServer,
    StopServer,
    in_commands,
    read,
)
from r1tui.tui.commands import COMMANDS
from r1tui.tui.remedies import say

SAID: tuple[tuple[AnyRemedy, str, str, str], ...] = (
    (Advice("Wait a little."), "Wait a little.", "", ""),
    (Run("dmesg", "says more"), "`dmesg` says more.", "dmesg", ""),
    (AskAgain(), "Ask again.", "", "chat.again"),
    (ContinueAnswer(), "Ask again.", "", "chat.continue"),
    (AskAnew(), "Ask again.", "", "chat.select"),
    (NewChat(), "Start a new conversation.", "", "chat.new"),
    (StartServer(), "Start it again with `r1tui serve`.", "r1tui serve", "chat.start"),
    (StopServer(), "`r1tui stop` stops it.", "r1tui stop", "chat.stop_server"),
    (
        RestartServer(),
        "Restart it with this r1tui: `r1tui stop`, then `r1tui serve`.",
        "r1tui stop && r1tui serve",
        "chat.stop_server",
    ),
    (ShowLog(), "`r1tui logs` shows why.", "r1tui logs", "chat.log"),
    (ShowStatus(), "`r1tui status` shows the server.", "r1tui status", "chat.whole_panel"),
    (GiveUp(), "Ctrl+C cancels.", "", "chat.stop"),
    (ListModels(), "`r1tui variants` lists the models.", "r1tui variants", "chat.variants"),
    (ListConversations(), "`r1tui chats` lists the conversations.", "r1tui chats", "chat.conversations"),
    (ChooseModel(), "Choose one of the server's models: --model-name NAME.", "", "chat.variants"),
    (CheckMachine(), "`r1tui doctor` checks the driver and the engine.", "r1tui doctor", ""),
    (BuildEngine(), "`r1tui build` builds the engine.", "r1tui build", ""),
    (BuildEngine("--backend cpu"), "`r1tui build --backend cpu` builds the engine.", "r1tui build --backend cpu", ""),
    (ShowPlan("demo"), "`r1tui plan demo` shows the memory plan.", "r1tui plan demo", "chat.variants"),
    (FetchModel("demo"), "`r1tui download demo` downloads it.", "r1tui download demo", "chat.variants"),
    (
        FetchModel("demo", verify=True),
        "`r1tui download demo --verify` checks it and downloads damaged files again.",
        "r1tui download demo --verify",
        "",
    ),
)


def test_every_kind_is_in_the_table() -> None:
    assert {type(remedy) for remedy, *_ in SAID} == set(get_args(AnyRemedy))


@pytest.mark.parametrize(("remedy", "words", "command", "action"), SAID)
def test_what_the_command_line_says_and_what_json_has(remedy: AnyRemedy, words: str, command: str, action: str) -> None:
    assert in_commands([remedy]) == words
    line = encode_event(StageFailed.of("server", R1tuiError("It ended.", remedy)))
    said = msgspec.json.decode(line)
    assert said["remedy"] == words
    (one,) = said["remedies"]
    assert (one.get("command", ""), one.get("action", "")) == (command, action)
    back = decode_event(line)
    assert isinstance(back, StageFailed)
    assert back.remedies == (remedy,)


def test_a_text_is_advice_and_an_empty_one_nothing() -> None:
    assert R1tuiError("It ended.", "Wait.", ShowLog()).remedies == (Advice("Wait."), ShowLog())
    assert str(R1tuiError("It ended.", "Wait.", ShowLog())) == "It ended.\nWait. `r1tui logs` shows why."
    assert R1tuiError("It ended.", "").remedies == R1tuiError("It ended.").remedies == ()


@pytest.mark.parametrize(
    ("text", "remedies"),
    [
        ("Free some disk space.", (Advice("Free some disk space."),)),
        ("Wait. `r1tui logs` shows why. Ask again.", (Advice("Wait."), ShowLog(), AskAgain())),
        ("Ask again. Or leave it.", (AskAgain(), Advice("Or leave it."))),
        ("", ()),
    ],
)
def test_the_text_that_a_version_before_has_written_is_read(text: str, remedies: Remedies) -> None:
    assert read(text) == remedies
    assert in_commands(read(text)) == text
    assert Failed("It ended.", text).remedies == remedies
    event = decode_event(msgspec.json.encode({"event": "stage_failed", "stage": "plan", "cause": "c", "remedy": text}))
    assert isinstance(event, StageFailed)
    assert (event.remedy, event.remedies) == (text, remedies)


SOURCES = sorted(Path(r1tui.__file__).parent.rglob("*.py"))
SETTINGS = {"config", "extra_args", "variant", "revision", *Config.__struct_fields__}
A_COMMAND = re.compile(r"\br1tui (?:serve|stop|logs|status|build|variants|download|plan|doctor|chats?|models)\b")
A_KEY = re.compile(r"Ctrl\+|\bEsc\b|\bF\d{1,2}\b|[Aa]sk again|new conversation")
QUOTED = re.compile(r"`([^`]*)`")


def _advice(tree: ast.Module) -> Iterator[str]:
    """The texts in a module that stand where a remedy does: after an error's cause, and in `Advice`."""
    constants = {
        target.id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = getattr(node.func, "id", getattr(node.func, "attr", ""))
        is_error, is_advice = name.endswith("Error"), name == "Advice"
        for argument in node.args[1:] if is_error else node.args if is_advice else ():
            named = constants.get(argument.id) if isinstance(argument, ast.Name) else None
            if not isinstance(argument, ast.Call):
                yield from _texts(named if named is not None else argument)


def _texts(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Call):  # another remedy, or a text that is made elsewhere
        return
    if isinstance(node, ast.JoinedStr):
        yield "".join(part.value if isinstance(part, ast.Constant) else "X" for part in node.values)  # type: ignore[misc]
    elif isinstance(node, ast.Constant):
        yield from [node.value] if isinstance(node.value, str) else []
    else:
        for child in ast.iter_child_nodes(node):
            yield from _texts(child)


def _is_setting(quoted: str) -> bool:
    return quoted.startswith("-") or re.split(r"[.:]", quoted)[0] in SETTINGS


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(SOURCES[0].parent)))
def test_no_advice_names_a_command_or_a_key(path: Path) -> None:
    for text in _advice(ast.parse(path.read_text())):
        assert not A_COMMAND.search(text), text
        assert not A_KEY.search(text), text
        assert all(_is_setting(quoted) for quoted in QUOTED.findall(text)), text


def test_the_walk_finds_what_it_forbids() -> None:
    tree = ast.parse("X = 'See `r1tui logs`.'\nraise UsageError('No.', X, f'Press {k} or Ctrl+C.', Run('a', 'b'))")
    assert list(_advice(tree)) == ["See `r1tui logs`.", "Press X or Ctrl+C."]


@pytest.mark.parametrize("remedy", [remedy for remedy, *_ in SAID])
def test_the_screen_says_a_key_where_there_is_one(remedy: AnyRemedy) -> None:
    said = say([remedy])
    assert (f"<{remedy.action}>" in said) == bool(remedy.action)
    assert ("`" in said) == (not remedy.action and bool(remedy.command))
    assert remedy.action in {*COMMANDS, ""}
    assert "<chat.log>" not in say([remedy], attached=True)


CORE = [path for path in SOURCES if "cli" not in path.parts]
"""What the screen uses too."""


@pytest.mark.parametrize("path", CORE, ids=lambda path: str(path.relative_to(SOURCES[0].parent)))
def test_no_command_stands_where_the_screen_has_a_key(path: Path) -> None:
    with_keys = {command for _, _, command, action in SAID if command and action}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Run":
            assert not with_keys & set(_texts(node.args[0])), ast.unparse(node)
