"""Disks without locks or Unix sockets: which folder it is and what to set, from every command and on the screen."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from r1tui.catalog.variants import Variant
from r1tui.config import Config
from r1tui.errors import LOCAL_DISK, R1tuiError, os_error
from r1tui.supervisor import client
from r1tui.system.locks import holder, locked
from r1tui.system.paths import Paths, private_folder
from r1tui.tui.app import R1App
from tests.conftest import CommandLine, TinyModel
from tests.hub_server import REPO, Hub
from tests.odd_disks import without_locks, without_sockets
from tests.supervisor_rig import spec_for
from tests.test_variables import seen
from tests.tui_rig import config, opened

__all__ = ["config"]

NO_LOCKS = [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.EIO]
NO_SOCKETS = [errno.EPERM, errno.EOPNOTSUPP, errno.EACCES, errno.ENOSYS, errno.EINVAL]


def name(number: int) -> str:
    return errno.errorcode[number]


@pytest.mark.parametrize("number", NO_LOCKS, ids=name)
def test_the_folder_without_locks_is_named(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "home" / "x.lock"
    without_locks(monkeypatch, tmp_path, number)
    with pytest.raises(OSError, match="no working file locks") as caught, locked(path, "It"):
        pass
    told = os_error(caught.value)
    assert told.cause.startswith(f"{path.parent}: ")
    assert os.strerror(number) in told.cause
    assert told.remedy == LOCAL_DISK
    with pytest.raises(OSError, match="no working file locks"):
        holder(path)


@pytest.mark.parametrize(
    ("number", "command"),
    [(errno.EMFILE, "ulimit -n"), (errno.EAGAIN, "ulimit -u"), (errno.EFBIG, "ulimit -f"), (errno.EIO, "dmesg")],
)
def test_a_limit_that_is_hit_is_not_called_a_place_that_cannot_be_written(number: int, command: str) -> None:
    told = os_error(OSError(number, os.strerror(number), "/somewhere"))
    assert os.strerror(number) in told.cause
    assert command in told.remedy


@pytest.mark.parametrize(
    "line",
    [["serve", "--model", "MODEL"], ["chat", "--model", "MODEL", "Hi"], ["download", f"hf:{REPO}:Q8_0"]],
    ids=lambda line: line[0],
)
def test_a_command_on_a_disk_without_locks(
    r1tui: CommandLine,
    hub: Hub,
    tiny_r1: TinyModel,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    line: list[str],
) -> None:
    words = [str(tiny_r1()) if word == "MODEL" else word for word in line]
    with monkeypatch.context() as patched:
        without_locks(patched, tmp_path, errno.ENOLCK)
        said = r1tui(*words)
        stopped = r1tui("stop")
    told = said.stdout + said.stderr
    assert str(r1tui.paths.run.parent) in told
    assert "no working file locks" in told
    assert "R1TUI_HOME" in told
    assert "Traceback" not in told
    assert "unexpected" not in told
    assert said.returncode == 1
    assert stopped.returncode == 0, stopped.stderr


def test_a_server_is_stopped_where_locks_have_ceased_to_work(
    paths: Paths, llama_server: Path, tiny_r1: TinyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.start(spec_for(llama_server, tiny_r1(), paths), paths)
    without_locks(monkeypatch, tmp_path, errno.ENOLCK)
    assert "no working file locks" in (client.status(paths).cause or "")
    client.stop(paths)
    monkeypatch.undo()
    assert client.status(paths).pid is None


@pytest.mark.parametrize("number", NO_SOCKETS, ids=name)
def test_a_supervisor_without_sockets_tells_who_started_it(
    paths: Paths,
    llama_server: Path,
    tiny_r1: TinyModel,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    number: int,
) -> None:
    without_sockets(monkeypatch, tmp_path, number)
    with pytest.raises(R1tuiError) as caught:
        client.start(spec_for(llama_server, tiny_r1(), paths), paths)
    assert caught.value.cause == f"No Unix socket can be made in {paths.run}: {os.strerror(number)}."
    assert caught.value.remedy == LOCAL_DISK
    assert not client.status(paths).running


@pytest.mark.parametrize("line", [["serve"], ["serve", "--detach"], ["chat", "Hi"]], ids=" ".join)
def test_a_command_on_a_disk_without_sockets(
    line: list[str], r1tui: CommandLine, tiny_r1: TinyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        without_sockets(patched, tmp_path, errno.EPERM)
        said = r1tui(line[0], "--model", tiny_r1(), *line[1:])
    assert said.returncode == 1
    assert f"No Unix socket can be made in {r1tui.paths.run}: " in said.stderr
    assert LOCAL_DISK in said.stderr
    assert "Traceback" not in said.stderr


@pytest.mark.parametrize("break_disk", [without_locks, without_sockets])
async def test_the_screen_says_it(
    paths: Paths,
    config: Config,
    tiny_r1: TinyModel,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    break_disk: Callable[[pytest.MonkeyPatch, Path, int], None],
) -> None:
    variant = Variant("tiny", "Tiny", file=tiny_r1())
    app = R1App(paths, config, variant=variant, insists=True)
    with monkeypatch.context() as patched:
        break_disk(patched, tmp_path, errno.ENOSYS)
        async with opened(app, (120, 40)) as pilot:
            await seen(app, pilot, "R1TUI_HOME")


def test_a_folder_that_cannot_be_closed_to_others_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "run"
    folder.mkdir(0o755)

    def chmod(self: Path, mode: int) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), str(self))

    monkeypatch.setattr(Path, "chmod", chmod)
    with pytest.raises(R1tuiError, match="does not support permissions") as caught:
        private_folder(folder)
    assert str(folder) in caught.value.cause
