"""A model is deleted whole, after a question, only where it is r1tui's own and nobody uses it."""

import json
import os
import shutil
from pathlib import Path

import pytest

from r1tui.catalog.variants import Variant
from r1tui.config import Config
from r1tui.errors import R1tuiError
from r1tui.events import Notice, StageEvent
from r1tui.hub.download.model import download
from r1tui.hub.local.found import download_lock, find_model
from r1tui.hub.removal import find_removal, remove
from r1tui.system.locks import locked
from r1tui.system.paths import Paths
from tests.conftest import CommandLine, TinyModel
from tests.hub_server import Hub, Repository

REPO = "acme/Tiny-R1-GGUF"
SHARDS = {f"Q8_0/Tiny-R1-Q8_0-0000{number}-of-00002.gguf": b"GGUF" + bytes(1000 * number) for number in (1, 2)}
VARIANT = Variant("tiny", repo=REPO, pattern="*Q8_0*")
OTHER = Variant("other", repo=REPO, pattern="*Q4_0*")


@pytest.fixture
def hub(empty_hub: Hub) -> Hub:
    empty_hub.repositories[REPO] = Repository(SHARDS | {"Tiny-R1-Q4_0.gguf": b"GGUF single"})
    return empty_hub


def ignore(event: StageEvent) -> None:
    """Drop the event."""


def all_files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_a_variant_goes_and_another_of_the_same_repository_stays(hub: Hub, paths: Paths) -> None:
    download(VARIANT, paths, ignore)
    other = download(OTHER, paths, ignore)
    removal = find_removal(VARIANT, paths, Config())
    assert {path.name for path in removal.files} == {Path(path).name for path in SHARDS}
    assert removal.freed_bytes == sum(map(len, SHARDS.values()))
    remove(removal, paths, Config())
    assert find_model(VARIANT, paths, Config()) is None
    assert find_model(OTHER, paths, Config()) == other
    assert download(OTHER, paths, ignore, verify=True) == other
    remove(find_removal(OTHER, paths, Config()), paths, Config())
    assert all_files(paths.models) == set()
    assert not (paths.models / "acme").exists()


def test_unfinished_and_damaged_files_go_too(hub: Hub, paths: Paths) -> None:
    first, second = SHARDS
    coming, done = paths.models / ".incoming/acme--Tiny-R1-GGUF", paths.models / REPO
    for path in (coming / f"{first}.part", coming / f"{first}.journal", done / f"{second}.damaged", done / second):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    (coming / "Tiny-R1-Q4_0.gguf.part").write_bytes(b"x")
    remove(find_removal(VARIANT, paths, Config()), paths, Config())
    assert all_files(paths.models) == {".incoming/acme--Tiny-R1-GGUF/Tiny-R1-Q4_0.gguf.part"}


def test_another_programs_files_are_named_and_left(hub: Hub, paths: Paths, empty_home: Path) -> None:
    snapshot = empty_home / ".cache/huggingface/hub/models--acme--Tiny-R1-GGUF/snapshots/0"
    snapshot.mkdir(parents=True)
    (snapshot / "Tiny-R1-Q4_0.gguf").write_bytes(b"GGUF")
    with pytest.raises(R1tuiError, match=f"{snapshot}.* belongs to the Hugging Face cache"):
        find_removal(OTHER, paths, Config())
    with pytest.raises(R1tuiError, match="is a file of your own"):
        find_removal(Variant("mine", file=snapshot / "Tiny-R1-Q4_0.gguf"), paths, Config())
    with pytest.raises(R1tuiError, match="not on this machine"):
        find_removal(VARIANT, paths, Config())


def test_in_the_users_folders_only_what_r1tui_fetched_goes(
    hub: Hub, paths: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    big = tmp_path / "big"
    mine = big / REPO / "Tiny-R1-Q4_0.gguf"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"GGUF single")
    config = Config(model_folders=[str(big)])
    with pytest.raises(R1tuiError, match="belongs to your model_folders"):
        find_removal(OTHER, paths, config)
    usage = shutil.disk_usage("/")
    free = {True: usage._replace(free=10**12), False: usage._replace(free=1000)}
    monkeypatch.setattr(shutil, "disk_usage", lambda path: free[Path(path).is_relative_to(big)])
    said: list[str] = []
    first = download(VARIANT, paths, lambda event: said.append(event.text) if isinstance(event, Notice) else None,
                     config=config)  # fmt: skip
    assert first == big / REPO / next(iter(SHARDS))
    assert any(text.startswith(f"Downloading to {big}: {paths.models} has 1000 B free") for text in said)
    assert download(VARIANT, paths, ignore, config=config, verify=True) == first
    remove(find_removal(VARIANT, paths, config), paths, config)
    assert all_files(big) == {f"{REPO}/Tiny-R1-Q4_0.gguf"}
    assert big.is_dir()


def test_a_link_goes_and_what_it_points_to_stays(hub: Hub, paths: Paths, tmp_path: Path) -> None:
    (tmp_path / "elsewhere.gguf").write_bytes(b"GGUF single")
    link = paths.models / REPO / "Tiny-R1-Q4_0.gguf"
    link.parent.mkdir(parents=True)
    link.symlink_to(tmp_path / "elsewhere.gguf")
    removal = find_removal(OTHER, paths, Config())
    assert removal.freed_bytes == 0
    remove(removal, paths, Config())
    assert not link.is_symlink()
    assert (tmp_path / "elsewhere.gguf").exists()


def test_not_while_it_is_downloaded(hub: Hub, paths: Paths) -> None:
    download(OTHER, paths, ignore)
    removal = find_removal(OTHER, paths, Config())
    with locked(download_lock(OTHER, paths), "it"):
        with pytest.raises(R1tuiError, match=f"being downloaded .PID {os.getpid()}."):
            find_removal(OTHER, paths, Config())
        with pytest.raises(R1tuiError, match="in use"):
            remove(removal, paths, Config())
    assert find_model(OTHER, paths, Config()) is not None


def test_the_command_asks_first_and_says_what_it_freed(hub: Hub, paths: Paths) -> None:
    r1tui = CommandLine(paths)
    r1tui.configure(f"variants: {{tiny: {{repo: {REPO}, pattern: '*Q8_0*'}}}}\n")
    first = download(VARIANT, paths, ignore)
    refused = r1tui("delete", "tiny", stdin="n\n")
    assert refused.returncode == 130
    assert str(first) in refused.stderr
    assert "frees 2.9 KiB" in refused.stderr
    assert r1tui("delete", "tiny").returncode == 130
    assert first.exists()
    done = r1tui("delete", "tiny", "--yes", "--json")
    assert json.loads(done.stdout)["freed_bytes"] == sum(map(len, SHARDS.values()))
    assert not first.exists()
    again = r1tui("delete", "tiny", "--yes")
    assert again.returncode == 1
    assert "not on this machine" in again.stderr


def test_not_while_the_server_uses_it(r1tui: CommandLine, paths: Paths, tiny_r1: TinyModel) -> None:
    model = paths.models / REPO / "Tiny-R1-Q4_0.gguf"
    model.parent.mkdir(parents=True)
    shutil.copy(tiny_r1(), model)
    config = paths.config_file.read_text()
    r1tui.configure(f"{config}variants: {{mine: {{repo: {REPO}, pattern: '*Q4_0*'}}}}\n")
    assert r1tui("serve", "mine", "--detach").returncode == 0
    refused = r1tui("delete", "mine", "--yes")
    assert refused.returncode == 1
    assert "r1tui stop" in refused.stderr
    assert model.exists()
    assert r1tui("stop").returncode == 0
    assert r1tui("delete", "mine", "--yes").returncode == 0
    assert not model.exists()
