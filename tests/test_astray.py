"""Names from outside, by every way that they come in: nothing is written, replaced or opened where it should not be."""

import io
import json
import os
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from gguf import GGUFWriter
from hypothesis import example, given
from hypothesis import strategies as st

from r1tui.catalog.variants import Catalog, Variant
from r1tui.chat.code import CodeBlock as Code
from r1tui.chat.export import file_name
from r1tui.chat.store import Store
from r1tui.config import Config
from r1tui.errors import R1tuiError
from r1tui.gguf import read_header
from r1tui.hub.download.fetch import Fetch
from r1tui.hub.download.headers import fetch_headers, known_headers
from r1tui.hub.download.model import download
from r1tui.hub.download.part import PartialFile
from r1tui.hub.download.source import HubSource
from r1tui.hub.download.staging import discard, download_job, find_begun, pin, progress_of, staging_folder, unfinished
from r1tui.hub.download.transfer import Manners
from r1tui.hub.listing.remote import RemoteFile, RemoteFiles, Tree, known_files, save_note
from r1tui.hub.local.found import download_lock, find_model
from r1tui.hub.local.places import MODEL_LAYER, Elsewhere, ollama_models
from r1tui.hub.local.records import FetchRecord, KnownFile, own_folder
from r1tui.hub.removal import find_removal, remove
from r1tui.server.record import record_file
from r1tui.system.files import write_json
from r1tui.system.packages import unpack
from r1tui.system.paths import Paths, component
from r1tui.tui.screens.dialogs import target
from tests.hub_server import REPO, Hub
from tests.store_rig import said, whole

VARIANT = Variant("tiny", "Tiny", repo=REPO, pattern="*Q8_0*")
CANARY = "canary-Q8_0.gguf"
ODD = ["~", "a\0b", "\x1b[2J", "\ud800", "\n", "é" * 200, "-rf", "C:", "\\"]
PARTS = st.sampled_from(["..", ".", "", "a", "Q8_0", "link", "loop", CANARY, *ODD])
PATHS = st.lists(PARTS, min_size=1, max_size=7).map("/".join) | st.sampled_from(
    [f"{'../' * up}{CANARY}" for up in range(1, 8)] + [f"TOP/{CANARY}", f"a/../../../../{CANARY}", f"link/{CANARY}"]
)
"""Paths that a mirror may name; TOP stands for the absolute path of the place around the home."""
TEXTS = st.text(st.characters() | st.sampled_from("/.\\\0\n~- ."), max_size=120)


@contextmanager
def walled(link_in: str = "") -> Iterator[tuple[Path, Paths]]:
    """A home in a place where nothing may change but in the home; links of it lead out.

    `link_in` is a folder of the home in which `link` leads out and `loop` to itself.
    """
    with TemporaryDirectory() as name:
        top = Path(name)
        home = top / "b/c/home"
        paths = Paths(*(home / one for one in ("config", "data", "cache", "state", "run")))
        home.mkdir(parents=True)
        for folder in (top, top / "b", top / "b/c"):
            (folder / CANARY).write_text("a foreign file")
        (top / "elsewhere").mkdir()
        (top / "elsewhere" / CANARY).write_text("a foreign file")
        if link_in:
            (home / link_in).mkdir(parents=True, exist_ok=True)
            (home / link_in / "link").symlink_to(top / "elsewhere")
            (home / link_in / "loop").symlink_to("loop")
        before = _around(top, home)
        yield top, paths
        assert _around(top, home) == before


def _around(top: Path, home: Path) -> dict[str, object]:
    """All that is there but for what is in the home."""
    found: dict[str, object] = {}
    for folder, folders, files in os.walk(top):
        if Path(folder) == home:
            folders.clear()
            continue
        for one in (*folders, *files):
            path = Path(folder) / one
            found[str(path)] = path.read_bytes() if path.is_file() else "folder"
    return found


def listing_of(names: list[str], revision: str, top: Path) -> RemoteFiles:
    """What a mirror says."""
    files = tuple(RemoteFile(name.replace("TOP", str(top)), len(HEADER), None) for name in names)
    return RemoteFiles(REPO, revision.replace("TOP", str(top)), files)


def _header() -> bytes:
    with TemporaryDirectory() as name:
        return gguf_file(Path(name) / "x.gguf", {}).read_bytes()


def gguf_file(path: Path, texts: dict[str, str]) -> Path:
    """A small GGUF file with these texts in its metadata."""
    writer = GGUFWriter(path, "deepseek2")
    for key, text in texts.items():
        writer.add_string(key, text)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


HEADER = _header()


@given(st.lists(PATHS, min_size=1, max_size=3), PATHS | st.just("main"))
def test_headers_of_a_mirror_stay_in_the_cache(names: list[str], revision: str) -> None:
    names = [f"{name}-Q8_0.gguf" if not name.endswith(CANARY) else name for name in names]

    def read(source: HubSource, offset: int, length: int) -> bytes:
        return HEADER[offset : offset + length]

    with walled(f"cache/headers/{REPO.replace('/', '--')}/main") as (top, paths), pytest.MonkeyPatch.context() as patch:
        listing = listing_of(names, revision, top)
        tree = Tree(*(getattr(listing, field) for field in ("repo", "revision", "files")))
        patch.setattr("r1tui.hub.listing.remote.fetch_tree", lambda variant: tree)
        patch.setattr(HubSource, "read_at", read)
        with suppress(R1tuiError, OSError):  # a name that the disk does not take
            fetch_headers(VARIANT, paths)
        with suppress(R1tuiError, OSError):
            known_headers(VARIANT, paths)
        known_files(VARIANT, paths)
        progress_of(VARIANT, paths, Config())
        assert find_model(VARIANT, paths, Config()) is None


@given(st.lists(PATHS, min_size=1, max_size=2), st.booleans())
def test_what_arrives_stays_in_its_folder(names: list[str], linked: bool) -> None:
    staged = f"data/models/.incoming/{REPO.replace('/', '--')}"
    with walled(staged if linked else f"data/models/{REPO}") as (top, paths):
        listing = listing_of(names, "main", top)
        staging = staging_folder(VARIANT, paths.models)
        for file in listing.files:
            with suppress(R1tuiError, OSError):
                part = PartialFile(staging, file, "main")
                part.open()
                part.write(0, [HEADER])
                part.arrived(0, len(HEADER))
                part._save(part.written)
                part.close()
        with suppress(R1tuiError, OSError):
            fetch = Fetch(VARIANT, listing, lambda event: None, Manners(1, 1.0), root=paths.models, paths=paths)
            for part in fetch.parts:
                fetch._accept(part)


@given(st.lists(PATHS, min_size=1, max_size=2), PATHS)
def test_what_a_file_of_ours_says_of_names_is_not_believed_either(names: list[str], revision: str) -> None:
    with walled(f"data/models/{REPO}") as (top, paths):
        listing = listing_of(names, revision, top)
        with suppress(UnicodeEncodeError):  # it cannot be written at all
            pin(VARIANT, paths.models, listing)
            write_json(
                own_folder(VARIANT, paths) / ".r1tui.json",
                FetchRecord({file.path: KnownFile(file.size_bytes, None, "main") for file in listing.files}),
            )
            save_note(
                paths.cache / "hub" / f"{REPO.replace('/', '--')}.json", {"main": {"tree": listing, "asked_s": 0}}
            )
        find_begun(VARIANT, paths, Config())
        unfinished(VARIANT, paths, Config())
        progress_of(VARIANT, paths, Config())
        find_model(VARIANT, paths, Config())
        with suppress(R1tuiError):
            discard(VARIANT, paths, Config())
        with suppress(R1tuiError):
            remove(find_removal(VARIANT, paths, Config()), paths, Config())


UP = [f"../{CANARY}", f"../../../../../{CANARY}", f"Q8_0/../../../../../{CANARY}", f"/{CANARY}", f"Q8_0//{CANARY}"]


@pytest.mark.parametrize("name", UP)
@pytest.mark.parametrize("fetches", [True, False])
def test_a_real_hub_that_names_them_is_refused_in_words(hub: Hub, paths: Paths, name: str, fetches: bool) -> None:
    repository = hub.repositories[REPO]
    repository.files = {name: next(iter(repository.files.values()))}
    with pytest.raises(R1tuiError, match="not a valid file name"):
        download(VARIANT, paths, lambda _: None) if fetches else fetch_headers(VARIANT, paths)
    assert not list(paths.data.parent.parent.rglob(CANARY))


def test_a_real_hub_that_names_such_a_revision_is_refused(hub: Hub, paths: Paths) -> None:
    hub.repositories[REPO].commit = "../../../elsewhere"
    with pytest.raises(R1tuiError, match="not a valid file name"):
        fetch_headers(VARIANT, paths)


@given(TEXTS, TEXTS)
def test_names_on_the_command_line_stay_in_their_folders(repo: str, quant: str) -> None:
    with walled() as (_, paths):
        for name in (f"hf:{repo}:{quant}", f"hf:a/{repo}:{quant}", f"hf:a/b:{quant}"):
            try:
                variant = Catalog({}).find(name)
            except R1tuiError:
                continue
            for path in (own_folder(variant, paths), staging_folder(variant, paths.models)):
                assert os.path.realpath(path).startswith(f"{os.path.realpath(paths.models)}/")
            download_lock(variant, paths).relative_to(paths.models)
            component(download_job(variant, paths).log.name)
            assert known_files(variant, paths) is None


@given(PATHS, PATHS)
def test_what_another_programs_cache_refers_to_stays_in_it(revision: str, commit: str) -> None:
    with TemporaryDirectory() as name:
        cache = Path(name) / "hub"
        repository = cache / f"models--{REPO.replace('/', '--')}"
        (repository / "refs").mkdir(parents=True)
        (repository / "refs/main").write_bytes(commit.encode(errors="replace"))
        for wanted in (None, revision):
            for folder, owner in Elsewhere({"HF_HUB_CACHE": str(cache), "HOME": name}).repository_places(REPO, wanted):
                if owner == "huggingface":
                    assert folder.is_relative_to(repository / "snapshots")
                    assert ".." not in folder.parts
                    folder.exists()


@given(TEXTS | PATHS, st.integers(), TEXTS)
def test_a_manifest_of_ollamas_names_only_blobs(digest: str, size_bytes: int, layer: str) -> None:
    with TemporaryDirectory() as name:
        root = Path(name) / "root"
        (root / "manifests/h/o/n").mkdir(parents=True)
        layers = [
            {"digest": one, "size": size_bytes, "mediaType": MODEL_LAYER} for one in (digest, f"sha256:{digest}", layer)
        ]
        for number, one in enumerate(layers):
            raw = json.dumps({"layers": [one]}).encode()
            (root / f"manifests/h/o/n/{number}").write_bytes(raw)
        for model in ollama_models(root, {}):
            assert model.blob.parent == root / "blobs"


@given(TEXTS.filter(lambda text: text.isprintable()), TEXTS.filter(lambda text: text.isprintable()))
def test_metadata_of_a_model_is_never_a_path(first: str, second: str) -> None:
    with walled() as (top, paths):
        paths.models.mkdir(parents=True)
        texts = {"general.name": first, "general.basename": second, "general.license": f"{top}/{CANARY}"}
        path = gguf_file(paths.models / "x.gguf", texts)
        with suppress(R1tuiError):
            read_header(path)
        assert [one.name for one in paths.models.iterdir()] == ["x.gguf"]


@given(TEXTS | PATHS, TEXTS | PATHS, TEXTS | PATHS, st.sampled_from(["", "py", "```"]))
def test_listings_and_exports_are_called_by_one_plain_name(info: str, code: str, before: str, kind: str) -> None:
    folder = Path("/somewhere")
    for name in (
        Code(code, info, before).file_name(),
        Code(f"# {code}.py\nx", f"python {info}.py", f"`{before}.py`").file_name(),
        Code(f"// {'x' * 390}.py", kind, "").file_name(),
        file_name(info, "markdown"),
        file_name(before, "json"),
    ):
        assert component(name) == name
        assert target(name, folder, "other") == folder / name


@pytest.mark.filterwarnings("ignore:Duplicate name")
@given(st.lists(PATHS, min_size=1, max_size=4))
@example(["a/../a"])
def test_members_of_archives_stay_in_their_folder(names: list[str]) -> None:
    with walled("cache/out") as (top, paths):
        archives = [paths.cache / "x.whl", paths.cache / "x.tar.gz", paths.cache / "linked.tar.gz"]
        names = [name.replace("TOP", str(top)).replace("\ud800", "") for name in names]
        with zipfile.ZipFile(archives[0], "w") as wheel:
            for name in names:
                with suppress(ValueError):
                    wheel.writestr(zipfile.ZipInfo(name or "x"), "evil")
        for archive in archives[1:]:
            with tarfile.open(archive, "w:gz") as tar:
                for number, name in enumerate(names):
                    info = tarfile.TarInfo(name)
                    if archive.name.startswith("linked") and number % 2 == 0:
                        info.type, info.linkname = tarfile.SYMTYPE, names[-1]
                        tar.addfile(info)
                    else:
                        info.size = 4
                        tar.addfile(info, io.BytesIO(b"evil"))
        for archive in archives:
            with suppress(R1tuiError):
                unpack(archive, paths.cache / "out")


@given(TEXTS | PATHS)
def test_ids_of_conversations_and_answers_are_no_paths(identifier: str) -> None:
    with walled() as (_, paths):
        assert record_file(paths.answers, identifier).parent == paths.answers
        component(record_file(paths.answers, identifier).name)
        with Store(paths.conversations) as store:
            with suppress(R1tuiError, UnicodeEncodeError):
                store.write([whole(said(identifier))])
            with suppress(R1tuiError, UnicodeEncodeError):
                store.open(identifier)
