"""Text in and out of this process in whatever encoding the terminal has: nothing that it cannot say ends a program."""

import codecs
import io
import locale
import sys
from typing import TextIO


def forgive_streams(encoding: str | None = None) -> None:
    """From now on `?` stands on stdout and stderr for what their encoding cannot say; another encoding can be given."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # None where it was closed
            stream.reconfigure(encoding=encoding, errors="replace")


def is_utf8(stream: TextIO | None) -> bool:
    try:
        return stream is not None and codecs.lookup(stream.encoding).name == "utf-8"
    except (LookupError, TypeError):
        return False


def from_argument(text: str) -> str:
    """What somebody typed as an argument: bytes of it that belong to no character are U+FFFD."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def from_pipe(raw: bytes) -> str:
    """What was piped in: UTF-8, or what the terminal's encoding makes of it where it is no UTF-8."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode(locale.getpreferredencoding(do_setlocale=False), "replace")
