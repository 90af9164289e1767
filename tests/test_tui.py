"""The screen, driven by its keys, over the real server with the tiny R1."""

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest
from textual import events
from textual.widgets import Label, Static

from r1tui.catalog.variants import variant_of_file
from r1tui.config import Config, ServerSettings, UiSettings, VariantSettings
from r1tui.events import StageFailed
from r1tui.planning.history import find_history_of
from r1tui.server.endpoint import Endpoint
from r1tui.supervisor import client as supervisor
from r1tui.system.paths import Paths
from r1tui.tui.app import R1App
from r1tui.tui.commands import COMMANDS
from r1tui.tui.keymap import complaints, is_key, keymap, keys_in, keys_of, nearest_key
from r1tui.tui.messages import StageReported
from r1tui.tui.screens.chat import ChatScreen
from r1tui.tui.screens.dialogs import AskScreen
from r1tui.tui.screens.log import LogScreen
from r1tui.tui.screens.models import ModelsScreen
from r1tui.tui.screens.overlays import KeysScreen
from r1tui.tui.widgets.log_view import LogView
from r1tui.tui.widgets.prompt import Prompt
from r1tui.tui.widgets.stages import Stages
from tests.bare_server import bare_server
from tests.conftest import TinyModel
from tests.screen_rig import StillApp
from tests.tui_rig import ANSWER, THINK, answers, ask, config, notices, opened, ready, to_model, until

__all__ = ["config"]

SCREENS = (
    "ask", "download", "figures", "keys", "line", "log", "processes", "panel", "prompts", "sampling", "save",
    "server_models", "theme",
)  # fmt: skip
BACK = ["select.leave", *(f"{screen}.back" for screen in (*SCREENS, "variants", "conversations"))]


async def test_from_nothing_to_an_answer_without_another_key(paths: Paths, config: Config, tiny_r1: TinyModel) -> None:
    app = R1App(paths, config, variant=variant_of_file(tiny_r1(think=THINK, answer=ANSWER)))
    async with opened(app) as pilot:
        assert app.chat.has_class("-launching")
        await ready(app, pilot)
        await until(pilot, lambda: not app.chat.has_class("-launching"))
        answer = await ask(app, pilot, "hi")
        await until(pilot, lambda: answer.state == "done")
        assert answer.content.text == ANSWER
        assert answer.thinking.text == THINK
        assert answer.thinking_tokens > 0


async def test_the_speed_of_an_answer_is_remembered_for_the_next_plan(
    paths: Paths, config: Config, tiny_r1: TinyModel, llama_server: Path
) -> None:
    model = tiny_r1(think=THINK, answer="one two three four five six seven eight nine ten " * 3)
    app = R1App(paths, config, variant=variant_of_file(model))
    async with opened(app) as pilot:
        await ready(app, pilot)
        answer = await ask(app, pilot, "hi")
        await until(pilot, lambda: answer.state == "done" and not app.services.session.answering)
        record = find_history_of(paths, model, llama_server)
        assert record is not None
        assert len(record.runs[-1].answer_tps) == 1


@pytest.mark.parametrize("key", ["escape", "ctrl+c"])
async def test_a_key_stops_the_answer_for_real_and_never_the_server(
    paths: Paths, config: Config, tiny_r1: TinyModel, key: str
) -> None:
    app = R1App(paths, config, variant=variant_of_file(tiny_r1(think=THINK, answer="one two ", loop=True)))
    async with opened(app, (80, 24)) as pilot:
        await ready(app, pilot)
        answer = await ask(app, pilot, "hi")
        await until(pilot, lambda: "one two" in answer.content.text)
        await pilot.press("n", "o", "w", "enter")
        await until(pilot, lambda: app.chat.query_one(Prompt).text == "now")
        assert answers(app) == [answer]
        await pilot.press(key)
        await until(pilot, lambda: not answer.running)
        assert answer.state == "stopped"
        assert supervisor.status(paths).state == "ready"
        again = await ask(app, pilot, "and again")
        await until(pilot, lambda: bool(again.content))


async def test_keys_switch_models_and_the_conversation_stays(paths: Paths, config: Config, tiny_r1: TinyModel) -> None:
    models = {"first": tiny_r1(think=THINK, answer="I am the first."), "second": tiny_r1(answer="I am the second.")}
    own = {name: VariantSettings(title=name, file=str(path)) for name, path in models.items()}
    app = R1App(paths, Config(engine=config.engine, server=config.server, variants=own))
    async with opened(app) as pilot:
        await to_model(app, pilot, "first")
        await pilot.press("enter")
        await ready(app, pilot, "first")
        first = await ask(app, pilot, "who?")
        await until(pilot, lambda: first.state == "done" and not app.services.session.answering)
        await pilot.press("f4")
        await ready(app, pilot, "second")
        second = await ask(app, pilot, "and now?")
        await until(pilot, lambda: second.state == "done" and not app.services.session.answering)
        assert [answer.content.text for answer in answers(app)] == ["I am the first.", "I am the second."]
        await pilot.press("f3")
        await ready(app, pilot, "first")
        assert len(answers(app)) == 2


async def test_leaving_asks_once_and_the_next_start_is_in_the_chat_at_once(
    paths: Paths, config: Config, tiny_r1: TinyModel
) -> None:
    asking = Config(engine=config.engine, server=ServerSettings(threads=1, on_exit="ask"))
    app = R1App(paths, asking, variant=variant_of_file(tiny_r1(answer=ANSWER)))
    async with opened(app) as pilot:
        await ready(app, pilot)
        await pilot.press("ctrl+q")
        await until(pilot, lambda: isinstance(app.screen, AskScreen))
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, ChatScreen))
        await pilot.press("ctrl+q")
        await until(pilot, lambda: isinstance(app.screen, AskScreen))
        await pilot.press("k")
        await until(pilot, lambda: not app.is_running)
    before = supervisor.status(paths)
    assert before.state == "ready"
    again = R1App(paths, asking)
    async with opened(again) as pilot:
        assert isinstance(again.screen, ChatScreen)
        assert again.chat.models.ready
        assert not again.chat.has_class("-launching")
        answer = await ask(again, pilot, "still there?")
        await until(pilot, lambda: answer.state == "done")
        assert supervisor.status(paths).pid == before.pid
        await pilot.press("ctrl+q")
        await until(pilot, lambda: isinstance(again.screen, AskScreen))
        await pilot.press("s")
        await until(pilot, lambda: not again.is_running)
    assert supervisor.status(paths).state == "stopped"


async def test_a_launch_is_cancelled_with_a_key_and_goes_on_with_another(paths: Paths, config: Config) -> None:
    app = R1App(paths, config, variant=None)
    app.wanted = app.services.models.catalog.find("demo")
    async with opened(app, (80, 24)) as pilot:
        await until(pilot, lambda: app.chat.query_one(Stages).running("model"))
        await pilot.press("escape")
        await until(pilot, lambda: not app.chat.models.launching)
        assert not supervisor.status(paths).running
        await pilot.press("ctrl+r")
        await ready(app, pilot, "demo")


async def test_a_model_that_cannot_be_loaded_says_why_and_what_helps(
    paths: Paths, config: Config, tmp_path: Path
) -> None:
    bad = tmp_path / "bad.gguf"
    bad.write_bytes(b"no model at all")
    app = R1App(paths, config, variant=variant_of_file(bad))
    async with opened(app) as pilot:
        await until(pilot, lambda: not app.chat.models.launching)
        shown = "\n".join(str(row) for row in app.chat.query_one(Stages).rows(100, 30))
        assert "bad.gguf" in shown
        await pilot.press("f2")
        await until(pilot, lambda: isinstance(app.screen, ModelsScreen))


async def test_a_question_stays_in_the_prompt_where_no_model_comes_up(paths: Paths, config: Config) -> None:
    app = R1App(paths, config)
    async with opened(app) as pilot:
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, ChatScreen))
        app.chat.query_one(Prompt).text = "early question"
        await pilot.press("enter")
        await pilot.pause()
        assert app.chat.query_one(Prompt).text == "early question"
        assert answers(app) == []


class Hasty(R1App):
    """The screen of somebody who types before it is there."""

    def on_mount(self) -> None:
        assert not self.chat.is_complete
        for key in ("h", "i", "enter", "f5", "x"):
            self.post_message(events.Key(key, key if len(key) == 1 else None))


async def test_no_key_is_lost_that_was_pressed_before_all_was_there(
    paths: Paths, config: Config, tiny_r1: TinyModel, llama_server: Path, tmp_path: Path
) -> None:
    with bare_server(llama_server, tiny_r1(answer=ANSWER), tmp_path) as (socket, _):
        app = Hasty(paths, config, attach=Endpoint.parse(f"unix:{socket}"))
        async with app.run_test(size=(120, 40)) as pilot:
            await until(pilot, lambda: bool(answers(app)) and answers(app)[0].state == "done")
            assert app.chat.conversation.exchanges[0].question == "hi"
            assert app.chat.has_class("-no-panel")
            await until(pilot, lambda: app.chat.query_one(Prompt).text == "x")


async def test_the_first_screen_takes_text_and_keeps_other_keys_in_their_order(paths: Paths) -> None:
    app = R1App(paths, Config(), attach=Endpoint.parse(f"unix:{paths.run}/none.sock"))
    begin, begun, may_begin = app.chat.complete, asyncio.Event(), asyncio.Event()

    async def wait_and_begin(*args: Any, **options: Any) -> None:
        begun.set()
        await may_begin.wait()
        await begin(*args, **options)

    app.chat.complete = wait_and_begin  # type: ignore[method-assign]
    async with app.run_test(size=(120, 40)) as pilot:
        await begun.wait()
        prompt = app.chat.query_one(Prompt)
        assert prompt.placeholder == "Ask something. Enter sends."
        app.post_message(events.Key("h", "h"))
        await until(pilot, lambda: prompt.text == "h")
        app.post_message(events.Key("f5", None))
        app.post_message(events.Key("x", "x"))
        may_begin.set()
        await until(pilot, lambda: app.chat.has_class("-no-panel"))
        await until(pilot, lambda: prompt.text == "hx")


async def test_an_attached_server_is_chatted_with_and_left_alone(
    paths: Paths, config: Config, tiny_r1: TinyModel, llama_server: Path, tmp_path: Path
) -> None:
    model = tiny_r1(think=THINK, answer=ANSWER)
    with bare_server(llama_server, model, tmp_path) as (socket, process):
        app = R1App(paths, config, attach=Endpoint.parse(f"unix:{socket}"))
        async with opened(app) as pilot:
            answer = await ask(app, pilot, "hi")
            await until(pilot, lambda: answer.state == "done")
            assert answer.content.text == ANSWER
            await until(pilot, lambda: app.chat.models.status is not None)
            await until(
                pilot,
                lambda: f"● ready {model.stem}" in "\n".join(str(row) for row in app.chat.instruments.rows(60, 20)),
            )
            shown = "\n".join(str(row) for row in app.chat.instruments.rows(60, 20))
            assert re.search(r"context .*\d / \d", shown)
            await pilot.press("ctrl+q")
            await until(pilot, lambda: not app.is_running)
        assert process.poll() is None


async def test_several_lines_can_be_typed_and_control_tokens_are_told(
    paths: Paths, config: Config, tiny_r1: TinyModel
) -> None:
    app = R1App(paths, config, variant=variant_of_file(tiny_r1(answer=ANSWER)))
    async with opened(app) as pilot:
        await ready(app, pilot)
        await pilot.press("a", "ctrl+j", "b")
        assert app.chat.query_one(Prompt).text == "a\nb"
        answer = await ask(app, pilot, "x <｜Assistant｜> y")
        await until(pilot, lambda: answer.state == "done")
        assert "<｜Assistant｜>" not in app.chat.conversation.exchanges[-1].question


async def test_the_log_is_one_key_away_and_keys_can_be_rebound(
    paths: Paths, config: Config, tiny_r1: TinyModel
) -> None:
    rebound = Config(engine=config.engine, server=config.server, ui=UiSettings(keys={"chat.log": "f11"}))
    app = R1App(paths, rebound, variant=variant_of_file(tiny_r1(answer=ANSWER)))
    async with opened(app) as pilot:
        await ready(app, pilot)
        await pilot.press("f11")
        await until(pilot, lambda: isinstance(app.screen, LogScreen))
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, ChatScreen))
        await pilot.press("f1")
        await until(pilot, lambda: isinstance(app.screen, KeysScreen))
        text = app.screen.query_one("Static", Static)
        rows = [text.render_line(y).text.strip() for y in range(text.size.height)]
        assert [row.split()[0] for row in rows if "chat.log" in row] == ["F11"]
        assert "Ctrl+J, Alt+Enter    Start a new line.  prompt.newline" in rows
        await pilot.press("f1")
        await until(pilot, lambda: isinstance(app.screen, ChatScreen))


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"chat.log": "f11", "chat.stop": "escape,ctrl+x"}, []),
        ({"chat.log": "f2", "chat.variants": "f6"}, []),
        ({"chat.continue": "f8"}, []),
        ({"chat.lgo": "f11"}, ["Unknown action 'chat.lgo'. Did you mean chat.log?"]),
        ({"nothing at all": "f11"}, ["Unknown action 'nothing at all'."]),
        ({"chat.log": "f11, f2"}, ["f2 is used for both chat.variants and chat.log."]),
        ({"chat.log": "f10"}, ["f10 is used for both app.slow_link and chat.log."]),
        ({"chat.stop": "ctrl-x"}, ["chat.stop: no key is called 'ctrl-x'. Did you mean ctrl+x?"]),
        ({"chat.stop": "Ctrl+/, f11"}, ["chat.stop: no key is called 'Ctrl+/'. Did you mean ctrl+slash?"]),
        ({"chat.stop": "rubbish"}, ["chat.stop: no key is called 'rubbish'."]),
        ({"app.keys": "f2"}, ["f2 is used for both app.keys and chat.variants."]),
        ({"app.theme": "p"}, ["p is used for both app.theme and download.pause."]),
        (
            {"app.quit": "escape"},
            [f"escape is used for both app.quit and {name}." for name in ("chat.stop", "chat.dismiss", *BACK)],
        ),
    ],
)
def test_keys_that_mean_nothing_or_two_things_are_found(keys: dict[str, str], said: list[str]) -> None:
    assert list(complaints(keys)) == said


def test_a_key_that_no_terminal_sends_does_not_take_the_place_of_the_one_that_works() -> None:
    own = keymap(UiSettings(keys={"chat.stop": "ctrl-x", "chat.log": "f33, f11", "chat.new": ""}))
    assert own == {"chat.log": "f11", "chat.new": "", "chat.processes": "alt+g", "processes.back": "escape,q,alt+g"}
    assert keys_of(COMMANDS["chat.stop"], own) == "Esc"


def test_the_default_keys_are_keys() -> None:
    assert [key for command in COMMANDS.values() for key in keys_in(command.keys) if not is_key(key)] == []


@pytest.mark.parametrize(
    ("said", "meant"),
    [("esc", "escape"), ("shift+g", "G"), ("control+space", "ctrl+space"), ("pgup", "pageup"), ("crtl+x", "ctrl+x")],
)
def test_the_key_that_was_meant_is_named(said: str, meant: str) -> None:
    assert not is_key(said)
    assert nearest_key(said) == meant


async def test_what_is_wrong_with_the_users_keys_is_told_once(paths: Paths, tmp_path: Path) -> None:
    wrong = Config(ui=UiSettings(keys={"chat.lgo": "f11", "chat.log": "f2"}))
    app = R1App(paths, wrong, attach=Endpoint.parse(f"unix:{tmp_path}/none.sock"))
    async with app.run_test() as pilot:
        await until(pilot, lambda: bool(notices(app)))
        (told,) = notices(app)
        assert "Did you mean chat.log?" in told
        assert "f2 is used for both chat.variants and chat.log." in told


async def test_the_log_is_searched_and_filtered_while_it_grows(paths: Paths, config: Config) -> None:
    paths.server_log.parent.mkdir(parents=True)
    start = ["0.00.001.000 I all is well", "0.00.002.000 W a warning\x1b[2J", "0.00.003.000 E out of memory"]
    paths.server_log.write_text("\n".join(start) + "\n")
    app = R1App(paths, config)
    async with opened(app) as pilot:
        screen = LogScreen(paths.server_log)
        app.push_screen(screen)
        await until(pilot, lambda: isinstance(app.screen, LogScreen) and len(shown(screen)) == 3)
        assert "\x1b" not in "".join(shown(screen))
        await pilot.press("l")
        assert [line.split()[1] for line in shown(screen)] == ["W", "E"]
        await pilot.press("l", "l", "slash", *"MEM")
        await until(pilot, lambda: [line.split()[1] for line in shown(screen)] == ["E"])
        with paths.server_log.open("a") as log:
            log.write("0.00.004.000 I no match\n0.00.005.000 I memory is free\n")
        await until(pilot, lambda: [line.split()[1] for line in shown(screen)] == ["E", "I"])
        await pilot.press(*"zz")
        await until(pilot, lambda: title(screen).endswith("all lines with 'memzz': no matches"))
        with paths.server_log.open("a") as log:
            log.write("0.00.006.000 I memzz\n")
        await until(pilot, lambda: len(shown(screen)) == 1 and title(screen).endswith("with 'memzz'"))
        await pilot.press("escape")
        await until(pilot, lambda: len(shown(screen)) == 6)
        await pilot.press("escape")
        await until(pilot, lambda: not isinstance(app.screen, LogScreen))


def title(screen: LogScreen) -> str:
    return str(screen.query_one(Label).render())


def shown(screen: LogScreen) -> list[str]:
    return [line.text for log in screen.query(LogView) for line in log.lines]


@pytest.mark.parametrize("size", [(60, 16), (80, 24), (120, 40), (200, 60)])
async def test_the_chat_is_usable_at_every_size(
    paths: Paths, config: Config, tiny_r1: TinyModel, size: tuple[int, int]
) -> None:
    app = R1App(paths, config, variant=variant_of_file(tiny_r1(think=THINK, answer=ANSWER)))
    async with opened(app, size) as pilot:
        await ready(app, pilot)
        answer = await ask(app, pilot, "hi")
        await until(pilot, lambda: answer.state == "done")
        prompt, transcript = app.chat.query_one(Prompt), app.chat.query_one("Transcript")
        assert prompt.region.bottom <= size[1] - 1
        assert transcript.size.height >= 8
        assert transcript.size.width >= 50


async def test_a_launch_with_much_to_say_leaves_the_prompt_on_the_screen(tmp_path: Path) -> None:
    app = StillApp(tmp_path)
    async with opened(app, (60, 16)) as pilot:
        app.show_launch()
        app.chat.post_message(StageReported(StageFailed("model", "Why it failed. " * 20, "What helps. " * 20)))
        await until(pilot, lambda: "✗ model" in "".join(str(row) for row in app.chat.widgets.stages.rows(58, 9)))
        app.draw_all()
        await until(pilot, lambda: app.chat.widgets.stages.size.height == 8)  # and the rule below
        assert app.chat.query_one(Prompt).region.bottom == 15
