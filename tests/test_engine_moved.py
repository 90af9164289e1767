"""A cache that was copied, moved or mounted elsewhere: the build in it is used, and never the one in the old place."""

import json
import shutil
from pathlib import Path

import pytest

from r1tui.config import EngineSettings
from r1tui.engine.find import RECORD, find_engine
from r1tui.engine.make import build_engine
from r1tui.events import Progress, StageEvent
from r1tui.system.paths import Paths
from tests.engine_toys import fetched_release

CPU = EngineSettings(backend="cpu", ref="b1", jobs=1)


def built(paths: Paths) -> Path:
    """The server of a small build."""
    fetched_release(paths)
    return build_engine(CPU, paths, print).server


def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Paths:
    """The folders of another home."""
    monkeypatch.setenv("R1TUI_HOME", str(tmp_path / "another place/home"))
    return Paths.from_environment()


def as_before(paths: Paths, server: Path) -> None:
    """Make the record the one that an older r1tui wrote: with the whole path."""
    (record,) = paths.engines.glob(f"*/{RECORD}")
    record.write_text(json.dumps(json.loads(record.read_text()) | {"server": str(server)}))


@pytest.mark.parametrize("old_record", [False, True])
@pytest.mark.parametrize("copied", [False, True])
def test_a_moved_cache_works(
    paths: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, copied: bool, old_record: bool
) -> None:
    server = built(paths)
    if old_record:
        as_before(paths, server)
    moved = elsewhere(tmp_path, monkeypatch)
    moved.cache.parent.mkdir(parents=True)
    if copied:
        shutil.copytree(paths.cache, moved.cache, symlinks=True)
    else:
        paths.cache.rename(moved.cache)
    found = find_engine(CPU, moved)
    assert found is not None
    assert found.server == moved.cache / server.relative_to(paths.cache)
    events: list[StageEvent] = []
    assert build_engine(CPU, moved, events.append).server == found.server
    assert not any(isinstance(event, Progress) for event in events), "nothing was built"


@pytest.mark.parametrize("old_record", [False, True])
def test_a_copy_without_its_server_does_not_use_the_old_one(
    paths: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old_record: bool
) -> None:
    server = built(paths)
    if old_record:
        as_before(paths, server)
    moved = elsewhere(tmp_path, monkeypatch)
    shutil.copytree(paths.cache, moved.cache, symlinks=True)
    copy = moved.cache / server.relative_to(paths.cache)
    copy.unlink()
    assert find_engine(CPU, moved) is None
    assert build_engine(CPU, moved, print).server == copy
    assert copy.is_file()


def test_a_server_of_the_users_stays_where_it_is(paths: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = shutil.copy(built(paths), tmp_path / "llama-server")
    settings = EngineSettings(source=str(own))
    assert build_engine(settings, paths, print).server == Path(own)
    moved = elsewhere(tmp_path, monkeypatch)
    shutil.copytree(paths.cache, moved.cache, symlinks=True)
    found = find_engine(settings, moved)
    assert found is not None
    assert found.server == Path(own)
