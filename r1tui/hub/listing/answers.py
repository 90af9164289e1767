"""What a server may answer when it is asked for bytes of a model, and how each wrong answer is told."""

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from r1tui.errors import R1tuiError
from r1tui.text import size

MAGIC = b"GGUF"
SURE_TRIES = 6
"""Answers in a row that can hardly become better, with no new byte between them, that end a transfer."""
LOST_TRIES = 12
"""The same for connections that are lost before they bring a byte."""
LONGEST_WAIT_S = 900.0
"""A server may ask for a longer pause; we look again."""
TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504, 507, 509, 520, 521, 522, 523, 524, 529})
LOGIN_NEEDED = 511
KEPT = "Start again later; what came is kept. With HF_ENDPOINT set, try without it."
LOG_IN = "Open any page in a browser and log in to the network, or check the proxy; then start again."
_PAGE_STARTS = (b"<!doctype", b"<html", b"<head", b"<body", b"<script", b"<?xml", b"<!--")


class RetryError(Exception):
    """It did not work this time; `tries` in a row without a new byte are enough, None: it will surely pass."""

    def __init__(
        self, reason: str, *, tries: int | None = SURE_TRIES, after_s: float | None = None, remedy: str = KEPT,
        other: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(reason)
        self.reason = reason
        self.tries = tries
        self.after_s = after_s
        """How long the server asks us to wait."""
        self.remedy = remedy
        self.other = other
        """Whether the server seems to have another file than the hub's list says."""


class FilesGoneError(R1tuiError):
    """The hub has the revision or the file no more."""


def status_error(status: int, headers: Any) -> RetryError:
    """A status that brings no bytes."""
    if status in TRANSIENT:
        reason = "too many requests (429)" if status == 429 else f"the server answered {status}"
        return RetryError(reason, tries=None, after_s=retry_after_s(headers.get("Retry-After", "")))
    if status == LOGIN_NEEDED:
        return RetryError(f"the network wants a login (captive portal or proxy? {status})", remedy=LOG_IN)
    if status == 416:
        return RetryError("the server's file ends before the asked bytes (416)", other=True)
    return RetryError(f"the server answered {status}")


def check_range(response: Any, start: int, stop: int, size_bytes: int) -> tuple[int, int]:
    """The range of bytes that a good answer (200, 206) to a question for one brings; a 200 brings the whole file.

    Raises RetryError when it is about another file or another range.
    """
    if response.status_code == 200:
        return 0, size_bytes
    said = re.fullmatch(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19}|\*)", response.headers.get("Content-Range", "").strip())
    if said and said[3] not in ("*", str(size_bytes)):
        raise _other_size(int(said[3]), size_bytes)
    if not said or int(said[1]) != start or not start <= int(said[2]) < stop:
        raise RetryError("the server sends another range than it was asked for")
    if is_packed(response):
        raise RetryError("the server packs what it sends, so that its ranges are no use")
    return start, int(said[2]) + 1


def check_beginning(head: bytes, response: Any, size_bytes: int) -> None:
    """Raise RetryError when bytes from the beginning of an answer are not those of a GGUF file of that size."""
    kind = response.headers.get("Content-Type", "")
    if head[: len(MAGIC)] != MAGIC[:size_bytes]:
        if is_web_page(kind, head):
            raise RetryError("a web page came in its place (captive portal or proxy?)", remedy=LOG_IN)
        raise RetryError("the server sends something else in the file's place")
    length = response.headers.get("Content-Length", "")
    if response.status_code == 200 and length and not is_packed(response) and int(length) != size_bytes:
        raise _other_size(int(length), size_bytes)


def is_packed(response: Any) -> bool:
    """Whether the body is compressed although we ask for it as it is."""
    return response.headers.get("Content-Encoding", "identity").strip().lower() not in ("", "identity")


def is_web_page(content_type: str, head: bytes) -> bool:
    """Whether what came is a page for a browser, such as a network's login."""
    kind = content_type.partition(";")[0].strip().lower()
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    return kind in ("text/html", "application/xhtml+xml") or start.startswith(_PAGE_STARTS)


def retry_after_s(value: str) -> float | None:
    """Seconds, from a number or a date (RFC 9110, 10.2.3), at most LONGEST_WAIT_S; None for anything else."""
    if re.fullmatch(r"[0-9]+", value.strip()):
        return min(float(value), LONGEST_WAIT_S)
    try:
        left_s = (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds()
    except (TypeError, ValueError, OverflowError):
        return None
    return min(max(left_s, 0.0), LONGEST_WAIT_S)


def _other_size(there_bytes: int, listed_bytes: int) -> RetryError:
    there, listed = size(there_bytes), size(listed_bytes)
    if there == listed:
        there, listed = f"{there_bytes:,} B", f"{listed_bytes:,} B"
    return RetryError(f"the server's file has {there}, not the {listed} of the hub's list", other=True)
