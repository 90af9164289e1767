"""A model arrives byte for byte, whatever the hub, the network and the disk do meanwhile."""

import errno
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from r1tui.catalog.variants import Variant
from r1tui.config import Config
from r1tui.errors import CancelledError, R1tuiError
from r1tui.events import FilesProgress, Notice, StageEvent
from r1tui.hub.download import fetch as fetching
from r1tui.hub.download import part as parts
from r1tui.hub.download import transfer
from r1tui.hub.download.model import download
from r1tui.hub.download.staging import discard, staging_folder, unfinished
from r1tui.hub.download.transfer import Manners
from r1tui.hub.local.found import find_model
from r1tui.system.paths import Paths
from tests.conftest import tiny_files
from tests.hub_server import REPO, Faults, Hub

VARIANT = Variant("tiny", "Tiny", repo=REPO, pattern="*Q8_0*")
QUICK = Manners(connections=3, backoff_s=0.01, disk_poll_s=0.01)
IMPATIENT = Manners(connections=3, stall_s=0.5, backoff_s=0.01)
TOKEN = "hf_aSecretThatNobodyMaySee"  # noqa: S105
NOW = {"Retry-After": "0"}


@pytest.fixture(autouse=True)
def _small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tiny model comes in many ranges and is made safe many times, as a large one is."""
    monkeypatch.setattr(parts, "SMALLEST_PIECE_BYTES", 500_000)
    monkeypatch.setattr(transfer, "CHUNK_BYTES", 50_000)
    monkeypatch.setattr(parts, "SAVE_BYTES", 300_000)
    monkeypatch.setattr(fetching, "INTERVAL_S", 0.02)


class Told(list[StageEvent]):
    """The events of a download."""

    @property
    def notices(self) -> str:
        return "\n".join(event.text for event in self if isinstance(event, Notice))

    @property
    def last(self) -> FilesProgress:
        return [event for event in self if isinstance(event, FilesProgress)][-1]


def fetch(paths: Paths, on_event: Callable[[StageEvent], object] = id, manners: Manners = QUICK) -> Told:
    """Download the model; every event is also given to `on_event`."""
    told = Told()

    def emit(event: StageEvent) -> None:
        told.append(event)
        on_event(event)

    download(VARIANT, paths, emit, manners=manners)
    return told


def model_files(files: dict[str, Any]) -> dict[str, bytes]:
    return {path: data for path, data in files.items() if path.startswith("Q8_0/")}


def assert_arrived(files: dict[str, Any], paths: Paths) -> None:
    """The model is in its place byte for byte, and nothing else is left."""
    folder = paths.models / REPO
    assert {path: (folder / path).read_bytes() for path in model_files(files)} == model_files(files)
    assert find_model(VARIANT, paths, Config()) is not None
    assert not staging_folder(VARIANT, paths.models).exists()
    assert unfinished(VARIANT, paths, Config()) is None


@pytest.mark.parametrize(
    ("faults", "said"),
    [
        (Faults(), ""),
        (Faults(redirect=True), ""),
        (Faults(drop_after_bytes=300_000), "the connection was lost"),
        (Faults(stall_after_bytes=30_000, stalls=2), "no data for"),
        (Faults(refusals=[(429, NOW)] * 3), "too many requests (429)"),
        (Faults(refusals=[(500, {}), (503, NOW), (502, {})]), "the server answered 50"),
        (Faults(redirect=True, expires_after=2), "the signed address has expired (403)"),
        (Faults(redirect=True, expires_after=1), "the signed address has expired (403)"),
        (Faults(redirect=True, refusals=[(403, {})]), "the server answered 403"),
        (Faults(ignore_range=True), ""),
        (Faults(ignore_range=True, stall_after_bytes=30_000, stalls=2), ""),
        (Faults(wrong=1), "arrived damaged (its sha256 differs)"),
        (Faults(wrong=1, ignore_range=True), ""),
        (Faults(bytes_per_s=2e7), ""),
    ],
    ids=lambda value: value.named() if isinstance(value, Faults) else "",
)
def test_it_arrives_whatever_happens(
    hub: Hub, paths: Paths, monkeypatch: pytest.MonkeyPatch, faults: Faults, said: str
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    hub.faults = faults
    told = fetch(paths, manners=IMPATIENT if faults.stalls else QUICK)
    assert_arrived(hub.repositories[REPO].files, paths)
    assert said in told.notices
    assert {file.state for file in told.last.files} == {"done"}
    assert hub.authorised == {"hub"}, "the token is for nobody else"


def test_a_file_comes_in_ranges_over_several_connections(hub: Hub, paths: Paths) -> None:
    hub.go_on = Event()
    several = Thread(target=lambda: _when(lambda: len(hub.fetched()) >= QUICK.connections, hub.go_on))
    several.start()
    fetch(paths)
    several.join()
    first = min(model_files(hub.repositories[REPO].files))
    assert hub.fetched().count(Path(first).name) > 1
    assert hub.asked[first] == len(hub.repositories[REPO].files[first]), "no byte came twice"


def _when(fact: Callable[[], bool], event: Event | None) -> None:
    """Set the event once the fact is true."""
    while not fact():
        Event().wait(0.005)
    assert event is not None
    event.set()


def test_a_signed_address_is_used_until_it_expires(hub: Hub, paths: Paths) -> None:
    hub.faults = Faults(redirect=True)
    fetch(paths, manners=Manners(connections=1, backoff_s=0.01))
    assert len(hub.fetched()) == len(model_files(hub.repositories[REPO].files))
    assert max(hub.signatures.values()) > 1


@pytest.mark.parametrize(
    ("faults", "said"),
    [
        (Faults(redirect=True, expires_after=0), r"answered 403 \(6 attempts\)"),
        (Faults(refusals=[(403, {})]), "denied access to"),
        (Faults(refusals=[(401, {"X-Error-Code": "GatedRepo"})]), "gated"),
        (Faults(wrong=1000), "damaged 3 times"),
    ],
)
def test_a_definite_refusal_ends_it_with_a_reason(hub: Hub, paths: Paths, faults: Faults, said: str) -> None:
    hub.faults = faults
    with pytest.raises(R1tuiError, match=said):
        fetch(paths)
    assert find_model(VARIANT, paths, Config()) is None
    hub.faults = Faults()
    fetch(paths)
    assert_arrived(hub.repositories[REPO].files, paths)


def test_an_upload_half_way_changes_nothing(hub: Hub, paths: Paths) -> None:
    old = hub.repositories[REPO].files
    interrupt(hub, paths)
    hub.repositories[REPO].upload(tiny_files("Something else."), keep=True)
    fetch(paths)
    assert_arrived(old, paths)


def test_of_a_revision_that_is_gone_no_byte_is_used(hub: Hub, paths: Paths) -> None:
    interrupt(hub, paths)
    new = tiny_files("Something else.")
    hub.repositories[REPO].upload(new, keep=False)
    told = fetch(paths)
    assert "The files on the hub have changed" in told.notices
    assert_arrived(new, paths)


def test_what_came_of_files_that_are_gone_is_deleted(hub: Hub, paths: Paths) -> None:
    interrupt(hub, paths)
    renamed = {path.replace("Tiny-R1-Q8", "Tiny-R1-New-Q8"): data for path, data in tiny_files("Renamed.").items()}
    hub.repositories[REPO].upload(renamed, keep=False)
    fetch(paths)
    assert not staging_folder(VARIANT, paths.models).exists()


def test_stopping_does_not_wait_for_a_check(hub: Hub, paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    def endless(path: Path, progress: Callable[[int], None]) -> str:
        while True:
            progress(1)

    def stop(event: StageEvent) -> None:
        if isinstance(event, FilesProgress) and event.files[0].state == "checking" and not stopped.is_set():
            stopped.set()
            os.kill(os.getpid(), signal.SIGTERM)

    stopped = Event()
    monkeypatch.setattr("r1tui.hub.download.fetch.sha256_with_progress", endless)
    with pytest.raises(CancelledError):
        fetch(paths, stop)
    assert unfinished(VARIANT, paths, Config()) is not None


def interrupt(hub: Hub, paths: Paths) -> None:
    """Begin the download, and stop it by a signal when a shard is in its place and some of the other has come."""
    stopped = Event()
    hub.go_on = Event()
    hub.held = max(model_files(hub.repositories[REPO].files))

    def stop(event: StageEvent) -> None:
        half_way = isinstance(event, FilesProgress) and event.files[0].state == "done" and event.files[1].done
        if half_way and not stopped.is_set():
            stopped.set()
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(CancelledError):
        fetch(paths, stop, Manners(connections=1))
    hub.go_on.set()
    hub.go_on = None
    assert find_model(VARIANT, paths, Config()) is None


def test_what_came_is_not_fetched_again(hub: Hub, paths: Paths) -> None:
    interrupt(hub, paths)
    here, total = unfinished(VARIANT, paths, Config()) or (0, 0)
    assert 0 < here < total
    hub.asked.clear()
    told = fetch(paths)
    assert_arrived(hub.repositories[REPO].files, paths)
    assert sum(hub.asked.values()) == total - here
    assert "already here" in told.notices


def test_going_on_needs_no_list_from_the_hub(hub: Hub, paths: Paths) -> None:
    interrupt(hub, paths)
    hub.requests.clear()
    fetch(paths)
    assert not any("/api/" in line for line in hub.requests)


def test_a_journal_that_cannot_be_right_is_not_believed(hub: Hub, paths: Paths) -> None:
    interrupt(hub, paths)
    staging = staging_folder(VARIANT, paths.models)
    for path in staging.rglob("*.part"):
        os.truncate(path, path.stat().st_size - 1)
    for path in staging.rglob("*.journal"):
        path.write_bytes(path.read_bytes()[:-3])
    fetch(paths)
    assert_arrived(hub.repositories[REPO].files, paths)


def test_what_came_can_be_thrown_away(hub: Hub, paths: Paths) -> None:
    interrupt(hub, paths)
    assert discard(VARIANT, paths, Config()) > 0
    assert unfinished(VARIANT, paths, Config()) is None
    assert not staging_folder(VARIANT, paths.models).exists()
    assert discard(VARIANT, paths, Config()) == 0


def test_a_full_disk_is_waited_for(hub: Hub, paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    real_write, real_usage, full = os.pwritev, shutil.disk_usage, Event()

    def write(fd: int, chunks: list[bytes], offset: int) -> int:
        if len(chunks) and offset > 1_000_000 and not full.is_set():
            full.set()
        if full.is_set() and not freed.is_set():
            raise OSError(errno.ENOSPC, "No space left on device")
        return real_write(fd, chunks, offset)

    freed = Event()
    monkeypatch.setattr(os, "pwritev", write)
    monkeypatch.setattr(
        shutil,
        "disk_usage",
        lambda path: real_usage(path)._replace(free=0) if full.is_set() and not freed.is_set() else real_usage(path),
    )
    told = fetch(paths, lambda event: freed.set() if isinstance(event, FilesProgress) and event.paused else None)
    assert "is full" in told.notices
    assert "The disk has free space again. Continuing." in told.notices
    assert_arrived(hub.repositories[REPO].files, paths)


def test_a_changed_file_is_noticed_without_reading_the_others(hub: Hub, paths: Paths) -> None:
    fetch(paths)
    path = paths.models / REPO / min(model_files(hub.repositories[REPO].files))
    right = path.read_bytes()
    path.write_bytes(right[:-1] + b"?")
    hub.requests.clear()
    told = fetch(paths)
    assert "was damaged" in told.notices
    assert path.read_bytes() == right
    assert set(hub.fetched()) == {path.name}


def test_a_touched_file_is_read_once_and_kept(hub: Hub, paths: Paths) -> None:
    fetch(paths)
    path = paths.models / REPO / min(model_files(hub.repositories[REPO].files))
    os.utime(path)
    hub.requests.clear()
    fetch(paths)
    fetch(paths)
    assert hub.requests == []


def put_folder(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.mkdir(parents=True)


def put_pipe(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(path)


def put_endless(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to("/dev/zero")


ODD = {"a folder": put_folder, "a pipe": put_pipe, "an endless file": put_endless}


@pytest.mark.parametrize("put", [*ODD.values(), Path.unlink], ids=[*ODD, "nothing"])
def test_what_is_put_in_the_place_of_a_part_ends_it_with_words_and_is_cleared(
    hub: Hub, paths: Paths, put: Callable[[Path], None]
) -> None:
    def on_event(event: StageEvent) -> None:
        for part in staging_folder(VARIANT, paths.models).glob("*/*00001*.part"):
            if isinstance(event, FilesProgress) and part.is_file() and not part.is_symlink():
                put(part)
                hub.go_on.set() if hub.go_on else None

    hub.go_on = Event()
    with pytest.raises(R1tuiError, match="was removed or replaced during the download") as caught:
        fetch(paths, on_event)
    assert "r1tui download tiny" in (caught.value.remedy or "")
    fetch(paths)
    assert_arrived(hub.repositories[REPO].files, paths)


@pytest.mark.parametrize("put", ODD.values(), ids=ODD)
@pytest.mark.parametrize("is_part", [True, False])
def test_what_lies_in_a_file_s_way_is_cleared(
    hub: Hub, paths: Paths, put: Callable[[Path], None], *, is_part: bool
) -> None:
    name = next(iter(model_files(hub.repositories[REPO].files)))
    if is_part:
        put(staging_folder(VARIANT, paths.models) / f"{name}.part")
    elif put is not put_endless:  # a link there is a file elsewhere
        put(paths.models / REPO / name)
    fetch(paths)
    assert_arrived(hub.repositories[REPO].files, paths)


def test_a_part_that_somebody_made_longer_is_fetched_again(hub: Hub, paths: Paths) -> None:
    grown: list[Path] = []

    def on_event(event: StageEvent) -> None:
        for part in staging_folder(VARIANT, paths.models).glob("*/*00001*.part"):
            if not grown and isinstance(event, FilesProgress):
                os.truncate(part, part.stat().st_size + 100)
                grown.append(part)
                hub.go_on.set() if hub.go_on else None

    hub.go_on = Event()
    assert "arrived damaged" in fetch(paths, on_event).notices
    assert_arrived(hub.repositories[REPO].files, paths)


def test_the_next_download_knows_how_long_it_takes(hub: Hub, paths: Paths) -> None:
    paths.download_rate.parent.mkdir(parents=True)
    paths.download_rate.write_text('{"bytes_per_s": 1048576}')
    assert "at the last speed, 1.0 MiB/s" in fetch(paths).notices


@pytest.mark.parametrize("right", [True, False])
def test_a_shard_that_somebody_put_there_is_checked(hub: Hub, paths: Paths, right: bool) -> None:
    path, data = min(model_files(hub.repositories[REPO].files).items())
    place = paths.models / REPO / path
    place.parent.mkdir(parents=True)
    place.write_bytes(data if right else bytes(len(data)))
    fetch(paths)
    assert_arrived(hub.repositories[REPO].files, paths)
    assert (place.name in hub.fetched()) is not right


def test_a_link_to_a_shard_elsewhere_is_left_alone(hub: Hub, paths: Paths, tmp_path: Path) -> None:
    path, data = min(model_files(hub.repositories[REPO].files).items())
    elsewhere = tmp_path / "mine.gguf"
    elsewhere.write_bytes(data)
    place = paths.models / REPO / path
    place.parent.mkdir(parents=True)
    place.symlink_to(elsewhere)
    fetch(paths)
    assert_arrived(hub.repositories[REPO].files, paths)
    assert place.is_symlink()
    assert place.name not in hub.fetched()
