"""A model that some program has fetched already is used where it is, and no other file is taken for it."""

import hashlib
import json
import os
from pathlib import Path

import msgspec
import pytest

from r1tui.catalog.variants import Variant, load_catalog
from r1tui.config import Config
from r1tui.hub.listing.remote import ask_hub
from r1tui.hub.local.found import FoundModel, ModelSearch, find_model
from r1tui.hub.local.places import MODEL_LAYER
from r1tui.system.paths import Paths
from tests.conftest import CommandLine
from tests.hub_server import COMMIT, Hub, Repository

REPO = "acme/Tiny-R1-GGUF"
TINY = Variant("tiny", repo=REPO, pattern="*Q8_0*")
SHARDS = {f"Q8_0/Tiny-R1-Q8_0-0000{number}-of-00002.gguf": b"GGUF shard %d" % number for number in (1, 2)}
SINGLE = {"Tiny-R1-Q4_0.gguf": b"GGUF single", "Tiny-R1-UD-Q4_0.gguf": b"GGUF dynamic"}
Q4 = Variant("tiny-q4", repo=REPO, pattern="*Q4_0*")


@pytest.fixture(autouse=True)
def home(empty_home: Path) -> Path:
    return empty_home


@pytest.fixture
def hub(empty_hub: Hub) -> Hub:
    """A hub that has the shards and the single files."""
    empty_hub.repositories[REPO] = Repository(SHARDS | SINGLE)
    return empty_hub


def put(folder: Path, files: dict[str, bytes]) -> list[Path]:
    """Write files below a folder."""
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return [folder / name for name in files]


def flattened(files: dict[str, bytes], prefix: str = "") -> dict[str, bytes]:
    return {prefix + name.replace("/", "_"): data for name, data in files.items()}


def put_in_ollama(root: Path, name: str, data: bytes, **changes: object) -> Path:
    """A model as Ollama keeps it: HOST/OWNER/NAME/TAG and a blob."""
    sha256 = hashlib.sha256(data).hexdigest()
    layer = {"mediaType": MODEL_LAYER, "digest": f"sha256:{sha256}", "size": len(data)}
    licence = {"mediaType": "application/vnd.ollama.image.license", "digest": f"sha256:{'0' * 64}", "size": 9}
    manifest = {"schemaVersion": 2, "layers": [licence, layer | changes]}
    put(root, {f"manifests/{name}": json.dumps(manifest).encode(), f"blobs/sha256-{sha256}": data})
    return root / "blobs" / f"sha256-{sha256}"


@pytest.mark.parametrize(
    ("variable", "folder"),
    [
        (None, ".cache/huggingface/hub"),
        ("HF_HOME", "somewhere/hub"),
        ("HF_HUB_CACHE", "somewhere"),
        ("LLAMA_CACHE", "somewhere"),
    ],
)
def test_in_the_hugging_face_cache_through_its_links(
    paths: Paths, home: Path, monkeypatch: pytest.MonkeyPatch, variable: str | None, folder: str
) -> None:
    if variable:
        monkeypatch.setenv(variable, str(home / "somewhere"))
    repository = home / folder / f"models--{REPO.replace('/', '--')}"
    snapshot = repository / "snapshots" / COMMIT
    for number, (name, data) in enumerate(SHARDS.items()):
        put(repository, {f"blobs/{number}": data})
        (snapshot / name).parent.mkdir(parents=True, exist_ok=True)
        (snapshot / name).symlink_to(f"../../../blobs/{number}")
    assert ModelSearch(paths, Config()).find(TINY) == FoundModel(snapshot / next(iter(SHARDS)), "huggingface")
    (repository / "blobs/1").unlink()
    assert find_model(TINY, paths, Config()) is None


def test_a_pinned_revision_is_not_another_one(paths: Paths, home: Path) -> None:
    repository = home / ".cache/huggingface/hub" / f"models--{REPO.replace('/', '--')}"
    put(repository / "snapshots" / COMMIT, SHARDS)
    pinned = Variant("tiny", repo=REPO, pattern="*Q8_0*", revision="v2")
    assert find_model(pinned, paths, Config()) is None
    put(repository / "refs", {"v2": COMMIT.encode()})
    assert find_model(pinned, paths, Config()) is not None
    put(home / ".lmstudio/models" / REPO, SHARDS)
    assert ModelSearch(paths, Config()).find(pinned) != FoundModel(home / ".lmstudio/models" / REPO, "lmstudio")


def test_in_llama_cpps_older_cache_of_flat_names(paths: Paths, home: Path, hub: Hub) -> None:
    first, second = put(home / ".cache/llama.cpp", flattened(SHARDS, "acme_Tiny-R1-GGUF_"))
    assert ModelSearch(paths, Config()).find(TINY) == FoundModel(first, "llama.cpp")
    ask_hub(TINY, paths)
    assert ModelSearch(paths, Config()).find(TINY) == FoundModel(first, "llama.cpp")
    second.write_bytes(b"short")
    search = ModelSearch(paths, Config())
    assert search.find(TINY) is None
    assert "a different size" in search.ignored[second]
    assert str(second) in search.rejected["tiny"]
    second.unlink()
    assert find_model(TINY, paths, Config()) is None


def test_llama_cpps_cache_moves_with_its_variable(paths: Paths, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLAMA_CACHE", str(home / "llama"))
    (file,) = put(home / "llama", {"acme_Tiny-R1-GGUF_Tiny-R1-Q4_0.gguf": b"GGUF"})
    assert find_model(Q4, paths, Config()) == file


@pytest.mark.parametrize("where", [".lmstudio/models", ".cache/lm-studio/models", "pointed/models", "chosen"])
def test_in_lm_studios_folders_which_drop_the_repositorys(paths: Paths, home: Path, hub: Hub, where: str) -> None:
    if where == "pointed/models":
        put(home, {".lmstudio-home-pointer": f"{home}/pointed\n".encode()})
    if where == "chosen":
        put(home, {".lmstudio/settings.json": json.dumps({"downloadsFolder": f"{home}/chosen"}).encode()})
    first, second = put(home / where / REPO, {Path(name).name: data for name, data in SHARDS.items()})
    assert ModelSearch(paths, Config()).find(TINY) == FoundModel(first, "lmstudio")
    ask_hub(TINY, paths)
    assert find_model(TINY, paths, Config()) == first
    second.rename(second.with_suffix(".gguf.part"))
    assert find_model(TINY, paths, Config()) is None


def test_in_ollamas_blobs_by_the_hubs_name(paths: Paths, home: Path) -> None:
    blob = put_in_ollama(home / ".ollama/models", f"hf.co/{REPO}/Q4_0", b"GGUF single")
    assert ModelSearch(paths, Config()).find(Q4) == FoundModel(blob, "ollama")
    assert find_model(TINY, paths, Config()) is None


def test_in_ollamas_blobs_by_the_hubs_checksum_whatever_its_name(
    paths: Paths, home: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OLLAMA_MODELS", str(home / "ollama"))
    blob = put_in_ollama(home / "ollama", "registry.ollama.ai/library/tiny/latest", SINGLE["Tiny-R1-Q4_0.gguf"])
    other = put_in_ollama(home / "ollama", f"hf.co/{REPO}/UD-Q4_0", b"GGUF from an older upload")
    assert find_model(Q4, paths, Config()) is None
    ask_hub(Q4, paths)
    search = ModelSearch(paths, Config())
    assert search.find(Q4) == FoundModel(blob, "ollama")
    assert search.find(Variant("ud", repo=REPO, pattern="*UD-Q4_0*")) is None
    assert "not the hub's current file" in search.ignored[other]


@pytest.mark.parametrize(
    "changes", [{"size": 3}, {"digest": "sha256:../../etc/passwd"}, {"digest": f"sha256:{'1' * 64}"}]
)
def test_a_manifest_whose_blob_is_not_whole_is_nothing(paths: Paths, home: Path, changes: dict[str, object]) -> None:
    put_in_ollama(home / ".ollama/models", f"hf.co/{REPO}/Q4_0", b"GGUF single", **changes)
    assert find_model(Q4, paths, Config()) is None


@pytest.mark.parametrize("raw", [b"", b"[]", b"{", b'{"layers": "x"}', b'{"layers": [{"digest": 1}]}', b"\xff\x00"])
def test_a_bad_manifest_is_told_and_hides_no_good_one(paths: Paths, home: Path, raw: bytes) -> None:
    put(home / ".ollama/models/manifests", {f"hf.co/{REPO}/Q2_K": raw, "too/short": b"{}", "a/b/c/d/e": b"{}"})
    blob = put_in_ollama(home / ".ollama/models", f"hf.co/{REPO}/Q4_0", b"GGUF single")
    search = ModelSearch(paths, Config())
    assert search.find(Q4) == FoundModel(blob, "ollama")
    assert [path.name for path in search.ignored] == ["Q2_K"]


def test_in_the_users_folders_by_name_size_and_publisher(paths: Paths, home: Path, hub: Hub) -> None:
    config = Config(model_folders=[str(home / "models")])
    (file,) = put(home / "models/deep/er", {"Tiny-R1-Q4_0.gguf": SINGLE["Tiny-R1-Q4_0.gguf"]})
    assert ModelSearch(paths, config).find(Q4) == FoundModel(file, "model_folders")
    ask_hub(Q4, paths)
    assert find_model(Q4, paths, config) == file
    file.write_bytes(b"half")
    assert find_model(Q4, paths, config) is None
    file.unlink()
    put(home / "models/other/Tiny-R1-GGUF", {"Tiny-R1-Q4_0.gguf": SINGLE["Tiny-R1-Q4_0.gguf"]})
    assert find_model(Q4, paths, config) is None


@pytest.mark.parametrize("there", ["Tiny-R1-UD-Q4_0", "Tiny-R1-i1-Q4_0", "Tiny-R1-Q4_0_4_4", "Tiny-R1-Zero-XQ4_0"])
def test_another_quantisation_is_not_taken_for_the_wanted_one(paths: Paths, home: Path, there: str) -> None:
    put(home / ".lmstudio/models" / REPO, {f"{there}.gguf": b"GGUF"})
    put(home / ".cache/huggingface/hub/models--acme--Tiny-R1-GGUF/snapshots" / COMMIT, {f"{there}.gguf": b"GGUF"})
    put(home / ".cache/llama.cpp", {f"acme_Tiny-R1-GGUF_{there}.gguf": b"GGUF"})
    assert find_model(Q4, paths, Config()) is None


def test_a_file_that_the_user_fetched_for_another_quantisation_does_not_hide_the_wanted_one(
    paths: Paths, hub: Hub
) -> None:
    put(paths.models / REPO, {"Tiny-R1-UD-Q4_0.gguf": SINGLE["Tiny-R1-UD-Q4_0.gguf"]})
    ask_hub(Q4, paths)
    assert find_model(Q4, paths, Config()) is None


def test_loops_and_unreadable_folders_end_a_search_of_nothing(paths: Paths, home: Path) -> None:
    models = home / "models"
    (file,) = put(models / "a", {"Tiny-R1-Q4_0.gguf": b"GGUF"})
    (models / "a/loop").symlink_to(models)
    (models / "a/broken.gguf").symlink_to("broken.gguf")
    (models / "b.gguf").mkdir()
    bad = models / "not-a-folder"
    bad.write_bytes(b"")
    config = Config(model_folders=[str(bad), str(home / "gone"), str(models)])
    search = ModelSearch(paths, config)
    assert search.find(Q4) == FoundModel(file, "model_folders")
    assert search.ignored == {}


def test_a_name_that_is_no_utf8_is_left_out(paths: Paths, home: Path) -> None:
    models = home / "models"
    (file,) = put(models, {"Tiny-R1-Q4_0.gguf": b"GGUF"})
    try:
        (models / os.fsdecode(b"\xff.gguf")).touch()
    except OSError:
        return  # this file system has no such names
    search = ModelSearch(paths, Config(model_folders=[str(models)]))
    assert search.find(Q4) == FoundModel(file, "model_folders")
    assert "not UTF-8" in search.ignored[models]


def test_a_folder_that_may_not_be_read_is_told(paths: Paths, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scandir = os.scandir
    closed = home / ".ollama/models/manifests"
    put_in_ollama(home / ".ollama/models", f"hf.co/{REPO}/Q4_0", b"GGUF single")

    def guarded(path: str) -> object:
        if Path(path) == closed:
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)  # root may read everything
    search = ModelSearch(paths, Config())
    assert search.find(Q4) is None
    assert search.ignored == {closed: "Permission denied"}


def test_the_catalogs_own_names_are_exact(paths: Paths, home: Path) -> None:
    for variant in load_catalog(Config()):
        if variant.repo is None:
            continue
        base = variant.repo.rpartition("/")[2].removesuffix("-GGUF")
        quant = (variant.pattern or "").strip("*-")
        count = variant.shards or 2
        names = (
            [f"{base}-{quant}.gguf"]
            if count == 1
            else [f"{base}-{quant}-{number:05}-of-{count:05}.gguf" for number in range(1, count + 1)]
        )
        (first, *_) = put(home / ".lmstudio/models" / variant.repo, dict.fromkeys(names, b"GGUF"))
        assert find_model(variant, paths, Config()) == first


def test_what_is_remembered_can_be_read_again(paths: Paths, hub: Hub) -> None:
    listing = ask_hub(TINY, paths)
    (note,) = (paths.cache / "hub").iterdir()
    assert msgspec.json.decode(note.read_bytes())["main"]["tree"]["revision"] == listing.revision == COMMIT


def test_doctor_says_where_a_model_is_and_what_could_not_be_looked_at(paths: Paths, home: Path) -> None:
    r1tui = CommandLine(paths)
    r1tui.configure(f"variants: {{tiny: {{repo: {REPO}, pattern: '*Q4_0*'}}}}\n")
    put_in_ollama(home / ".ollama/models", f"hf.co/{REPO}/Q4_0", b"GGUF single")
    put(home / ".ollama/models/manifests", {"a/b/c/d": b"no manifest"})
    checks = json.loads(r1tui("doctor", "--json").stdout)["checks"]
    found = [check["found"] for check in checks if check["name"] == "on disk"]
    assert found[0] == "tiny (Ollama)"
    assert found[1].endswith("a/b/c/d: not an Ollama manifest")
