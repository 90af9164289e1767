"""What an empty chat shows: the model, a few keys; gone with the first question."""

from pathlib import Path

import msgspec
import pytest

from r1tui.config import Config, UiSettings
from r1tui.messages import Status
from r1tui.server.endpoint import Endpoint
from r1tui.system.paths import Paths
from r1tui.tui.app import R1App
from r1tui.tui.messages import ServerChanged
from r1tui.tui.widgets.figures import Figures
from r1tui.tui.widgets.gauges import SHADES
from r1tui.tui.widgets.greeting import Greeting, greeting
from r1tui.tui.widgets.transcript import Transcript
from tests.bench.replay import Replay, Script
from tests.screen_rig import STATUS, StillApp
from tests.tui_rig import answers, ask, opened, until

HINTS = [("F12", "try a prompt"), ("F2", "the models"), ("F1", "all keys")]


def shown(app: R1App) -> str:
    widget = app.chat.query_one(Greeting)
    return "\n".join(widget.render_line(y).text.rstrip() for y in range(widget.size.height)) if widget.display else ""


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 60)])
async def test_an_empty_chat_says_which_model_answers_and_what_to_begin_with(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    app = StillApp(tmp_path, Config(ui=UiSettings(keys={"chat.prompts": "f11,ctrl+b"})))
    async with opened(app, size) as pilot:
        app.chat.post_message(ServerChanged(STATUS))
        await until(pilot, lambda: "● ready r1-iq1_s" in shown(app))
        text = shown(app)
        assert "62 layers on CUDA0" in text
        keys = [line.split(maxsplit=1) for line in text.splitlines() if line.endswith(("prompt", "chats", "keys"))]
        assert keys == [["F11", "try a prompt"], ["Ctrl+L", "earlier chats"], ["F1", "all keys"]]


async def test_it_goes_with_the_first_question_and_is_back_in_the_next_chat(paths: Paths, tmp_path: Path) -> None:
    async def on_token(_: int) -> None: ...

    server = await Replay(Script(n_thinking=4, n_answer=8, tps=1000.0), on_token).serve(tmp_path / "s.sock")
    app = R1App(paths, Config(), attach=Endpoint.parse(f"unix:{tmp_path}/s.sock"))
    async with server, opened(app) as pilot:
        await until(pilot, lambda: "all keys" in shown(app))
        await ask(app, pilot, "hi")
        assert not shown(app)
        transcript = app.chat.query_one(Transcript)
        await until(
            pilot, lambda: not answers(app)[-1].running and not app.services.session.answering and transcript.settled
        )
        assert transcript.size.height > 20
        assert "hi" in "".join(transcript.render_line(y).text for y in range(3))
        await pilot.press("ctrl+n")
        await until(pilot, lambda: "all keys" in shown(app))
        await ask(app, pilot, "again")
        await until(pilot, lambda: not answers(app)[-1].running and not app.services.session.answering)
        await pilot.press("ctrl+y", "end", "d")
        await until(pilot, lambda: not app.chat.conversation.exchanges and "all keys" in shown(app))
        await pilot.press("u")
        await until(pilot, lambda: bool(app.chat.conversation.exchanges) and not shown(app))


async def test_a_conversation_that_is_opened_again_has_no_greeting(tmp_path: Path) -> None:
    app = StillApp(tmp_path)
    async with opened(app) as pilot:
        assert shown(app)
        app.show_chat()
        await until(pilot, lambda: not shown(app))


def test_with_little_room_only_the_keys_are_left() -> None:
    figures = Figures(status=STATUS)
    rows = {n: [row.plain.strip() for row in greeting(figures, "R1", HINTS, (80, n), SHADES)] for n in range(10)}
    assert rows[9][1:] == rows[7] == [
        "● ready r1-iq1_s", "R1", "62 layers on CUDA0, experts of 31 on the CPU", "",
        *(f"{key:<9}{does}" for key, does in HINTS),
    ]  # fmt: skip
    assert rows[3] == rows[7][-3:]
    assert rows[2] == rows[0] == []


def test_what_is_not_known_is_not_said_and_names_are_text() -> None:
    assert [row.plain.split() for row in greeting(Figures(), "", HINTS[-1:], (80, 2), SHADES)] == [
        ["F1", "all", "keys"]
    ]
    status = msgspec.structs.replace(Status(), variant="[b]x\x1b[31m", state="failed")
    rows = greeting(Figures(status=status), "a\nb", HINTS, (80, 6), SHADES)
    assert [row.plain.strip() for row in rows[:3]] == ["● failed [b]x", "a b", ""]
