"""The state file: what the supervisor says of its server."""

import msgspec

from r1tui.messages import VERSION, RecordVersion, ServerRecord, decode_own
from r1tui.system.files import read_bytes, write_private
from r1tui.system.paths import Paths


def is_being_stopped(paths: Paths) -> bool:
    """Whether the server is being stopped in order, or was and is gone; not one that ended by itself."""
    try:
        record = read_record(paths)
    except msgspec.DecodeError:
        return False
    return record is None or record.state in ("stopping", "stopped")


def read_record(paths: Paths) -> ServerRecord | None:
    """The state file; None when there is none. Raises msgspec.DecodeError for anything but a record."""
    try:
        raw = read_bytes(paths.state_file)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise msgspec.DecodeError(error.strerror or str(error)) from error
    try:
        return decode_own(raw, ServerRecord)
    except msgspec.DecodeError:
        version = decode_own(raw, RecordVersion).version
        if version == VERSION:
            raise
        raise msgspec.DecodeError(f"another r1tui wrote it (state version {version})") from None


def write_record(paths: Paths, record: ServerRecord) -> None:
    """Replace the state file, whole or not at all, also across a power failure; its folder is not made for it."""
    write_private(paths.state_file, msgspec.json.encode(record))
