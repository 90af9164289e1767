"""No name from outside becomes a path that lies elsewhere than in the folder that is meant."""

import os
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from r1tui.system.paths import OutsideError, component, inside, is_relative

REFUSED = ["", ".", "..", "/", "a/", "/a", "a/b", "\0", "a\nb", "a\x1bb", "a\x85b", "a\u2028b", "\udcff", "ä" * 128]
BAD_PATHS = ["", "/", "//", "/etc/x", "..", "../a", "a/../../b", "a/..", "a//b", "./a", "a/./b", "a/", "a\0", "\udc00"]
NAMES = st.text(st.characters() | st.sampled_from("/.\\\0\n~-"), max_size=300)
"""Surrogates included."""


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_single_name_is_refused_and_shown_safely(name: str) -> None:
    with pytest.raises(OutsideError) as caught:
        component(name)
    assert caught.value.cause.isprintable()
    caught.value.cause.encode()


@pytest.mark.parametrize("name", BAD_PATHS)
def test_what_leads_elsewhere_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(OutsideError):
        inside(tmp_path, name)
    assert not is_relative(name)


@pytest.mark.parametrize("name", ["a.gguf", "Q4/model-00001-of-00002.gguf", "..a", "a..b", "~root", "-rf", "ä", "a\\b"])
def test_ordinary_names_stay_as_they_are(name: str, tmp_path: Path) -> None:
    assert inside(tmp_path, name) == tmp_path / name


def test_links_that_are_there_do_not_lead_out(tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    elsewhere.mkdir()
    (folder / "link").symlink_to(elsewhere)
    (folder / "round").symlink_to("round")
    (folder / "within").symlink_to("real")
    (folder / "real").mkdir()
    for name in ("link/a", "link/a/b"):
        with pytest.raises(OutsideError, match="link"):
            inside(folder, name)
    assert inside(folder, "within/a") == folder / "within/a"
    (tmp_path / "alias").symlink_to(folder)  # the folder itself may be a link: the user chose it
    assert inside(tmp_path / "alias", "real/a") == tmp_path / "alias/real/a"


@given(NAMES)
@example("../" * 30 + "etc/x")
def test_no_name_escapes(name: str) -> None:
    with TemporaryDirectory() as top:
        folder = Path(top) / "in"
        folder.mkdir()
        try:
            path = inside(folder, name)
        except OutsideError:
            return
        assert Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))
        assert path != folder
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()  # the system takes it too
        assert [one.name for one in Path(top).iterdir()] == ["in"]
