"""Small files of ours: whatever has become of one, it is set aside, that is said, and we go on."""

import errno
import logging
import os
import stat
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from r1tui.messages import decode, decode_foreign
from r1tui.system.files import (
    LARGEST_BYTES,
    make_folder,
    make_way,
    read_json,
    read_json_if_any,
    replace_file,
    take_damages,
    write_json,
    write_private,
)
from r1tui.system.processes import spawn


class Known(msgspec.Struct):
    """A file of ours, as an example."""

    name: str
    count: int = 0


def test_what_was_written_is_read(tmp_path: Path) -> None:
    place = tmp_path / "deep/er/known.json"
    write_json(place, Known("ä", 3))
    assert read_json(place, Known) == Known("ä", 3)
    assert stat.S_IMODE(place.stat().st_mode) == 0o600
    assert [path.name for path in place.parent.iterdir()] == ["known.json"]
    assert read_json(tmp_path / "none.json", Known) is None
    assert read_json(place / "none.json", Known) is None
    assert take_damages() == []


BAD = {
    "empty": b"",
    "null": b"null",
    "list": b"[]",
    "cut": b'{"name": "a',
    "bad byte": b'{"name": "\xff"}',
    "bad byte outside": b'\xff{"name": "a"}',
    "deep": b"[" * 100_000,
    "deep in a field": b'{"more": ' + b"[" * 100_000,
    "wrong type": b'{"name": 1}',
    "huge integer": b'{"name": "a", "count": 1' + b"0" * 5000 + b"}",
    "NUL": b'{"name": "a\\u0000"}',
    "half a surrogate pair": b'{"name": "\\ud800"}',
}


@pytest.mark.parametrize("raw", BAD.values(), ids=list(BAD))
def test_a_damaged_one_is_set_aside_and_said_once(raw: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    place = tmp_path / "known.json"
    place.write_bytes(raw)
    with caplog.at_level(logging.WARNING):
        assert read_json(place, Known) is None
    assert read_json(place, Known) is None
    assert (tmp_path / "known.json.damaged").read_bytes() == raw
    assert not place.exists()
    [damage] = take_damages()
    assert damage.kept == tmp_path / "known.json.damaged"
    assert "\n" not in damage.notice()
    assert "known.json.damaged" in damage.notice()
    assert len(caplog.records) == 1
    assert take_damages() == []


def test_the_newest_damaged_one_is_kept(tmp_path: Path) -> None:
    place = tmp_path / "known.json"
    for raw in (b"first", b"second"):
        place.write_bytes(raw)
        assert read_json(place, Known) is None
    assert (tmp_path / "known.json.damaged").read_bytes() == b"second"
    assert len(list(tmp_path.iterdir())) == 1


def test_what_is_no_file_at_all_is_set_aside_without_waiting(tmp_path: Path) -> None:
    folder, pipe, huge, loop = (tmp_path / name for name in ("folder", "pipe", "huge", "loop"))
    folder.mkdir()
    (folder / "in").touch()
    os.mkfifo(pipe)
    huge.touch()
    os.truncate(huge, LARGEST_BYTES + 1)
    loop.symlink_to(loop)
    for place in (folder, pipe, huge, loop):
        assert read_json(place, Known) is None
        write_json(place, Known("new"))
        assert read_json(place, Known) == Known("new")
    assert len(take_damages()) == 4
    assert (tmp_path / "folder.damaged/in").exists()


def test_a_device_is_neither_removed_nor_written_to(tmp_path: Path) -> None:
    device = tmp_path / "null"
    try:
        os.mknod(device, 0o600 | stat.S_IFCHR, os.makedev(1, 3))
    except OSError:
        device = Path(os.devnull)  # who may not make one may not remove one
    with pytest.raises(OSError, match="Not a regular file"):
        make_way(device)
    with pytest.raises(OSError, match="Not a regular file"):
        spawn(["true"], {}, device)
    assert device.is_char_device()
    link = tmp_path / "log"
    link.symlink_to("/dev/full")
    with pytest.raises(OSError, match="Not a regular file"):
        spawn(["true"], {}, link)
    assert link.is_symlink()


def test_a_log_that_is_a_link_to_the_null_device_is_none(tmp_path: Path) -> None:
    link = tmp_path / "log"
    link.symlink_to(os.devnull)
    assert spawn(["/bin/echo", "said"], {}, link).wait() == 0
    assert link.readlink() == Path(os.devnull)
    assert link.is_char_device()


def test_one_that_nobody_may_read_is_set_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "known.json"
    place.write_bytes(b"{}")
    really_open = os.open

    def forbidden(path: str | Path, flags: int, mode: int = 0o777, **more: Any) -> int:
        if Path(path) == place:
            raise PermissionError(13, "Permission denied")  # the tests may run as root, who reads all
        return really_open(path, flags, mode, **more)

    monkeypatch.setattr(os, "open", forbidden)
    assert read_json(place, Known) is None
    [damage] = take_damages()
    assert damage.kept == tmp_path / "known.json.damaged"
    assert "Permission denied" in damage.notice()


def test_one_that_cannot_be_moved_stays_and_is_said_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "known.json"
    place.write_bytes(b"[]")

    def read_only(*_args: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "replace", read_only)
    assert read_json(place, Known) is None
    [damage] = take_damages()
    assert damage.kept is None
    assert read_json(place, Known) is None
    assert take_damages() == []
    assert place.read_bytes() == b"[]"


def test_a_disk_that_fails_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "known.json"
    write_json(place, Known("a"))

    def failing(*_args: object, **_kwargs: object) -> int:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", failing)
        with pytest.raises(OSError, match="Input/output"):
            read_json(place, Known)
        assert read_json_if_any(place, Known) is None
    assert read_json(place, Known) == Known("a")
    assert take_damages() == []


@given(st.binary(max_size=40))
def test_decoding_raises_one_kind_of_error(raw: bytes) -> None:
    for how in (decode, decode_foreign):
        try:
            how(raw, Known)
        except msgspec.DecodeError:
            continue


def test_foreign_text_keeps_what_can_be_read() -> None:
    assert decode_foreign(b'{"name": "a\xffb", "more": 1}', Known) == Known("a\ufffdb")


def test_a_write_that_fails_leaves_the_old_file_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "known.json"
    write_private(place, b"old")

    def full(_fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_private(place, b"new")
    assert place.read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_user_s_file_is_replaced_whole_through_links_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, link = tmp_path / "file.md", tmp_path / "link.md"
    file.write_bytes(b"old")
    file.chmod(0o640)
    link.symlink_to(file)
    replace_file(link, b"new")
    assert (file.read_bytes(), stat.S_IMODE(file.stat().st_mode), link.is_symlink()) == (b"new", 0o640, True)
    replace_file(Path("/dev/null"), b"nowhere")
    replace_file(tmp_path / ("字" * 83 + ".md"), b"made")
    replace_file(tmp_path / ("字" * 83 + ".md"), b"made anew")
    before = sorted(tmp_path.iterdir())

    def no_room(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", no_room)
    for path in (link, tmp_path / "another.md"):
        with pytest.raises(OSError, match="No space left"):
            replace_file(path, b"newest")
    assert file.read_bytes() == b"new"
    assert sorted(tmp_path.iterdir()) == before


def test_a_backslash_before_u0000_is_no_nul(tmp_path: Path) -> None:
    write_json(tmp_path / "known.json", Known("C:\\u0000"))
    assert read_json(tmp_path / "known.json", Known) == Known("C:\\u0000")


def test_folders_are_nobody_elses_to_write_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        made = make_folder(tmp_path / "a/b/c")
    finally:
        os.umask(before)
    for folder in (made, made.parent, made.parent.parent):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o755
    assert make_folder(made) == made
    assert stat.S_IMODE(make_folder(tmp_path / "x/y", private=True).stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) & 0o022 == 0
