"""The prompt, driven by its keys: history, drafts, large pastes, files, prompts."""

from contextlib import nullcontext
from pathlib import Path

import pytest
from textual import events
from textual.pilot import Pilot

from r1tui.chat.typed import Typed
from r1tui.config import Config
from r1tui.server.endpoint import Endpoint
from r1tui.system.paths import Paths
from r1tui.tui.app import R1App
from r1tui.tui.screens import chat_parts
from r1tui.tui.screens.chat import ChatScreen
from r1tui.tui.screens.overlays import PromptsScreen
from r1tui.tui.widgets.prompt import Prompt
from tests.bare_server import bare_server
from tests.conftest import TinyModel
from tests.screen_rig import StillApp
from tests.tui_rig import ANSWER, answers, opened, until


def prompt(app: R1App) -> Prompt:
    return app.chat.composer.prompt


async def sent(app: R1App, pilot: Pilot[None], text: str) -> None:
    """Have it in the history, as if it had been asked."""
    count = len(prompt(app).recall.entries)
    app.chat.view.note_asked(Typed(text))
    await until(pilot, lambda: len(prompt(app).recall.entries) > count)


async def shut(app: R1App, pilot: Pilot[None]) -> None:
    """Nobody answers from now on: what is sent comes back."""
    await until(pilot, lambda: app.chat.composer.is_settled)
    app.chat.models.ready = False


async def test_the_arrows_walk_through_earlier_questions_and_back_to_the_draft(tmp_path: Path) -> None:
    app = StillApp(tmp_path)
    async with opened(app) as pilot:
        await shut(app, pilot)
        for text in ("first", "second\nof two lines", "third"):
            await sent(app, pilot, text)
        await pilot.press(*"draft")
        walked = []
        for key in ("up", "up", "up", "up", "down", "down", "down", "down", "down"):
            await pilot.press(key)
            walked.append(prompt(app).text)
        older = ["third", "second\nof two lines", "first", "first"]
        assert walked == [*older, "second\nof two lines", "third", "draft", "draft", "draft"]


async def test_what_was_changed_on_the_walk_is_there_on_the_way_back(tmp_path: Path) -> None:
    app = StillApp(tmp_path)
    async with opened(app) as pilot:
        await shut(app, pilot)
        for text in ("first", "second"):
            await sent(app, pilot, text)
        await pilot.press("up", "!", "up", "down")
        assert prompt(app).text == "second!"
        assert [entry.text for entry in prompt(app).recall.entries] == ["first", "second"]


async def test_within_several_rows_the_arrows_move_the_cursor(tmp_path: Path) -> None:
    app = StillApp(tmp_path)
    async with opened(app) as pilot:
        await shut(app, pilot)
        await sent(app, pilot, "before")
        await pilot.press("a", "ctrl+j", "b", "up")
        assert prompt(app).text == "a\nb"
        assert prompt(app).cursor_location[0] == 0
        await pilot.press("up")
        assert prompt(app).text == "before"


async def test_questions_of_an_earlier_start_are_there_at_the_next(tmp_path: Path) -> None:
    for text in ("one", "two"):
        app = StillApp(tmp_path)
        async with opened(app) as pilot:
            await shut(app, pilot)
            await sent(app, pilot, text)
    app = StillApp(tmp_path)
    async with opened(app) as pilot:
        await shut(app, pilot)
        await pilot.press("up", "up")
        assert prompt(app).text == "one"


@pytest.mark.parametrize("n_lines", [5_000, 50_000])
async def test_a_large_paste_is_one_label_and_is_sent_whole(tmp_path: Path, n_lines: int) -> None:
    app = StillApp(tmp_path)
    text = "x = 1  # a line of code\n" * n_lines
    async with opened(app) as pilot:
        await shut(app, pilot)
        await pilot.press(*"look: ")
        prompt(app).post_message(events.Paste(text.replace("\n", "\r")))
        await until(pilot, lambda: "pasted" in prompt(app).text)
        assert prompt(app).text.startswith(f"look: [pasted {n_lines:,} lines, ")
        assert prompt(app).typed.whole == f"look: {text}"
        await pilot.press("enter")
        await until(pilot, lambda: "pasted" in prompt(app).text)  # given back, as the label that it was
        app.chat.models.ready = True
        await pilot.press("enter")
        await until(pilot, lambda: len(prompt(app).recall.entries) == 1)
        assert prompt(app).recall.entries[0].whole == f"look: {text}"
        assert app.chat.conversation.exchanges[0].question == f"look: {text}".strip()


async def test_a_label_is_deleted_at_once_and_undo_brings_it_back(tmp_path: Path) -> None:
    app = StillApp(tmp_path)
    async with opened(app) as pilot:
        await shut(app, pilot)
        prompt(app).paste("line\n" * 100)
        await pilot.press("backspace")
        assert prompt(app).text == ""
        await pilot.press("ctrl+z")
        assert prompt(app).typed.whole == "line\n" * 100


async def test_two_pastes_of_one_size_stay_two(tmp_path: Path) -> None:
    app = StillApp(tmp_path)
    async with opened(app) as pilot:
        await shut(app, pilot)
        for letter in "ab":
            prompt(app).paste(f"{letter}\n" * 100)
        assert prompt(app).typed.whole == "a\n" * 100 + "b\n" * 100


async def test_what_is_pasted_while_reading_is_in_the_prompt_without_control_sequences(tmp_path: Path) -> None:
    app = StillApp(tmp_path)
    async with opened(app) as pilot:
        await shut(app, pilot)
        app.chat.widgets.transcript.focus()
        await pilot.pause()
        app.post_message(events.Paste("red \x1b[31mtext"))
        await until(pilot, lambda: prompt(app).text == "red text")
        assert prompt(app).has_focus


@pytest.mark.parametrize(
    ("editor", "said", "text"),
    [
        ("sh -c 'printf more >> $0'", "", "typedmore"),
        ("sh -c 'yes | head -9999 > $0'", "", "[pasted 9,999 lines, 19.5 KiB]"),
        ("sh -c 'exit 3'", "sh ended with status 3; the prompt is unchanged.", "typed"),
        ("no-such-editor --wait", "The program 'no-such-editor' in $VISUAL does not exist.", "typed"),
    ],
)
async def test_the_editor_gives_the_prompt_what_was_saved_or_says_why_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, editor: str, said: str, text: str
) -> None:
    monkeypatch.setenv("VISUAL", editor)
    app = StillApp(tmp_path)
    told: list[str] = []
    async with opened(app) as pilot:
        await shut(app, pilot)
        monkeypatch.setattr(app, "suspend", nullcontext)
        monkeypatch.setattr(app, "notify", lambda text, **_: told.append(text))
        await pilot.press(*"typed", "ctrl+g")
        await until(pilot, lambda: prompt(app).text == text and not app.chat.composer.is_editing)
        assert all(one.startswith(said) and "export" in one for one in told)
        assert bool(told) == bool(said)
        if not said:
            await pilot.press("ctrl+z")
            assert prompt(app).text == "typed"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which r1tui was started."""
    here = tmp_path / "here"
    (here / "my notes").mkdir(parents=True)
    (here / "app.py").write_text("print('```')\n")
    (here / "apples.txt").write_text("apples <｜User｜>\n")
    (here / ".hidden").write_text("x")
    (here / "photo.png").write_bytes(b"\x89PNG\0\0")
    (here / "huge.log").write_bytes(b"x" * (2 << 20))
    (here / "my notes" / "to do.md").write_text("# To do\n")
    monkeypatch.chdir(here)
    return here


def offered(app: R1App) -> list[str]:
    """The names in the list of files; empty where it is closed."""
    return [one.name for one in app.chat.composer.completion._offered]


async def test_an_at_sign_completes_a_path_with_folders_and_spaces(tmp_path: Path, folder: Path) -> None:
    app = StillApp(tmp_path)
    async with opened(app) as pilot:
        await shut(app, pilot)
        await pilot.press(*"see @")
        await until(pilot, lambda: bool(offered(app)))
        assert offered(app) == ["app.py", "apples.txt", "huge.log", "my notes/", "photo.png"]
        await pilot.press("m", "y")
        await until(pilot, lambda: offered(app) == ["my notes/"])
        await pilot.press("tab")
        await until(pilot, lambda: offered(app) == ["my notes/to do.md"])
        assert prompt(app).text == 'see @"my notes/'
        await pilot.press("enter")
        await until(pilot, lambda: prompt(app).text == 'see @"my notes/to do.md" ')
        assert offered(app) == []


async def test_the_list_of_files_is_moved_in_closed_and_left_alone(tmp_path: Path, folder: Path) -> None:
    app = StillApp(tmp_path)
    async with opened(app) as pilot:
        await shut(app, pilot)
        await pilot.press("ctrl+f", "a")
        await until(pilot, lambda: offered(app)[:2] == ["app.py", "apples.txt"])
        await pilot.press("escape")
        await until(pilot, lambda: offered(app) == [])
        await pilot.press("p")
        await until(pilot, lambda: not app.chat.composer.completion.is_looking)
        assert offered(app) == []
        await pilot.press("ctrl+f")
        await until(pilot, lambda: offered(app) == ["app.py", "apples.txt"])
        await pilot.press("down", "tab")
        await until(pilot, lambda: prompt(app).text == "@apples.txt ")


async def test_hidden_files_are_offered_where_a_dot_is_typed_and_the_home_by_its_sign(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(folder))
    app = StillApp(tmp_path)
    async with opened(app) as pilot:
        await shut(app, pilot)
        await pilot.press("@", ".")
        await until(pilot, lambda: offered(app) == [".hidden"])
        await pilot.press("backspace", "~", "/", "a", "p", "p", ".")
        await until(pilot, lambda: offered(app) == ["~/app.py"])


async def test_attached_files_are_weighed_against_the_context_and_sent_below_the_question(
    paths: Paths, tiny_r1: TinyModel, llama_server: Path, tmp_path: Path, folder: Path
) -> None:
    with bare_server(llama_server, tiny_r1(answer=ANSWER), tmp_path) as (socket, _):
        app = R1App(paths, Config(), attach=Endpoint.parse(f"unix:{socket}"))
        async with opened(app) as pilot:
            await until(pilot, lambda: app.chat.instruments.context_size is not None)
            await pilot.press(*"what do @app.py and @apples.txt")
            await pilot.press("space", "d", "o")
            await until(pilot, lambda: "of 512 left" in (prompt(app).border_subtitle or ""))
            client = await app.services.session.server.client()
            n_tokens = len(await client.tokenize("Attached file: app.py\n\n````py\nprint('```')\n````"))
            weighed = f"app.py {n_tokens} + apples.txt "
            await until(pilot, lambda: weighed in (prompt(app).border_subtitle or ""))
            await pilot.press("enter")
            await until(pilot, lambda: bool(answers(app)))
            question = app.chat.conversation.exchanges[0].question
            assert question.startswith("what do @app.py and @apples.txt do\n\nAttached file: app.py\n\n````py\n")
            assert question.endswith("````\n\nAttached file: apples.txt\n\n```txt\napples <\u2060｜User｜>\n```")
            await until(pilot, lambda: not answers(app)[0].running)
            shown = [row for block in app.chat.widgets.transcript._layout.blocks for row in block.rows]
            lines = ["".join(text for text, _ in row.spans) for row in shown]
            assert any("[app.py, 12 B]" in line for line in lines)
            assert not any("print" in line for line in lines)
            await until(pilot, lambda: prompt(app).border_subtitle is None)
            await pilot.press("up")
            assert prompt(app).text == "what do @app.py and @apples.txt do"


@pytest.mark.parametrize(
    ("name", "why"), [("photo.png", "photo.png is not a text file"), ("huge.log", "huge.log is too large to attach")]
)
async def test_a_file_that_cannot_be_attached_is_refused_with_its_reason(
    tmp_path: Path, folder: Path, name: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = StillApp(tmp_path)
    said: list[str] = []
    async with opened(app) as pilot:
        await shut(app, pilot)
        monkeypatch.setattr(app.chat.composer, "notify", lambda text, **_: said.append(text))
        prompt(app).have(Typed(f"look at @{name}"))
        await until(pilot, lambda: why in (prompt(app).border_subtitle or ""))
        assert prompt(app).has_class("-too-heavy")
        await pilot.press("enter")
        await until(pilot, lambda: any(why in text for text in said))
        await until(pilot, lambda: prompt(app).text == f"look at @{name}")
        assert not prompt(app).recall.entries


async def test_a_prompt_of_the_config_is_chosen_from_a_list_and_seen_in_full(tmp_path: Path) -> None:
    app = StillApp(tmp_path)
    async with opened(app) as pilot:
        await shut(app, pilot)
        await pilot.press(*"Please: ", "f12")
        await until(pilot, lambda: isinstance(app.screen, PromptsScreen))
        await pilot.press("down")
        await until(pilot, lambda: "OpenCV" in str(app.screen.query_one("Static").render()))
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, ChatScreen))
        wanted = Config().prompts["Motion detection"].strip()
        assert prompt(app).text == f"Please: {wanted}"
        await pilot.press("f12")
        await until(pilot, lambda: isinstance(app.screen, PromptsScreen))
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, ChatScreen))
        assert prompt(app).text == f"Please: {wanted}"


async def test_without_prompts_the_list_says_so(tmp_path: Path) -> None:
    app = StillApp(tmp_path, Config(prompts={}))
    async with opened(app) as pilot:
        await pilot.press("f12")
        await until(pilot, lambda: isinstance(app.screen, PromptsScreen))
        assert "no prompts" in str(app.screen.query_one("Static").render())
        await pilot.press("enter", "escape")
        await until(pilot, lambda: isinstance(app.screen, ChatScreen))


async def test_a_large_paste_is_weighed_as_a_file_is(
    paths: Paths, tiny_r1: TinyModel, llama_server: Path, tmp_path: Path
) -> None:
    text = "apples and pears\n" * 70
    with bare_server(llama_server, tiny_r1(answer=ANSWER), tmp_path) as (socket, _):
        app = R1App(paths, Config(), attach=Endpoint.parse(f"unix:{socket}"))
        async with opened(app) as pilot:
            await until(pilot, lambda: app.chat.instruments.context_size is not None and app.chat.composer.is_settled)
            prompt(app).on_paste(events.Paste(text))
            n_tokens = len(await (await app.services.session.server.client()).tokenize(text))
            await until(pilot, lambda: f"pasted {n_tokens:,} tokens" in (prompt(app).border_subtitle or ""))
            prompt(app).clear()
            await until(pilot, lambda: prompt(app).border_subtitle is None)


async def test_ctrl_c_says_how_to_leave_and_twice_clears_the_prompt_which_can_come_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = StillApp(tmp_path)
    said: list[str] = []
    monkeypatch.setattr(chat_parts, "CLEAR_S", 1e6)
    monkeypatch.setattr(app, "notify", lambda text, **_: said.append(text))
    async with opened(app) as pilot:
        await pilot.press("ctrl+c")
        await until(pilot, lambda: said == ["<app.quit> leaves r1tui."])
        await pilot.press(*"words", "ctrl+c")
        await until(pilot, lambda: said[1:] == ["<app.quit> leaves; <chat.interrupt> again clears the prompt."])
        assert prompt(app).text == "words"
        await pilot.press("ctrl+c")
        await until(pilot, lambda: prompt(app).text == "")
        await pilot.press("ctrl+z")
        await until(pilot, lambda: prompt(app).text == "words")
        await pilot.press("ctrl+c")
        await until(pilot, lambda: len(said) == 4)
        assert prompt(app).text == "words"
