"""The sampling panel, and what of it reaches a real server."""

import errno
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from textual.app import App, ComposeResult
from textual.events import Key
from textual.pilot import Pilot
from textual.widgets import Input

from r1tui.chat.choices import SamplingChoices
from r1tui.config import Config, SamplingSettings
from r1tui.errors import R1tuiError
from r1tui.events import Content, Finished, Reasoning
from r1tui.server.client import ChatRequest, Message, ServerClient
from r1tui.server.endpoint import Endpoint
from r1tui.system.files import take_damages
from r1tui.system.paths import Paths
from r1tui.tui.app import R1App
from r1tui.tui.screens.chat import ChatScreen
from r1tui.tui.screens.sampling import SamplingScreen
from r1tui.tui.widgets.number_field import NumberField
from r1tui.tui.widgets.switch import Switch
from tests.bare_server import bare_server
from tests.conftest import TinyModel
from tests.odd_server import odd_server, refused
from tests.screen_rig import StillApp
from tests.tiny_r1 import TEMPLATE
from tests.tui_rig import ask, opened, until

WITH_VALUES = Config(sampling=SamplingSettings(temperature=0.6, seed=3407))
THINK = "one two three four five six seven eight nine ten.\n"
ANSWER = "Hello there."
SWITCH = TEMPLATE.replace(
    "{{ '<｜Assistant｜><think>\\n' }}",
    "{{ '<｜Assistant｜><think>\\n</think>' if enable_thinking is defined and not enable_thinking "
    "else '<｜Assistant｜><think>\\n' }}",
)


@pytest.fixture(scope="module")
def socket(llama_server: Path, tiny_r1: TinyModel, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with bare_server(llama_server, tiny_r1(think=THINK, answer=ANSWER), tmp_path_factory.mktemp("r")) as (path, _):
        yield path


@pytest.fixture(scope="module")
def switched(llama_server: Path, tiny_r1: TinyModel, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A model whose template can be told not to think."""
    assert SWITCH != TEMPLATE
    model = tiny_r1(think=THINK, answer=ANSWER, template=SWITCH)
    with bare_server(llama_server, model, tmp_path_factory.mktemp("w")) as (path, _):
        yield path


async def asked(socket: Path, sampling: SamplingSettings) -> tuple[str, str, Finished]:
    """The thinking and the answer of a request."""
    async with ServerClient(Endpoint.parse(f"unix:{socket}")) as client:
        request = ChatRequest([Message("user", "hi")], sampling)
        events = [event async for event in client.stream_chat(request, f"c{id(sampling)}")]
    end = events[-1]
    assert isinstance(end, Finished)
    thinking = "".join(event.text for event in events if isinstance(event, Reasoning))
    return thinking, "".join(event.text for event in events if isinstance(event, Content)), end


async def test_a_thinking_budget_ends_the_thinking_and_begins_the_answer(socket: Path) -> None:
    thinking, answer, end = await asked(socket, SamplingSettings(thinking_budget=5))
    assert THINK.startswith(thinking)
    assert thinking != THINK
    assert answer == ANSWER
    assert (end.reasoning_tokens or 99) <= 5


@pytest.mark.parametrize(("thinking", "thought"), [(None, THINK), (True, THINK), (False, "")])
async def test_a_template_with_a_switch_thinks_or_answers_at_once(
    switched: Path, thinking: bool | None, thought: str
) -> None:
    assert (await asked(switched, SamplingSettings(thinking=thinking)))[:2] == (thought, ANSWER)


def test_only_what_is_chosen_is_sent() -> None:
    plain = ChatRequest([Message("user", "hi")]).body(raw_reasoning=False)
    assert plain.keys().isdisjoint({"reasoning_budget_tokens", "chat_template_kwargs", "max_tokens"})
    chosen = SamplingSettings(seed=None, max_tokens=7, thinking_budget=9, thinking=False)
    body = ChatRequest([Message("user", "hi")], chosen).body(raw_reasoning=False)
    assert body["chat_template_kwargs"] == {"enable_thinking": False}
    assert (body["max_tokens"], body["reasoning_budget_tokens"]) == (7, 9)
    assert "seed" not in body


def test_choices_are_kept_for_each_model_and_follow_the_config_elsewhere(tmp_path: Path) -> None:
    path = tmp_path / "state" / "sampling.json"
    choices = SamplingChoices(path, SamplingSettings())
    choices.choose("one", SamplingSettings(temperature=1.0, seed=None))
    choices.write("one")
    assert path.stat().st_mode & 0o077 == 0
    again = SamplingChoices(path, SamplingSettings(top_p=0.5))
    assert again.of("one") == SamplingSettings(temperature=1.0, seed=None, top_p=0.5)
    assert again.of("two") == SamplingSettings(top_p=0.5)
    again.choose("two", SamplingSettings(min_p=0.2))
    again.write("two")
    choices.choose("one", SamplingSettings())
    choices.write("one")
    assert set(msgspec.json.decode(path.read_bytes())) == {"two"}


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b'{"m": 3}', b'{"m": {"temperature": "hot"}}'])
def test_a_file_that_cannot_be_used_is_the_config(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "sampling.json").write_bytes(content)
    assert SamplingChoices(tmp_path / "sampling.json", SamplingSettings()).of("m") == SamplingSettings()


def _unreadable(_: Path) -> bytes:
    raise OSError(errno.EIO, "Input/output error")


def test_choices_that_cannot_be_understood_are_set_aside_and_said(tmp_path: Path) -> None:
    path = tmp_path / "sampling.json"
    path.write_text('{"old": {"temperature": 0.5},}')
    choices = SamplingChoices(path, SamplingSettings())
    choices.choose("new", SamplingSettings(temperature=1.0))
    choices.write("new")
    assert (tmp_path / "sampling.json.damaged").read_text() == '{"old": {"temperature": 0.5},}'
    assert SamplingChoices(path, SamplingSettings()).of("new").temperature == 1.0
    assert [damage.path for damage in take_damages()] == [path]


def test_choices_that_cannot_be_read_are_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "sampling.json"
    choices = SamplingChoices(path, SamplingSettings())
    choices.choose("new", SamplingSettings(temperature=1.0))
    path.write_text('{"old": {"temperature": 0.5}}')
    with monkeypatch.context() as broken:
        broken.setattr("r1tui.system.files._read", _unreadable)
        assert choices.of("old") == SamplingSettings()
        with pytest.raises(R1tuiError, match="Input/output error"):
            choices.write("new")
    assert choices.of("old").temperature == 0.5


async def panel(app: R1App, pilot: Pilot[None]) -> SamplingScreen:
    await pilot.press("ctrl+s")
    await until(pilot, lambda: isinstance(app.screen, SamplingScreen) and app.screen.filled)
    assert isinstance(app.screen, SamplingScreen)
    return app.screen


async def fill(screen: SamplingScreen, pilot: Pilot[None], key: str, text: str) -> None:
    """Type it into the field."""
    screen.query_one(f"#{key}", Input).focus()
    await pilot.press("ctrl+u", "ctrl+k", *text)
    await until(pilot, lambda: screen.query_one(f"#{key}", Input).value == text)


async def back(app: R1App, pilot: Pilot[None]) -> None:
    await pilot.press("escape")
    await until(pilot, lambda: isinstance(app.screen, ChatScreen))


async def test_a_change_counts_for_the_next_question_and_is_remembered_for_the_model(
    paths: Paths, tiny_r1: TinyModel, llama_server: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bodies: list[dict[str, object]] = []
    body = ChatRequest.body

    def noted(self: ChatRequest, *, raw_reasoning: bool) -> dict[str, object]:
        bodies.append(body(self, raw_reasoning=raw_reasoning))
        return bodies[-1]

    monkeypatch.setattr(ChatRequest, "body", noted)
    with bare_server(llama_server, tiny_r1(think=THINK, answer=ANSWER), tmp_path) as (socket, _):
        app = R1App(paths, Config(), attach=Endpoint.parse(f"unix:{socket}"))
        async with opened(app) as pilot:
            await until(pilot, lambda: app.chat.models.status is not None)
            screen = await panel(app, pilot)
            await fill(screen, pilot, "temperature", "1.25")
            await fill(screen, pilot, "seed", "")
            await fill(screen, pilot, "thinking_budget", "4")
            await back(app, pilot)
            answer = await ask(app, pilot, "hi")
            await until(pilot, lambda: answer.state == "done")
            assert bodies[0]["temperature"] == 1.25
            assert "seed" not in bodies[0], "an empty field leaves it to the server"
            assert bodies[0]["reasoning_budget_tokens"] == 4
            assert answer.thinking.text != THINK
            await until(pilot, paths.sampling_choices.exists)
        again = R1App(paths, WITH_VALUES, attach=Endpoint.parse(f"unix:{socket}"))
        async with opened(again) as pilot:
            await until(pilot, lambda: again.chat.models.status is not None)
            screen = await panel(again, pilot)
            assert screen.query_one("#temperature", Input).value == "1.25"
            await pilot.press("ctrl+r")
            await until(pilot, lambda: screen.query_one("#temperature", Input).value == "0.6")
            await back(again, pilot)
            answer = await ask(again, pilot, "hi")
            await until(pilot, lambda: answer.state == "done")
            assert (bodies[1]["temperature"], bodies[1]["seed"]) == (0.6, 3407)


@pytest.mark.parametrize(
    ("key", "typed", "allowed"),
    [
        ("temperature", "9", "a number from 0 to 5"),
        ("temperature", "warm", "a number from 0 to 5"),
        ("top_p", "nan", "a number from 0 to 1"),
        ("top_k", "-1", "a whole number from 0"),
        ("seed", "1.5", "a whole number from -1"),
        ("max_tokens", "0", "a whole number from 1"),
        ("thinking_budget", "-1", "a whole number from 1"),
    ],
)
async def test_what_cannot_be_is_told_with_what_is_allowed_and_changes_nothing(
    tmp_path: Path, key: str, typed: str, allowed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = StillApp(tmp_path)
    said: list[str] = []
    async with opened(app, (80, 24)) as pilot:
        screen = await panel(app, pilot)
        await fill(screen, pilot, key, typed)
        await until(pilot, lambda: allowed in str(screen.query_one("#about").render()))
        monkeypatch.setattr(app, "notify", lambda text, **_: said.append(text))
        await back(app, pilot)
        assert any("It stays" in text for text in said)
        default, now = SamplingSettings(), app.services.session.choices.of(app.services.session.model)
        if key not in ("temperature", "seed"):  # of these a beginning was valid
            assert now == default


async def test_the_arrow_keys_walk_the_fields(tmp_path: Path) -> None:
    app = StillApp(tmp_path)
    async with opened(app, (80, 24)) as pilot:
        screen = await panel(app, pilot)
        first = screen.focused
        await pilot.press("down")
        assert screen.focused is not first
        await pilot.press("up")
        assert screen.focused is first


async def test_the_thinking_row_is_live_only_where_the_template_has_a_switch(
    paths: Paths, socket: Path, switched: Path
) -> None:
    app = R1App(paths, Config(), attach=Endpoint.parse(f"unix:{socket}"))
    async with opened(app, (80, 24)) as pilot:
        await until(pilot, lambda: app.chat.models.status is not None)
        screen = await panel(app, pilot)
        await until(pilot, lambda: "no switch" in str(screen.query_one("#switch").render()))
        assert screen.query_one(Switch).disabled
    app = R1App(paths, Config(), attach=Endpoint.parse(f"unix:{switched}"))
    async with opened(app, (80, 24)) as pilot:
        await until(pilot, lambda: app.chat.models.status is not None)
        screen = await panel(app, pilot)
        screen.query_one(Switch).focus()
        await pilot.press("space", "space")
        assert screen.query_one(Switch).value is False
        await back(app, pilot)
        answer = await ask(app, pilot, "hi")
        await until(pilot, lambda: answer.state == "done")
        assert (answer.thinking.text, answer.content.text) == ("", ANSWER)


async def test_a_server_that_says_nothing_of_its_template_leaves_the_switch_alone() -> None:
    with odd_server() as server:
        async with ServerClient(Endpoint.parse(server.url), ours=False) as client:
            server.others["/apply-template"] = refused(200, {"prompt": ""})
            assert not await client.forces_thinking()
            server.others["/apply-template"] = refused(200, {"prompt": "<think>"})
            assert await client.forces_thinking(SamplingSettings(thinking=False))
            assert not await client.forces_thinking()


class Field(App[None]):
    """A field for a number of at most 8,192."""

    def compose(self) -> ComposeResult:
        yield NumberField(id="number", doubles=True)

    def on_mount(self) -> None:
        self.query_one(NumberField).limits = 256, 8192


@pytest.mark.parametrize(("keys", "value"), [("4096>", "8192"), ("512+-+6", "10246"), ("<1024<", "512")])
async def test_keys_of_a_number_that_come_at_once_count_in_their_order(keys: str, value: str) -> None:
    names = {">": "right", "<": "left", "+": "plus", "-": "minus"}
    app = Field()
    async with app.run_test() as pilot:
        field = app.query_one(NumberField).focus()
        await until(pilot, lambda: field.has_focus)
        for key in keys:
            app.post_message(Key(names.get(key, key), key))
        await until(pilot, lambda: field.value == value)
