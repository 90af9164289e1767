"""Whatever a hub, a mirror or a network in between answers, asking ends: with the model, or soon and with the cause."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from r1tui.catalog.variants import Variant
from r1tui.config import Config
from r1tui.errors import R1tuiError
from r1tui.events import FilesProgress, Notice, StageEvent
from r1tui.hub.download import part, transfer
from r1tui.hub.download.headers import fetch_headers
from r1tui.hub.download.model import download
from r1tui.hub.download.staging import pin
from r1tui.hub.download.transfer import Manners
from r1tui.hub.listing import answers
from r1tui.hub.listing.remote import RemoteFile, RemoteFiles, ask_hub
from r1tui.hub.local.found import find_model
from r1tui.system.paths import Paths
from tests.conftest import tiny_files
from tests.hub_habits import FILES, LISTS, WHOLE, Answer, page
from tests.hub_server import REPO, Faults, Hub, Repository

VARIANT = Variant("tiny", "Tiny", repo=REPO, pattern="*Q8_0*")
QUICK = Manners(connections=2, backoff_s=0.002, longest_backoff_s=0.02)
ENOUGH_REQUESTS = 300
"""The tiny model takes ten; ten thousand went out in 25 s before there was an end."""


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small pieces, and no long pauses."""
    monkeypatch.setattr(part, "SMALLEST_PIECE_BYTES", 2_000_000)
    monkeypatch.setattr(transfer, "CHUNK_BYTES", 200_000)
    monkeypatch.setattr(answers, "LONGEST_WAIT_S", 0.05)
    monkeypatch.setattr(answers, "PAUSES_S", (0.001, 0.001))


def short_timeout(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Silence is soon given up; a busy machine's slow answer is not."""
    if name.startswith("silence"):
        monkeypatch.setattr(answers, "TIMEOUT_S", 0.5)


def manners_for(name: str) -> Manners:
    """As `short_timeout`."""
    return replace(QUICK, stall_s=0.3) if name.startswith("silence") else QUICK


def model_files() -> dict[str, bytes]:
    return {path: data for path, data in tiny_files().items() if path.startswith("Q8_0/")}


def fetch(paths: Paths, on_event: Callable[[StageEvent], object] = id, manners: Manners = QUICK) -> str:
    """Download the model; what was said on the way."""
    said: list[str] = []

    def emit(event: StageEvent) -> None:
        on_event(event)
        if isinstance(event, Notice):
            said.append(event.text)

    download(VARIANT, paths, emit, manners=manners)
    folder = paths.models / REPO
    assert {path: (folder / path).read_bytes() for path in model_files()} == model_files()
    return "\n".join(said)


def ends(call: Callable[[], object], cause: str, hub: Hub) -> None:
    """The call succeeds, or where a cause is expected it ends with that; either way soon."""
    if cause:
        with pytest.raises(R1tuiError, match=cause) as caught:
            call()
        assert caught.value.remedy
        assert "\n" not in caught.value.cause
    else:
        call()
    assert len(hub.requests) < ENOUGH_REQUESTS


@pytest.mark.parametrize("name", FILES)
def test_a_download_ends_whatever_comes_in_a_files_place(hub: Hub, paths: Paths, name: str) -> None:
    hub.file_habit, cause = FILES[name]
    manners = manners_for(name)
    if cause.startswith("No data of"):
        manners = replace(manners, patience_s=0.3)
    ends(lambda: fetch(paths, manners=manners), cause, hub)
    if cause:
        assert find_model(VARIANT, paths, Config()) is None
        hub.file_habit = None
        fetch(paths)


@pytest.mark.parametrize("name", WHOLE)
def test_a_download_ends_whatever_a_server_without_ranges_sends(hub: Hub, paths: Paths, name: str) -> None:
    hub.faults = Faults(ignore_range=True)
    hub.file_habit, cause = WHOLE[name]
    ends(lambda: fetch(paths, manners=manners_for(name)), cause, hub)


@pytest.mark.parametrize("name", [name for name, (_, cause) in FILES.items() if cause])
def test_what_came_before_is_kept_and_what_passes_is_survived(hub: Hub, paths: Paths, name: str) -> None:
    def change(event: StageEvent) -> None:
        if isinstance(event, FilesProgress) and any(file.done for file in event.files) and not changed:
            changed.append(True)
            hub.file_habit, hub.habitual = FILES[name][0], 3

    changed: list[bool] = []
    fetch(paths, change, manners_for(name))
    assert sum(hub.asked.values()) < 2 * sum(map(len, model_files().values()))


def test_a_page_in_the_middle_does_not_overwrite_what_came(hub: Hub, paths: Paths) -> None:
    def fifth(right: Answer) -> Answer:
        seen.append(right)
        return page()(right) if len(seen) == 5 else right

    seen: list[Answer] = []
    hub.file_habit = fifth
    assert "captive portal" in fetch(paths, manners=replace(QUICK, connections=1))
    assert sum(len(right.body) for right in seen) == sum(map(len, model_files().values())) + len(seen[4].body)


def test_a_server_that_sends_little_at_a_time_is_asked_with_pauses(
    hub: Hub, paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "FEW_BYTES", 2_000_000)
    hub.file_habit, _ = FILES["ranges of 1 MB at most"]
    assert "the server sends only 976.6 KiB at a time; retrying" in fetch(paths)


def test_silence_is_told_while_it_lasts(hub: Hub, paths: Paths) -> None:
    hub.file_habit, _ = FILES["an empty 206"]
    seen: list[StageEvent] = []
    with pytest.raises(R1tuiError):
        fetch(paths, seen.append)
    notices = [event.text for event in seen if isinstance(event, Notice)]
    assert any("the answer ended early; retrying" in text for text in notices)
    last = [event for event in seen if isinstance(event, FilesProgress)][-1]
    assert last.retries > 0
    assert re.match(r"No data: the answer ended early \([0-9]+ attempts\)", last.paused)


@pytest.mark.parametrize("name", FILES | WHOLE)
def test_the_headers_alone_end_too(hub: Hub, paths: Paths, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    short_timeout(monkeypatch, name)
    hub.faults = Faults(ignore_range=name in WHOLE)
    hub.file_habit, _ = (FILES | WHOLE)[name]
    try:
        stub = fetch_headers(VARIANT, paths)
    except R1tuiError:
        pass
    else:
        right = model_files()[min(model_files())]
        assert stub.stat().st_size == len(right)
        assert right.startswith(stub.read_bytes()[:1000])
    assert len(hub.requests) < 40


def test_a_page_in_the_headers_place_is_named(hub: Hub, paths: Paths) -> None:
    hub.file_habit = page()
    with pytest.raises(R1tuiError, match="captive portal or proxy"):
        fetch_headers(VARIANT, paths)


@pytest.mark.parametrize("name", LISTS)
def test_the_hubs_lists_end_whatever_comes(hub: Hub, paths: Paths, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    short_timeout(monkeypatch, name)
    hub.list_habit, cause = LISTS[name]
    ends(lambda: ask_hub(VARIANT, paths), cause, hub)
    if not cause:
        assert {file.path for file in ask_hub(VARIANT, paths).files} == set(model_files())


@pytest.mark.parametrize("sha256", [True, False])
def test_a_file_of_size_zero_is_told_and_not_waited_for(hub: Hub, paths: Paths, sha256: bool) -> None:
    hub.repositories[REPO] = Repository({"Tiny-R1-Q8_0.gguf": b""}, sha256={} if sha256 else {"Tiny-R1-Q8_0.gguf": ""})
    for call in (lambda: fetch(paths), lambda: fetch_headers(VARIANT, paths)):
        with pytest.raises(R1tuiError, match=r"is empty on the hub \(0 bytes\)"):
            call()


def test_a_list_that_a_download_had_begun_with_may_hold_an_empty_file(hub: Hub, paths: Paths) -> None:
    empty = RemoteFiles(REPO, "main", (RemoteFile("Tiny-R1-Q8_0.gguf", 0, "0" * 64),))
    pin(VARIANT, paths.models, empty)
    with pytest.raises(R1tuiError, match="is empty on the hub"):
        fetch(paths)


def test_a_habit_changes_the_right_answer_only_as_it_says() -> None:
    right = Answer(206, {"Content-Range": "bytes 5-9/20", "Content-Length": "5"}, b"abcde")
    assert FILES["another total"][0](right).headers["Content-Range"] == "bytes 5-9/27"
    assert FILES["a body longer than its length"][0](right).body == b"abcdemore"


def test_the_model_of_these_tests_is_large_enough() -> None:
    assert sum(map(len, model_files().values())) > 1_500_000
    assert Path(min(model_files())).name.endswith("-00001-of-00002.gguf")
