"""`r1tui chats`, in a process of its own."""

import json
from pathlib import Path

import pytest

from r1tui.chat.answer import Answer
from r1tui.chat.conversation import Conversation, Exchange
from r1tui.chat.rows import Tracker
from r1tui.chat.store import Store
from r1tui.events import Finished
from r1tui.server.prompt_cache import CacheNote, PromptCacheFolder, prompt_of
from r1tui.system.paths import Paths, private_folder
from r1tui.system.processes import boot_id
from tests.conftest import CommandLine
from tests.store_rig import let_deletions_age, running, whole

ESCAPE = "\x1b[2J"


@pytest.fixture
def chats(paths: Paths) -> CommandLine:
    """The command line, with two conversations; one has two branches, and a terminal's escapes in an answer."""
    birds = Conversation(
        "b-1", [Exchange("Why birds?", Answer.past(f"They {ESCAPE}fly.\n```py\nprint(1)", "Hm"))], "Birds"
    )
    other = birds.ask_instead(birds.exchanges[0], "Why fish?")
    other.answer.apply(Finished("length", 5, 0, 4, 10.0, 5.0, None))
    birds.show(birds.every[0])
    with Store(paths.conversations) as store:
        for one in (birds, Conversation("f-2", [Exchange("Fish?", Answer.past("Swim."))])):
            changes = Tracker(one).changes()
            assert changes is not None
            store.write([changes])
    return CommandLine(paths)


def ids(answer: str) -> list[str]:
    return [one["id"] for one in json.loads(answer)["conversations"]]


def test_they_are_listed_and_searched(chats: CommandLine) -> None:
    for arguments in ((), ("list",)):
        lines = chats("chats", *arguments).stdout.splitlines()
        assert [line.split()[0] for line in lines] == ["f-2", "b-1"]
        assert "Birds" in lines[1]
    assert ids(chats("chats", "list", "--json", "--limit", "1").stdout) == ["f-2"]
    found = chats("chats", "search", "fly", "--json").stdout
    [one] = json.loads(found)["conversations"]
    assert (one["id"], one["title"], one["exchanges"], one["open_in"]) == ("b-1", "Birds", 2, None)
    assert "fly" in one["passage"]
    shown = chats("chats", "search", "why", "birds?").stdout
    assert "Why birds" in shown
    assert ids(chats("chats", "search", "--json", "swim OR fly").stdout) == []


def test_one_is_shown_as_text_and_never_as_a_terminals_commands(chats: CommandLine) -> None:
    shown = chats("chats", "show", "b").stdout
    assert shown == "# Birds\n\n## Question\n\nWhy birds?\n\n## Answer\n\nThey fly.\n```py\nprint(1)\n```\n"
    assert "> *Thinking*\n>\n> Hm\n" in chats("chats", "show", "b", "--thinking").stdout


def test_everything_is_exported_as_json_and_files_are_not_replaced(chats: CommandLine, tmp_path: Path) -> None:
    file = tmp_path / "birds.json"
    assert chats("chats", "export", "b-1", "--format", "json", "--output", file).returncode == 0
    exported = json.loads(file.read_text())
    assert exported == json.loads(chats("chats", "show", "b-1", "--json").stdout)
    assert (exported["version"], exported["title"], exported["shown"]) == (1, "Birds", [0])
    first, second = exported["exchanges"]
    assert first["answer"] == f"They {ESCAPE}fly.\n```py\nprint(1)"
    assert (second["parent"], second["question"], second["figures"]["finish_reason"]) == (None, "Why fish?", "length")
    refused = chats("chats", "export", "b-1", "--output", file)
    assert refused.returncode == 1
    assert "already" in refused.stderr
    assert json.loads(file.read_text()) == exported
    assert chats("chats", "export", "last", "--output", file, "--force").returncode == 0
    assert file.read_text().startswith("# Fish?")
    assert chats("chats", "export", "last").stdout == file.read_text()


def test_an_answer_that_nobody_receives_any_more_is_not_called_running(chats: CommandLine, paths: Paths) -> None:
    with Store(paths.conversations) as store:
        store.write([whole(running("r-3"))])
    assert chats("chats", "show", "r").stdout.endswith("so far\n\n*Unfinished when this was saved.*\n")


def test_one_is_renamed_deleted_and_brought_back(chats: CommandLine) -> None:
    assert json.loads(chats("chats", "rename", "f", " Fine   fish ", "--json").stdout) == {
        "id": "f-2", "title": "Fine fish",
    }  # fmt: skip
    assert "Fine fish" in chats("chats").stdout
    assert chats("chats", "delete", "b-1").returncode == 0
    assert ids(chats("chats", "list", "--json").stdout) == ["f-2"]
    assert ids(chats("chats", "list", "--deleted", "--json").stdout) == ["b-1"]
    assert chats("chats", "show", "b-1").returncode == 2
    assert chats("chats", "restore").returncode == 0
    assert ids(chats("chats", "list", "--json").stdout) == ["f-2", "b-1"]
    nothing = chats("chats", "restore")
    assert nothing.returncode == 1
    assert "No conversation was deleted" in nothing.stderr


def test_one_that_a_screen_has_open_is_shown_and_not_changed(chats: CommandLine, paths: Paths) -> None:
    with Store(paths.conversations) as store:
        assert store.open("b-1") is not None
        assert "open in PID" in chats("chats").stdout
        assert "They" in chats("chats", "show", "b-1").stdout
        for command in (("delete", "b-1"), ("rename", "b-1", "x")):
            refused = chats("chats", *command)
            assert refused.returncode == 1
            assert "open in another r1tui" in refused.stderr


def test_without_any_nothing_is_made(paths: Paths) -> None:
    r1tui = CommandLine(paths)
    assert json.loads(r1tui("chats", "list", "--json").stdout) == {"conversations": []}
    assert r1tui("chats").returncode == 0
    assert r1tui("chats", "show", "x").returncode == 2
    assert not paths.conversations.exists()


def test_one_that_is_deleted_for_good_takes_its_kept_prompt_with_it(chats: CommandLine, paths: Paths) -> None:
    prompt = prompt_of("model", [("user", "Fish?")], "f-2")
    prompts = PromptCacheFolder(paths.kept_prompts)
    private_folder(paths.kept_prompts)
    part = prompts.file(prompt).with_suffix(".part")
    part.write_bytes(b"cache")
    prompts.keep(part, CacheNote(prompt, 5, 0.1, boot_id()))
    assert chats("chats", "delete", "f").returncode == 0
    assert ids(chats("chats", "list", "--json").stdout) == ["b-1"]
    assert prompts.file(prompt).exists()
    let_deletions_age(paths.conversations)
    assert ids(chats("chats", "list", "--json").stdout) == ["b-1"]
    assert list(paths.kept_prompts.iterdir()) == []
