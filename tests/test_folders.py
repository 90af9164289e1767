"""A model goes where there is room and reading is quick, only to places that the user named, and it is said."""

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from r1tui.config import Config
from r1tui.errors import R1tuiError
from r1tui.hub.local import folders
from r1tui.hub.local.folders import (
    RESERVE_BYTES,
    ModelDisk,
    NoRoomError,
    choose_folder,
    inspect_disk,
    is_network,
    read_rate,
)
from r1tui.system.paths import Paths

GB = 10**9
MODEL = 131 * GB
Disks = Callable[..., Config]


def disk(*, free_gb: int = 1000, writable: bool = True, network: bool = False, rate: float | None = None) -> ModelDisk:
    return ModelDisk(Path(), free_gb * GB, writable, network, rate)


@pytest.fixture
def given(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> Disks:
    """`given(default, other, …)`: what the disks of the default folder and of `model_folders` are like."""
    monkeypatch.setattr(psutil, "disk_partitions", lambda all: [])  # noqa: A006  psutil's name

    def make(*given: ModelDisk) -> Config:
        roots = [paths.models, *(Path(f"/disk{number}") for number in range(1, len(given)))]
        known = {root: replace(one, folder=root) for root, one in zip(roots, given, strict=True)}
        monkeypatch.setattr(folders, "inspect_disk", lambda root, _paths: known[root])
        return Config(model_folders=[str(root) for root in roots[1:]])

    return make


def chosen(paths: Paths, config: Config, have: dict[str, int] | None = None) -> tuple[str, str]:
    root, reason = choose_folder("r1", MODEL, paths, config, lambda root: (have or {}).get(root.name, 0))
    return root.name, reason


def test_the_default_is_taken_where_nothing_speaks_against_it(paths: Paths, given: Disks) -> None:
    assert chosen(paths, given(disk())) == ("models", "")
    assert chosen(paths, given(disk(), disk(rate=5e9))) == ("models", "")
    assert chosen(paths, given(disk(rate=1e9), disk(rate=5e9))) == ("models", "")
    assert chosen(paths, given(disk(network=True, rate=2e9), disk())) == ("models", "")  # a quick one


def test_one_with_room_is_taken_and_said(paths: Paths, given: Disks) -> None:
    name, reason = chosen(paths, given(disk(free_gb=50), disk(free_gb=9), disk(), disk(rate=3e9)))
    assert name == "disk3"
    assert "has 46.6 GiB free of the 122.0 GiB needed" in reason
    assert chosen(paths, given(disk(free_gb=50), disk(network=True, rate=3e9), disk(rate=1e8)))[0] == "disk2"


def test_a_quicker_one_is_taken_where_the_default_is_slow_and_said(paths: Paths, given: Disks) -> None:
    assert chosen(paths, given(disk(rate=8e7), disk(rate=3e9))) == (
        "disk1", f"Downloading to /disk1 (3,000 MB/s): {paths.models} is read at 80 MB/s.",
    )  # fmt: skip
    name, reason = chosen(paths, given(disk(network=True), disk()))
    assert name == "disk1"
    assert "is on a network volume" in reason
    assert chosen(paths, given(disk(rate=8e7), disk(rate=9e7)))[0] == "models"
    assert chosen(paths, given(disk(rate=8e7), disk()))[0] == "models"  # nothing is known of the other


def test_a_slow_default_without_a_better_one_is_said(paths: Paths, given: Disks) -> None:
    name, reason = chosen(paths, given(disk(network=True)))
    assert name == "models"
    assert "model_folders" in reason


def test_what_is_begun_goes_on_where_it_is(paths: Paths, given: Disks) -> None:
    config = given(disk(), disk(free_gb=60))
    assert chosen(paths, config, {"disk1": 100 * GB}) == ("disk1", "Continuing in /disk1, where part of it already is.")
    assert chosen(paths, config, {"disk1": 10 * GB})[0] == "models"  # the rest has no room there
    assert chosen(paths, config, {"models": 1, "disk1": 100 * GB})[0] == "disk1"


def test_no_room_anywhere_is_refused_with_the_numbers(paths: Paths, given: Disks) -> None:
    config = given(disk(free_gb=50), disk(free_gb=9), disk(writable=False))
    with pytest.raises(R1tuiError) as caught:
        choose_folder("r1", MODEL, paths, config, lambda root: 31 * GB if root == paths.models else 0)
    assert caught.value.cause == (
        f"r1 needs 93.1 GiB more; {paths.models} has 46.6 GiB free, /disk1 has 8.4 GiB free, "
        "/disk2 does not exist or is not writable."
    )
    assert "Free 46.8 GiB, or name a folder on a larger disk in the config's `model_folders`." in caught.value.remedy
    assert isinstance(caught.value, NoRoomError)
    assert caught.value.lacking_bytes == 50 * GB + RESERVE_BYTES


def test_what_is_left_free_beside_a_model_is_said_where_it_decides(paths: Paths, given: Disks) -> None:
    with pytest.raises(NoRoomError, match=r"needs 122\.0 GiB and 256\.0 MiB beside it; .* has 122\.0 GiB free"):
        choose_folder("r1", MODEL, paths, given(disk(free_gb=131)))


def test_a_local_disk_of_the_users_is_suggested_and_not_touched(
    paths: Paths, given: Disks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = given(disk(free_gb=50))
    mount = tmp_path / "mnt"
    (mount / "mine").mkdir(parents=True)
    partition = SimpleNamespace(mountpoint=str(mount), fstype="ext4")
    monkeypatch.setattr(psutil, "disk_partitions", lambda all: [partition])  # noqa: A006
    monkeypatch.setattr(folders, "_NOT_FOR_MODELS", ("/proc",))
    monkeypatch.setattr(folders, "nearest_folder", lambda folder: Path("/proc"))  # on another disk
    usage = shutil.disk_usage("/")._replace(free=500 * GB)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: path != mount and access(path, mode))
    with pytest.raises(R1tuiError) as caught:
        choose_folder("r1", MODEL, paths, config)
    assert caught.value.remedies[0].words() == (
        f"Make {mount}/mine/models (465.7 GiB free), and name it in the config's `model_folders`."
    )
    assert caught.value.cause == f"r1 needs 122.0 GiB; {paths.models} has 46.6 GiB free."
    assert list(mount.rglob("*")) == [mount / "mine"]


def test_a_folder_of_the_users_that_is_not_there_is_not_made(paths: Paths, tmp_path: Path) -> None:
    """Its disk may not be mounted now."""
    assert inspect_disk(paths.models, paths).writable
    assert not inspect_disk(tmp_path / "gone", paths).writable
    (tmp_path / "gone").mkdir()
    assert inspect_disk(tmp_path / "gone", paths).writable


def test_a_network_volume_is_known_by_its_mount(monkeypatch: pytest.MonkeyPatch) -> None:
    mounts = {"/": "ext4", "/data": "nfs4", "/data/fast": "xfs", "/far away": "fuse.sshfs"}
    there = [SimpleNamespace(mountpoint=place, fstype=kind) for place, kind in mounts.items()]
    monkeypatch.setattr(psutil, "disk_partitions", lambda all: there)  # noqa: A006  psutil's name
    assert is_network(Path("/data/models"))
    assert is_network(Path("/far away/models"))
    assert not is_network(Path("/data/fast/models"))
    assert not is_network(Path("/home/me"))


def test_a_disk_is_measured_once_by_its_largest_model(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[str] = []

    def rate(path: Path, seconds: float) -> float | None:
        measured.append(path.name)
        return 2.5 if path.name == "large.gguf" else None

    monkeypatch.setattr(folders, "disk_rate", rate)
    assert read_rate(paths.models, paths) is None
    paths.models.mkdir(parents=True)
    (paths.models / "small.gguf").write_bytes(b"1")
    assert read_rate(paths.models, paths) is None  # too small to tell; it is tried again next time
    (paths.models / "large.gguf").write_bytes(b"22")
    assert [read_rate(paths.models, paths) for _ in range(2)] == [2.5e9, 2.5e9]
    assert measured == ["small.gguf", "large.gguf"]
