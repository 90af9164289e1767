"""What the hub said is remembered, used when it does not answer, and needed by nothing."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from r1tui.catalog.variants import Variant
from r1tui.config import Config
from r1tui.errors import R1tuiError
from r1tui.events import StageEvent
from r1tui.hub.download.model import download
from r1tui.hub.download.staging import progress_of
from r1tui.hub.listing.remote import ask_hub, known_files, latest_files
from r1tui.hub.local.found import find_model
from r1tui.system.paths import Paths
from tests.conftest import CommandLine
from tests.hub_server import COMMIT, Hub, Repository

REPO = "acme/Tiny-R1-GGUF"
SHARDS = {f"Q8_0/Tiny-R1-Q8_0-0000{number}-of-00004.gguf": b"GGUF" + bytes(100 * number) for number in range(1, 5)}
VARIANT = Variant("tiny", repo=REPO, pattern="*Q8_0*")
SINGLE = Variant("single", repo=REPO, pattern="*Q4_0*")


@pytest.fixture
def hub(empty_hub: Hub) -> Hub:
    empty_hub.repositories[REPO] = Repository(SHARDS | {"Tiny-R1-Q4_0.gguf": b"GGUF single"})
    return empty_hub


def ignore(event: StageEvent) -> None:
    """Drop the event."""


def test_sizes_shards_and_checksums_outlive_the_hub(hub: Hub, paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    assert known_files(VARIANT, paths) is None
    asked = ask_hub(VARIANT, paths)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    known = known_files(VARIANT, paths)
    assert known is not None
    assert known.listing == asked == latest_files(VARIANT, paths)
    assert known.listing.revision == COMMIT
    assert {file.path: (file.size_bytes, file.sha256) for file in known.listing.files} == {
        path: (len(data), hashlib.sha256(data).hexdigest()) for path, data in SHARDS.items()
    }
    assert 0 <= known.age_s < 600


def test_one_answer_serves_all_variants_of_the_repository(hub: Hub, paths: Paths) -> None:
    ask_hub(VARIANT, paths)
    hub.requests.clear()
    known = known_files(SINGLE, paths)
    assert known is not None
    assert known.listing.size_bytes == len(b"GGUF single")
    assert hub.requests == []
    assert known_files(Variant("tiny", repo=REPO, pattern="*Q8_0*", revision="v2"), paths) is None


@pytest.mark.parametrize("damage", [b"", b"[]", b'{"main": 1}', b"\x00\xff", None])
def test_a_note_that_cannot_be_read_or_kept_is_no_note(hub: Hub, paths: Paths, damage: bytes | None) -> None:
    ask_hub(VARIANT, paths)
    (note,) = (paths.cache / "hub").iterdir()
    if damage is None:
        note.unlink()
        note.parent.rmdir()
        note.parent.write_bytes(b"a file where the folder should be")
    else:
        note.write_bytes(damage)
    assert known_files(VARIANT, paths) is None
    assert len(ask_hub(VARIANT, paths).files) == 4


def test_the_list_shows_the_hubs_sizes_with_their_age_while_it_is_away(
    hub: Hub, paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    r1tui = CommandLine(paths)
    r1tui.configure(f"variants: {{tiny: {{repo: {REPO}, pattern: '*Q8_0*'}}}}\n")
    assert rows(r1tui)["tiny"]["size_gib"] is None
    refreshed = r1tui("variants", "--refresh")
    assert "no repository unsloth/DeepSeek-R1-GGUF" in refreshed.stderr
    assert "1 of 20 sizes are from the hub, asked " in refreshed.stdout
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    tiny = rows(r1tui)["tiny"]
    assert tiny["size_gib"] == 0.0
    assert 0 <= tiny["listed_age_s"] < 600
    assert rows(r1tui)["r1-iq1_s"]["listed_age_s"] is None


def rows(r1tui: CommandLine) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in json.loads(r1tui("variants", "--json").stdout)["variants"]}


def test_a_model_of_another_programs_is_checked_by_what_is_remembered(
    hub: Hub, paths: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask_hub(VARIANT, paths)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("LLAMA_CACHE", str(tmp_path / "llama"))
    (tmp_path / "llama").mkdir()
    flat = {f"acme_Tiny-R1-GGUF_{path.replace('/', '_')}": data for path, data in SHARDS.items()}
    for name, data in flat.items():
        (tmp_path / "llama" / name).write_bytes(data)
    first = tmp_path / "llama" / next(iter(flat))
    assert download(VARIANT, paths, ignore, verify=True) == first
    third = tmp_path / "llama" / list(flat)[2]
    third.write_bytes(third.read_bytes()[:-1] + b"?")
    with pytest.raises(R1tuiError, match=f"{third.name} is damaged"):
        download(VARIANT, paths, ignore, verify=True)
    assert third.exists()


def test_how_far_an_unfinished_model_is(hub: Hub, paths: Paths) -> None:
    folder, coming = paths.models / REPO, paths.models / ".incoming/acme--Tiny-R1-GGUF"
    assert progress_of(VARIANT, paths, Config()) is None
    (folder / "Q8_0").mkdir(parents=True)
    names = list(SHARDS)
    (folder / names[0]).write_bytes(SHARDS[names[0]])
    assert progress_of(VARIANT, paths, Config()) == 0.25  # the sizes are not known: a shard of four
    ask_hub(VARIANT, paths)
    total = sum(map(len, SHARDS.values()))
    assert progress_of(VARIANT, paths, Config()) == len(SHARDS[names[0]]) / total
    (coming / "Q8_0").mkdir(parents=True)
    known = {"version": 1, "revision": "abc", "size_bytes": 200, "sha256": None, "saved": [[0, 50], [100, 150]]}
    (coming / f"{names[1]}.journal").write_text(json.dumps(known))
    assert progress_of(VARIANT, paths, Config()) == (len(SHARDS[names[0]]) + 100) / total
    (coming / f"{names[1]}.journal").write_text("{")
    (folder / names[2]).write_bytes(b"short")
    assert progress_of(VARIANT, paths, Config()) == len(SHARDS[names[0]]) / total
    assert find_model(VARIANT, paths, Config()) is None
    shutil.rmtree(folder)
    shutil.rmtree(coming)
    assert progress_of(VARIANT, paths, Config()) is None
