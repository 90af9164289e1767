"""Two variants of one repository and pattern in two revisions: each has its own file, everywhere and always."""

import json
from pathlib import Path

import pytest

from r1tui.catalog.variants import Variant
from r1tui.config import Config
from r1tui.errors import R1tuiError
from r1tui.events import StageEvent
from r1tui.hub.download.headers import fetch_headers, known_headers
from r1tui.hub.download.model import download
from r1tui.hub.download.staging import progress_of
from r1tui.hub.listing.remote import ask_hub
from r1tui.hub.local.found import ModelSearch, download_lock, find_model
from r1tui.hub.local.records import FetchRecord, own_folder
from r1tui.hub.removal import find_removal, remove
from r1tui.system.paths import Paths
from tests.conftest import CommandLine, TinyModel
from tests.hub_server import COMMIT, Hub, Repository

REPO, NAME = "acme/Tiny-R1-GGUF", "Tiny-R1-Q8_0.gguf"
OLD = "89abcdef0123456789abcdef0123456789abcdef"
NEWEST = Variant("newest", repo=REPO, pattern="*Q8_0*")
V1 = Variant("first", repo=REPO, pattern="*Q8_0*", revision="v1")
ODD = ("refs/pr/1", "v1.0", "..", "a b", "x" * 200, "é", "Ünï/../..")


class TwoRevisions(Repository):
    """A repository whose main branch is COMMIT and whose other revisions are all OLD."""

    def revision(self, name: str | None) -> dict[str, bytes] | None:
        if name in (None, "main", COMMIT):
            return self.files
        return self.older["v1"]

    def commit_of(self, name: str | None) -> str:
        return COMMIT if name in (None, "main", COMMIT) else OLD


class TaggedThere(TwoRevisions):
    """A repository whose main branch has gone on, and whose other revisions are where it was."""

    def revision(self, name: str | None) -> dict[str, bytes] | None:
        return self.files if name in (None, "main", OLD) else self.older["v1"]

    def commit_of(self, name: str | None) -> str:
        return OLD if name in (None, "main", OLD) else COMMIT


@pytest.fixture
def models(tiny_r1: TinyModel) -> tuple[bytes, bytes]:
    """Two models of one length."""
    newest, first = (tiny_r1(answer=text).read_bytes() for text in ("Answer 1", "Answer 2"))
    assert len(newest) == len(first)
    assert newest != first
    return newest, first


@pytest.fixture
def hub(empty_hub: Hub, models: tuple[bytes, bytes]) -> Hub:
    empty_hub.repositories[REPO] = TwoRevisions({NAME: models[0]}, older={"v1": {NAME: models[1]}})
    return empty_hub


def ignore(event: StageEvent) -> None:
    """Drop the event."""


def both(newest_first: bool, models: tuple[bytes, bytes]) -> list[tuple[Variant, bytes]]:
    pairs = [(NEWEST, models[0]), (V1, models[1])]
    return pairs if newest_first else pairs[::-1]


@pytest.mark.parametrize("newest_first", [True, False])
@pytest.mark.parametrize("asked", [True, False])
def test_each_has_its_own_file(
    hub: Hub, paths: Paths, models: tuple[bytes, bytes], *, newest_first: bool, asked: bool
) -> None:
    (one, data), (other, other_data) = both(newest_first, models)
    path = download(one, paths, ignore)
    assert path.read_bytes() == data
    if asked:
        ask_hub(other, paths)
    assert find_model(other, paths, Config()) is None
    assert progress_of(other, paths, Config()) is None
    with pytest.raises(R1tuiError, match="not on this machine"):
        find_removal(other, paths, Config())
    other_path = download(other, paths, ignore)
    assert other_path.read_bytes() == other_data
    assert find_model(one, paths, Config()) == path
    assert find_model(other, paths, Config()) == other_path
    for variant in (one, other):
        assert download(variant, paths, ignore, verify=True) == find_model(variant, paths, Config())
    remove(find_removal(one, paths, Config()), paths, Config())
    assert find_model(one, paths, Config()) is None
    assert find_model(other, paths, Config()) == other_path
    assert other_path.read_bytes() == other_data


@pytest.mark.parametrize("newest_first", [True, False])
def test_a_download_that_was_stopped_is_not_the_others(
    hub: Hub, paths: Paths, models: tuple[bytes, bytes], newest_first: bool
) -> None:
    (one, _), (other, other_data) = both(newest_first, models)
    hub.faults.refusals = [(403, {})]
    with pytest.raises(R1tuiError):
        download(one, paths, ignore)
    assert download(other, paths, ignore).read_bytes() == other_data
    assert find_model(one, paths, Config()) is None
    assert download_lock(one, paths) != download_lock(other, paths)


@pytest.mark.parametrize("newest_first", [True, False])
def test_headers_are_of_their_own_revision(
    hub: Hub, paths: Paths, models: tuple[bytes, bytes], newest_first: bool
) -> None:
    (one, data), (other, other_data) = both(newest_first, models)
    stub = fetch_headers(one, paths)
    assert known_headers(other, paths) is None
    other_stub = fetch_headers(other, paths)
    assert stub != other_stub
    assert (known_headers(one, paths), known_headers(other, paths)) == (stub, other_stub)
    assert len(data) == stub.stat().st_size == other_stub.stat().st_size == len(other_data)


def put_as_before(paths: Paths, variant: Variant, data: bytes, commit: str | None) -> Path:
    """A file where an older r1tui put those of all revisions."""
    folder = paths.models / REPO
    folder.mkdir(parents=True, exist_ok=True)
    (folder / NAME).write_bytes(data)
    if commit is not None:
        mtime_ns = (folder / NAME).stat().st_mtime_ns
        known = {"size_bytes": len(data), "sha256": None, "revision": commit, "mtime_ns": mtime_ns}
        (folder / ".r1tui.json").write_text(json.dumps({"files": {NAME: known}}))
        assert NAME in FetchRecord.load(folder).files
    return folder / NAME


@pytest.mark.parametrize("commit", [COMMIT, "0" * 40, None])
def test_what_an_older_r1tui_fetched_for_the_main_branch_stays_known(
    hub: Hub, paths: Paths, models: tuple[bytes, bytes], commit: str | None
) -> None:
    path = put_as_before(paths, NEWEST, models[0], commit)
    for _ in range(2):
        assert find_model(NEWEST, paths, Config()) == path
        assert find_model(V1, paths, Config()) is None
        ask_hub(NEWEST, paths)
        ask_hub(V1, paths)
    assert find_removal(NEWEST, paths, Config()).files == (path,)


def test_what_an_older_r1tui_fetched_for_a_named_revision_is_its_alone(
    hub: Hub, paths: Paths, models: tuple[bytes, bytes]
) -> None:
    path = put_as_before(paths, V1, models[1], OLD)
    ask_hub(NEWEST, paths)
    ask_hub(V1, paths)
    assert find_model(V1, paths, Config()) == path
    assert find_model(NEWEST, paths, Config()) is None
    assert find_removal(V1, paths, Config()).files == (path,)
    by_commit = Variant("commit", repo=REPO, pattern="*Q8_0*", revision=OLD)
    assert find_model(by_commit, paths, Config()) == path
    with pytest.raises(R1tuiError, match="not on this machine"):
        find_removal(NEWEST, paths, Config())


def test_a_file_that_both_revisions_have_is_fetched_once_and_deleted_apart(
    hub: Hub, paths: Paths, models: tuple[bytes, bytes]
) -> None:
    hub.repositories[REPO].older["v1"] = {NAME: models[0]}
    first = download(NEWEST, paths, ignore)
    hub.requests.clear()
    second = download(V1, paths, ignore)
    assert hub.fetched() == []
    assert second != first
    assert second.samefile(first)
    assert find_removal(NEWEST, paths, Config()).freed_bytes == 0
    remove(find_removal(NEWEST, paths, Config()), paths, Config())
    assert second.read_bytes() == models[0]
    assert find_model(V1, paths, Config()) == second


def test_the_main_branchs_file_stays_its_own_when_a_tag_is_put_where_it_was(
    hub: Hub, paths: Paths, models: tuple[bytes, bytes]
) -> None:
    path = download(NEWEST, paths, ignore)
    repository = hub.repositories[REPO]
    repository.files, repository.older["v1"] = {NAME: models[1]}, {NAME: models[0]}
    repository.__class__ = TaggedThere
    ask_hub(NEWEST, paths)
    ask_hub(V1, paths)
    assert find_model(NEWEST, paths, Config()) == path
    assert find_model(V1, paths, Config()) is None
    tagged = download(V1, paths, ignore)
    remove(find_removal(V1, paths, Config()), paths, Config())
    assert not tagged.exists()
    assert find_model(NEWEST, paths, Config()) == path


@pytest.mark.parametrize("revision", [None, "main"])
def test_main_is_the_main_branch(hub: Hub, paths: Paths, revision: str | None) -> None:
    variant = Variant("x", repo=REPO, pattern="*Q8_0*", revision=revision)
    assert download(variant, paths, ignore) == find_model(NEWEST, paths, Config()) == paths.models / REPO / NAME


@pytest.mark.parametrize("revision", ODD)
def test_odd_names_of_revisions_have_a_folder_of_their_own(paths: Paths, revision: str) -> None:
    folders = {own_folder(Variant("x", repo=REPO, pattern="*", revision=one), paths) for one in (*ODD, None, "v1")}
    assert len(folders) == len(ODD) + 2
    folder = own_folder(Variant("x", repo=REPO, pattern="*", revision=revision), paths)
    assert folder.parent == paths.models / "acme"
    assert len(folder.name.encode()) < 200


def test_another_programs_cache_knows_its_revisions(
    paths: Paths, empty_home: Path, models: tuple[bytes, bytes]
) -> None:
    cache = empty_home / ".cache/huggingface/hub" / f"models--{REPO.replace('/', '--')}"
    for commit, data in ((COMMIT, models[0]), (OLD, models[1])):
        (cache / "snapshots" / commit).mkdir(parents=True)
        (cache / "snapshots" / commit / NAME).write_bytes(data)
    (cache / "refs").mkdir()
    (cache / "refs/v1").write_text(OLD)
    assert find_model(V1, paths, Config()) == cache / "snapshots" / OLD / NAME
    assert find_model(NEWEST, paths, Config()) == cache / "snapshots" / COMMIT / NAME
    (cache / "snapshots" / COMMIT / NAME).unlink()
    assert find_model(NEWEST, paths, Config()) is None


@pytest.mark.parametrize("where", ["model_folders", "lmstudio", "llama.cpp"])
def test_a_file_whose_revision_nobody_knows_counts_for_no_named_one(
    hub: Hub, paths: Paths, empty_home: Path, models: tuple[bytes, bytes], where: str
) -> None:
    place = {
        "model_folders": empty_home / "mine" / REPO / NAME,
        "lmstudio": empty_home / ".lmstudio/models" / REPO / NAME,
        "llama.cpp": empty_home / ".cache/llama.cpp" / f"acme_Tiny-R1-GGUF_{NAME}",
    }[where]
    place.parent.mkdir(parents=True)
    place.write_bytes(models[0])
    config = Config(model_folders=[str(empty_home / "mine")])
    for _ in range(2):
        assert ModelSearch(paths, config).find(V1) is None
        assert find_model(NEWEST, paths, config) == place
        ask_hub(V1, paths)
        ask_hub(NEWEST, paths)


def test_the_commands_keep_them_apart(hub: Hub, paths: Paths, models: tuple[bytes, bytes]) -> None:
    r1tui = CommandLine(paths)
    r1tui.configure(
        f"variants: {{newest: {{repo: {REPO}, pattern: '*Q8_0*'}}, "
        f"first: {{repo: {REPO}, pattern: '*Q8_0*', revision: v1}}}}\n"
    )
    assert r1tui("download", "newest").returncode == 0
    listed = json.loads(r1tui("variants", "--json").stdout)["variants"]
    on_disk = {row["name"]: row["on_disk"] for row in listed}
    assert (on_disk["newest"], on_disk["first"]) == (True, False)
    assert r1tui("download", "first").returncode == 0
    assert r1tui("delete", "newest", "--yes").returncode == 0
    path = find_model(V1, paths, Config())
    assert path is not None
    assert path.read_bytes() == models[1]
