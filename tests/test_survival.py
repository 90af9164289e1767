"""What becomes of server, answer and conversation when the screen goes: left, hung up, killed; and who comes next."""

import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest

from r1tui.chat.store import Store
from r1tui.config import Config, EngineSettings, ServerSettings
from r1tui.server.record import LOST_EVENT, record_file
from r1tui.supervisor import client as supervisor
from r1tui.supervisor.client import has_record
from r1tui.system.paths import Paths
from r1tui.system.processes import identify, wait
from tests.conftest import TinyModel
from tests.ptys import Terminal
from tests.store_rig import running, whole
from tests.stored import conversations, last_conversation, last_states
from tests.supervisor_rig import SocketConnection, call, slowed, spec_for, start_ready, until

THINK = "Hm, 日本 and 🦙.\n"
WORDS = "one two three four.\n\n"
Ready = Callable[..., None]


@pytest.fixture
def ready(paths: Paths, llama_server: Path, tiny_r1: TinyModel) -> Iterator[Ready]:
    """Brings up a kept server whose answers have this many tokens, for a screen with these settings."""

    def bring_up(max_tokens: int, **server: Any) -> None:
        settings = ServerSettings(threads=1, **server)
        config = Config(engine=EngineSettings(source=str(llama_server)), server=settings)
        paths.config_file.parent.mkdir(parents=True)
        paths.config_file.write_bytes(msgspec.json.encode(config))
        model = tiny_r1(think=THINK, answer=WORDS, loop=True)
        start_ready(spec_for(llama_server, model, paths, "--n-predict", str(max_tokens)), paths)

    yield bring_up
    supervisor.stop(paths)
    assert list(paths.run.iterdir()) == []


def ask(terminal: Terminal, paths: Paths) -> None:
    """Ask, and see the answer begin."""
    before = len(list(paths.answers.glob("*.sse")))
    terminal.wait_for("Models")
    terminal.type("hello")
    terminal.wait_for("hello")
    terminal.type("\r")
    until(lambda: len([one for one in paths.answers.glob("*.sse") if one.stat().st_size]) > before, 60)


def leave_by_kill(terminal: Terminal, paths: Paths) -> None:
    terminal.kill()


def leave_with_keeper(terminal: Terminal, paths: Paths) -> None:
    pid = supervisor.status(paths).supervisor_pid
    assert pid is not None
    process = identify(pid)
    os.kill(pid, signal.SIGKILL)
    terminal.kill()
    assert process is None or wait(process, 60)


def leave_by_hang_up(terminal: Terminal, paths: Paths) -> None:
    assert terminal.hang_up() == 130


def undisturbed(paths: Paths) -> str:
    body = {"messages": [{"role": "user", "content": "hello"}]}
    code, answer = call(SocketConnection(paths.server_socket), "POST", "/v1/chat/completions", body)
    assert code == 200
    return str(json.loads(answer)["choices"][0]["message"]["content"]).lstrip()


@pytest.mark.parametrize("leave", [leave_by_kill, leave_by_hang_up, leave_with_keeper])
def test_an_answer_goes_on_without_its_screen_and_the_next_one_has_it_whole(
    paths: Paths, ready: Ready, leave: Callable[[Terminal, Paths], None]
) -> None:
    ready(400)
    before = supervisor.status(paths)
    with Terminal() as terminal:
        ask(terminal, paths)
        leave(terminal, paths)
    with Terminal() as terminal:
        until(lambda: (now := supervisor.status(paths)).supervisor_pid and not now.answers, 60)
        until(lambda: last_states(paths) == ["done"], 60)
        terminal.kill()
    assert (supervisor.status(paths).state, supervisor.status(paths).pid) == ("ready", before.pid)
    [exchange] = last_conversation(paths).exchanges
    assert (exchange.question, exchange.answer.state) == ("hello", "done")
    assert exchange.answer.thinking.text == THINK
    assert exchange.answer.content.text.lstrip() == undisturbed(paths)


def test_a_hang_up_stops_the_server_where_that_is_wished(paths: Paths, ready: Ready) -> None:
    ready(100_000, on_hangup="stop")
    with Terminal() as terminal:
        ask(terminal, paths)
        assert terminal.hang_up() == 130
    assert supervisor.status(paths).state == "stopped"


def test_a_second_screen_does_not_take_the_first_ones_conversation(paths: Paths, ready: Ready) -> None:
    ready(20)
    with Terminal() as first:
        ask(first, paths)
        until(lambda: last_states(paths) == ["done"], 60)
        with Terminal() as second:
            ask(second, paths)
            until(lambda: last_states(paths) == ["done", "done"], 60)
            assert supervisor.status(paths).restarts == 0
            second.kill()
        first.kill()
    assert [len(one.exchanges) for one in conversations(paths)] == [1, 1]


@pytest.mark.parametrize("screen_stays", [True, False])
def test_an_answer_that_a_killed_supervisor_never_heard_of_is_whole_too(
    paths: Paths, ready: Ready, *, screen_stays: bool
) -> None:
    ready(1500)
    deaf, server = supervisor.status(paths).supervisor_pid, supervisor.status(paths).pid
    assert deaf is not None
    assert server is not None
    os.kill(deaf, signal.SIGSTOP)
    with ExitStack() as slow:  # so that it is not whole before the next supervisor comes
        with Terminal() as terminal:
            terminal.wait_for("Models")
            terminal.type("hello")
            terminal.wait_for("hello")
            slow.enter_context(slowed(server))
            terminal.type("\r")
            until(lambda: is_computing(paths), 60)
            os.kill(deaf, signal.SIGKILL)
            if screen_stays:
                until(lambda: supervisor.status(paths).supervisor_pid not in (None, deaf), 60)
                until(lambda: list(paths.answers.glob("*.sse")), 60)
            terminal.kill()
        with Terminal() as terminal:
            until(lambda: list(paths.answers.glob("*.sse")), 60)
            slow.close()
            until(lambda: last_states(paths) == ["done"], 60)
            terminal.kill()
    assert last_conversation(paths).exchanges[-1].answer.content.text.lstrip() == undisturbed(paths)


@pytest.mark.parametrize("lost", [True, False])
def test_an_answer_that_the_server_has_not_any_more_stays_as_it_was_written(
    paths: Paths, ready: Ready, monkeypatch: pytest.MonkeyPatch, *, lost: bool
) -> None:
    def has_lost(paths: Paths, answer_id: str) -> None:
        record_file(paths.answers, answer_id).write_bytes(LOST_EVENT)

    ready(20)
    if lost:
        paths.answers.mkdir(exist_ok=True)
        monkeypatch.setattr(supervisor, "answer_started", has_lost)
    with Store(paths.conversations) as store:
        store.write([whole(running("c1"))])
    with Store(paths.conversations, recorded=lambda one: has_record(paths, one, managed=True)) as store:
        opened = store.open("c1")
    assert opened is not None
    answer = opened.conversation.exchanges[0].answer
    assert (answer.state, answer.content.text) == ("stopped", "so far")
    assert supervisor.status(paths).answers == []


def is_computing(paths: Paths) -> bool:
    code, slots = call(SocketConnection(paths.server_socket), "GET", "/slots")
    return code == 200 and b'"is_processing":true' in slots
