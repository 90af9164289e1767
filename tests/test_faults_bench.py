"""The table of faults: its parts exist, a fault that is made is seen, and one that is not right is called wrong."""

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from tests.bench import faults
from tests.bench.faults_inside import KEEPER_PLACES, keeper_task
from tests.bench.faults_rig import Home, NotTriedError, home
from tests.conftest import TinyModel

ROWS = list(faults.rows(1, long=True))


@pytest.fixture
def here(llama_server: Path, tiny_r1: TinyModel, monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    monkeypatch.setenv("R1TUI_HOME", "")  # put back what `home` sets
    with home(llama_server, tiny_r1(), tiny_r1()) as home_here:
        yield home_here


def test_every_row_has_a_name_of_its_own_and_some_are_quick() -> None:
    names = [row.name for row in ROWS]
    assert len(names) == len(set(names))
    assert 5 <= sum(row.quick for row in ROWS) <= 20


@pytest.mark.parametrize("place", KEEPER_PLACES)
def test_the_places_that_get_an_exception_exist(place: str) -> None:
    module, _, name = place.partition(":")
    found = import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    assert callable(found)


def test_an_exception_in_the_supervisor_s_health_check_is_seen(here: Home) -> None:
    assert "unexpected error" in keeper_task(here, "r1tui.supervisor.lifecycle:follow_health")


def test_a_row_that_is_not_right_is_called_wrong(
    llama_server: Path, tiny_r1: TinyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("R1TUI_HOME", "")

    def seen(fault: object) -> tuple[str, str]:
        assert callable(fault)
        return faults._try(faults.Row("a fault", fault), llama_server, tiny_r1(), tiny_r1(), left_s=100.0)

    def wrong(here: Home) -> str:
        raise AssertionError("two servers")

    def impossible(here: Home) -> str:
        raise NotTriedError("no right to mount")

    def leaves_a_server(here: Home) -> str:
        here.ready()
        here.paths.state_file.parent.chmod(0o700)
        return "fine"

    def has_no_cause(here: Home) -> str:
        here.command("no-such-command", ok=True)
        return "fine"

    assert seen(wrong) == ("two servers", "WRONG")
    assert seen(impossible) == ("not tried: no right to mount", "–")
    assert seen(leaves_a_server) == ("fine", "right")
    assert seen(has_no_cause)[1] == "WRONG"
