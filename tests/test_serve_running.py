"""`r1tui serve` where a server runs already: what cannot be changed is said, and no wish is dropped in silence."""

import pytest

from r1tui.server.command import parse_tcp, with_free_port
from r1tui.supervisor import client
from r1tui.system.paths import Paths
from tests.conftest import CommandLine, TinyModel


def test_a_port_that_a_running_server_lacks_is_refused_with_the_commands_that_give_it(
    r1tui: CommandLine, paths: Paths, tiny_r1: TinyModel
) -> None:
    model = str(tiny_r1())
    assert r1tui("serve", "--model", model, "--detach").returncode == 0
    before = client.status(paths)
    port = str(with_free_port(parse_tcp("127.0.0.1:0")))
    for command in (("--detach",), ()):
        ran = r1tui("serve", "--model", model, *command, "--tcp", port)
        assert (ran.returncode, ran.stdout) == (1, "")
        assert "has no port" in ran.stderr
        assert f"r1tui serve --model {model} --detach --tcp {port}" in ran.stderr
    assert client.status(paths).pid == before.pid
    assert r1tui("stop").returncode == 0
    assert r1tui("serve", "--model", model, "--detach", "--tcp", port).returncode == 0
    for wanted, status in ((port, 0), ("127.0.0.1:0", 0), ("127.0.0.1:1", 1), ("[::1]:0", 1)):
        ran = r1tui("serve", "--model", model, "--detach", "--tcp", wanted)
        assert ran.returncode == status
        assert status == 0 or f"listens on {port}" in ran.stderr


@pytest.mark.parametrize("as_json", [False, True])
def test_a_port_that_only_the_config_names_is_told_and_settings_are_said_to_stay(
    r1tui: CommandLine, paths: Paths, tiny_r1: TinyModel, as_json: bool
) -> None:
    model, more = tiny_r1(), ("--json",) if as_json else ()
    assert r1tui("serve", "--model", model, "--detach").returncode == 0
    text = paths.config_file.read_text().replace("threads: 1", "threads: 1, tcp: '127.0.0.1:4711'")
    r1tui.configure(text)
    ran = r1tui("serve", "--model", model, "--detach", *more)
    assert ran.returncode == 0
    assert "The config says 127.0.0.1:4711" in ran.stderr
    assert "keeps its settings" in ran.stderr
    assert len(ran.stdout.splitlines()) == 1
