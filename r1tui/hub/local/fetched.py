"""The record of what the hub said about the files that were fetched."""

from pathlib import Path

import msgspec

from r1tui.system.files import read_json_if_any, write_json


class KnownFile(msgspec.Struct, frozen=True):
    """What the hub said about a file of a repository, and in which revision."""

    size_bytes: int
    sha256: str | None
    revision: str
    mtime_ns: int | None = None
    """The file's time of change when it was last read and found right."""
    fetched_for: str = ""
    """The revision's name that it was fetched for, `main` without one; empty: not recorded then."""

    def is_at(self, path: Path) -> bool:
        """Whether the file there is as it was when it was found right; looks at no content."""
        try:
            now = path.stat()
        except OSError:
            return False
        return now.st_size == self.size_bytes and now.st_mtime_ns == self.mtime_ns


class FetchRecord(msgspec.Struct):
    """Files of one repository by their path in it; kept beside them, so that they can be checked without the hub."""

    files: dict[str, KnownFile] = msgspec.field(default_factory=dict)

    @classmethod
    def load(cls, folder: Path) -> "FetchRecord":
        """The record of a repository's folder; an empty one where none can be read."""
        return read_json_if_any(folder / _NAME, cls) or cls()

    def save(self, folder: Path) -> None:
        """Replace the folder's record in one step."""
        write_json(folder / _NAME, self, private=False)


_NAME = ".r1tui.json"
