"""The control socket: what it answers, and that nothing a client sends brings the supervisor down."""

import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from r1tui.errors import R1tuiError
from r1tui.messages import VERSION
from r1tui.supervisor import client
from r1tui.supervisor.protocol import LONGEST_REQUEST_BYTES, VersionError, read_status
from r1tui.system.paths import Paths
from tests.supervisor_rig import idle_spec, until


@pytest.fixture
def supervisor(paths: Paths) -> Iterator[Paths]:
    client.start(idle_spec(paths), paths)
    until(lambda: client.status(paths).pid)
    yield paths
    client.stop(paths)


def exchange(paths: Paths, sent: bytes) -> list[dict[str, Any]]:
    """All replies to what is sent before the client closes its end."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(60)
        connection.connect(str(paths.supervisor_socket))
        received = b""
        try:
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
            while data := connection.recv(1 << 16):
                received += data
        except (BrokenPipeError, ConnectionResetError):
            pass  # it had read enough
    return [json.loads(line) for line in received.splitlines()]


def request(**fields: object) -> bytes:
    return json.dumps({"v": VERSION, **fields}).encode() + b"\n"


def test_several_requests_on_one_connection(supervisor: Paths) -> None:
    replies = exchange(
        supervisor,
        request(op="status")
        + request(op="answer_started", conversation_id="a")
        + request(op="answer_started", conversation_id="b")
        + request(op="answer_ended", conversation_id="a"),
    )
    assert [reply["ok"] for reply in replies] == [True] * 4
    assert [reply["v"] for reply in replies] == [VERSION] * 4
    assert replies[0]["status"]["state"] == "loading"
    assert [reply["status"]["answers"] for reply in replies][:3] == [[], ["a"], ["a", "b"]]
    until(lambda: client.status(supervisor).answers == ["b"])


def test_who_watches_hears_that_an_answer_begins_and_is_over(supervisor: Paths) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as watching:
        watching.settimeout(60)
        watching.connect(str(supervisor.supervisor_socket))
        watching.sendall(request(op="watch"))
        heard = watching.makefile()
        told = (json.loads(line)["status"]["answers"] for line in heard)
        assert next(told) == []
        exchange(supervisor, request(op="answer_started", conversation_id="a"))
        assert "a" in next(answers for answers in told if answers)
        exchange(supervisor, request(op="answer_ended", conversation_id="a"))
        assert next(answers for answers in told if not answers) == []


@pytest.mark.parametrize(
    ("sent", "cause"),
    [
        (b"hello\n", "Not a request"),
        (b"\xff\xfe\n", "Not a request"),
        (b"[1]\n", "Not a request"),
        (request(op="dance"), "Not a request"),
        (request(op="answer_started"), "needs a conversation_id"),
        (request(op="answer_started", conversation_id=""), "Not a request"),
        (request(op="answer_started", conversation_id="x" * 257), "Not a request"),
        (b"[" * 5000 + b"\n", "Not a request"),
        (b"{" + b" " * LONGEST_REQUEST_BYTES + b"}\n", "too long"),
        (b'{"op": "stop", "v": 1}\n', "protocol version 2, not 1"),
        (b'{"op": "stop"}\n', "protocol version 2, not 0"),
    ],
)
def test_what_is_no_request_is_answered_and_nothing_is_done(supervisor: Paths, sent: bytes, cause: str) -> None:
    (reply,) = exchange(supervisor, sent)
    assert reply["ok"] is False
    assert cause in reply["cause"]
    assert client.status(supervisor).state == "loading"


def test_another_version_is_told_what_to_do(supervisor: Paths) -> None:
    (reply,) = exchange(supervisor, b'{"op": "levitate", "v": 7}\n')
    assert "r1tui stop" in reply["remedy"]


def test_a_reply_of_another_version_is_an_error_of_its_own() -> None:
    with pytest.raises(VersionError, match="protocol 7"):
        read_status(b'{"v": 7, "anything": 1}')
    with pytest.raises(R1tuiError, match="cannot be read"):
        read_status(b"")


def test_no_bytes_bring_the_supervisor_down(supervisor: Paths) -> None:
    before = client.status(supervisor)

    @given(st.lists(st.binary(max_size=200) | st.text(max_size=50).map(str.encode), max_size=4).map(b"\n".join))
    def send(garbage: bytes) -> None:
        for reply in exchange(supervisor, garbage):
            assert reply["ok"] is False

    send()
    after = client.status(supervisor)
    assert (after.pid, after.supervisor_pid) == (before.pid, before.supervisor_pid)
    assert exchange(supervisor, request(op="status"))[0]["ok"]


def test_clients_that_leave_without_a_word_are_forgotten(supervisor: Paths) -> None:
    connections = []
    for _ in range(50):
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.connect(str(supervisor.supervisor_socket))
        connection.sendall(request(op="watch"))
        connections.append(connection)
    for connection in connections:
        connection.close()
    assert exchange(supervisor, request(op="status"))[0]["ok"]
