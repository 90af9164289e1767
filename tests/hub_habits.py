"""What a hub, a mirror, a proxy or a network in between may make of a right answer: one line for each habit.

A habit takes the right answer and gives the one that is sent. A report of a new one becomes one line more, in FILES for
a model's bytes or in LISTS for the hub's JSON, with what r1tui has to say of it; "" for one that it has to live with.
"""

import gzip
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

PAGE = b"\n<!DOCTYPE html><html><head><title>Welcome to the airport</title></head><body>Log in here.</body></html>"
ELSEWHERE = b"Please log in to the network first, and do not forget to accept its rules."
SOME = 1_500_000
"""Bytes of a body that is cut."""
Framing = Literal["length", "chunked", "close"]


@dataclass(frozen=True)
class Answer:
    """An HTTP answer, before it is sent."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    framing: Framing = "length"
    """How its end is told; with `length` a Content-Length among the headers goes before the true one."""
    cut: int | None = None
    """The connection ends rudely when so many bytes of the body are out."""
    silent_after: int | None = None
    """Nothing more comes when so many bytes of the body are out; below 0 not even the headers."""
    piece_bytes: int = 1 << 18
    pause_s: float = 0.0
    """After each piece."""
    url: str = ""
    """What was asked for."""

    def but(self, **headers: str) -> "Answer":
        """The same with other headers; `_` stands for `-`."""
        return replace(self, headers={**self.headers, **{key.replace("_", "-"): text for key, text in headers.items()}})

    def without(self, *names: str) -> "Answer":
        """The same without some headers."""
        return replace(self, headers={key: text for key, text in self.headers.items() if key not in names})


Habit = Callable[[Answer], Answer]


def page(framing: Framing = "close", kind: str = "text/html; charset=utf-8", status: int = 200) -> Habit:
    """A login page in the place of whatever was asked for."""
    return lambda _: Answer(status, {"Content-Type": kind} if kind else {}, PAGE, framing)


def text(body: bytes, framing: Framing = "close") -> Habit:
    """Something else in its place."""
    return lambda _: Answer(200, {"Content-Type": "text/plain"}, body, framing)


def empty(framing: Framing = "length") -> Habit:
    """The right headers and no body."""
    return lambda right: replace(right.without("Content-Length"), body=b"", framing=framing)


def status(number: int, **headers: str) -> Habit:
    """Nothing but a status."""
    return lambda _: Answer(number).but(**headers)


def ranged(total: int = 0, shift: int = 0, most: int | None = None) -> Habit:
    """A Content-Range that is not the one that was asked for."""

    def play(right: Answer) -> Answer:
        if right.status != 206:
            return right
        start = int(right.headers["Content-Range"].split()[1].partition("-")[0])
        size = int(right.headers["Content-Range"].rpartition("/")[2])
        body = right.body[:most]
        said = f"bytes {start + shift}-{start + shift + len(body) - 1}/{size + total}"
        return replace(right, body=body).but(Content_Range=said, Content_Length=str(len(body)))

    return play


def packed(right: Answer) -> Answer:
    """Compressed although nobody asked for it."""
    return replace(right.without("Content-Length"), body=gzip.compress(right.body, 0)).but(Content_Encoding="gzip")


def other_each_time(right: Answer) -> Answer:
    """Another version of the file each time, by its ETag and by its bytes."""
    other_each_time.times += 1  # type: ignore[attr-defined]
    times = other_each_time.times  # type: ignore[attr-defined]
    body = right.body[:-1] + bytes([times % 256])
    return replace(right, body=body).but(ETag=f'"version {times}"')


other_each_time.times = 0  # type: ignore[attr-defined]

PORTAL = "captive portal or proxy"
FILES: dict[str, tuple[Habit, str]] = {
    "a page, without length": (page(), PORTAL),
    "a page, with length": (page("length"), PORTAL),
    "a page, in chunks": (page("chunked"), PORTAL),
    "a page of no type": (page(kind=""), PORTAL),
    "a page called octet-stream": (page(kind="application/octet-stream"), PORTAL),
    "a page, compressed": (lambda right: packed(page("close")(right)), PORTAL),
    "a page with 511": (page(status=511), PORTAL),
    "a page with 203": (page(status=203), "answered 203"),
    "a text, without length": (text(ELSEWHERE), "something else instead of the file"),
    "a text, with length": (text(ELSEWHERE, "length"), "something else instead of the file"),
    "JSON in its place": (text(b'{"error": "quota exceeded"}'), "something else instead of the file"),
    "two bytes in its place": (text(b"GG"), "the answer ended early"),
    "an empty 206": (empty(), "the answer ended early"),
    "an empty 206, in chunks": (empty("chunked"), "the answer ended early"),
    "an empty 206, closed": (empty("close"), "the answer ended early"),
    "an empty 200": (lambda _: Answer(200, framing="close"), "the answer ended early"),
    "an empty 200 with length 0": (lambda _: Answer(200), "the answer ended early"),
    "204": (status(204), "answered 204"),
    "304": (status(304), "answered 304"),
    "300": (status(300), "answered 300"),
    "416": (status(416, Content_Range="bytes */1"), "shorter than the requested range"),
    "407": (status(407), "the proxy asks for a name and password"),
    "451": (status(451), "answered 451"),
    "a redirect to itself": (lambda right: Answer(302).but(Location=right.url), "too many redirects"),
    "a redirect to nowhere": (status(302), "answered 302"),
    "a redirect to a file": (status(302, Location="file:///etc/passwd"), "could not be downloaded"),
    "a redirect to nonsense": (status(302, Location="http://[::"), "could not be downloaded"),
    "another total": (ranged(total=7), "but the hub's list says"),
    "a smaller total": (ranged(total=-7), "but the hub's list says"),
    "a different range": (ranged(shift=1), "a different range"),
    "no Content-Range": (lambda right: right.without("Content-Range"), "a different range"),
    "a Content-Range of words": (lambda right: right.but(Content_Range="bytes some-more/all"), "a different range"),
    "a Content-Range of 5,000 digits": (lambda right: right.but(Content_Range=f"bytes {'1' * 5000}-2/3"), "different"),
    "ranges in several parts": (
        lambda right: right.without("Content-Range").but(Content_Type="multipart/byteranges; boundary=x"),
        "a different range",
    ),
    "an unknown total": (
        lambda right: right.but(Content_Range=right.headers["Content-Range"].partition("/")[0] + "/*"), ""
    ),
    "ranges of 1 MB at most": (ranged(most=1_000_000), ""),
    "a body shorter than its length": (lambda right: replace(right, cut=SOME if len(right.body) > SOME else None), ""),
    "a body that is cut at once": (lambda right: replace(right, cut=0), "the connection was lost"),
    "a body longer than its length": (lambda right: replace(right.but(Content_Length=str(len(right.body))),
                                                            body=right.body + b"more"), ""),
    "a body longer than its range": (lambda right: replace(right.without("Content-Length"), body=right.body + b"more",
                                                           framing="close"), "more than requested"),
    "in chunks": (lambda right: replace(right.without("Content-Length"), framing="chunked"), ""),
    "without length": (lambda right: replace(right.without("Content-Length"), framing="close"), ""),
    "in chunks with a length too": (lambda right: replace(right, framing="chunked"), ""),
    "a compressed range": (packed, "compresses its answers"),
    "another version each time": (other_each_time, "arrived damaged 3 times"),
    "another ETag each time": (lambda right: right.but(ETag=f'"{id(object())}"'), ""),
    "silence": (lambda right: replace(right, silent_after=-1), "no data for"),
    "silence after the headers": (lambda right: replace(right, silent_after=0), "no data for"),
    "silence in the middle": (
        lambda right: replace(right, silent_after=SOME if len(right.body) > SOME else None), ""
    ),
    "a slow drip": (lambda right: replace(right, piece_bytes=20_000, pause_s=0.01), ""),
    "Retry-After 1e9": (status(503, Retry_After="1e9"), "No data of .* for"),
    "Retry-After 1000000000": (status(503, Retry_After="1000000000"), "No data of .* for"),
    "Retry-After -5": (status(429, Retry_After="-5"), "No data of .* for"),
    "Retry-After ²": (status(429, Retry_After="\xb2"), "No data of .* for"),
    "Retry-After a past date": (status(503, Retry_After="Wed, 21 Oct 2015 07:28:00 GMT"), "No data of .* for"),
    "Retry-After a far date": (status(503, Retry_After="Fri, 31 Dec 9999 23:59:59 GMT"), "No data of .* for"),
    "Retry-After a broken date": (status(503, Retry_After="Fri, 99 Foo 99999 99:99:99"), "No data of .* for"),
}  # fmt: skip
WHOLE: dict[str, tuple[Habit, str]] = {
    "whole": (lambda right: right, ""),
    "whole, in chunks": (lambda right: replace(right.without("Content-Length"), framing="chunked"), ""),
    "whole, compressed": (packed, ""),
    "whole, longer": (lambda right: replace(right.without("Content-Length"), body=right.body + b"x", framing="close"),
                      "more than requested"),
    "whole, with a longer length": (lambda right: replace(right.but(Content_Length=str(len(right.body) + 1)),
                                                          body=right.body + b"x"), "but the hub's list says"),
    "whole, shorter": (lambda right: replace(right.without("Content-Length"), body=right.body[:-1], framing="close"),
                       "the answer ended early"),
    "whole, cut at the same place": (lambda right: replace(right, cut=1_500_000), "the connection was lost"),
}  # fmt: skip
"""Of a server that ignores ranges."""
LISTS: dict[str, tuple[Habit, str]] = {
    "a page": (page(), PORTAL),
    "a page with length": (page("length"), PORTAL),
    "a page called JSON": (page(kind="application/json"), PORTAL),
    "a page with 511": (page(status=511), "needs a login"),
    "an empty answer": (lambda _: Answer(200), "not answer like a model hub: its answer is empty"),
    "a text": (text(ELSEWHERE), "not answer like a model hub"),
    "bytes": (text(b"\xff\xfe\x00"), "not answer like a model hub"),
    "null": (text(b"null"), "not answer like a model hub"),
    "a list of something else": (text(b'[{"name": 1}]'), "not answer like a model hub"),
    "a negative size": (text(b'[{"type": "file", "path": "x-Q8_0.gguf", "size": -1}]'), "not answer like a model hub"),
    "deep nesting": (text(b"[" * 100_000), "not answer like a model hub"),
    "compressed": (packed, ""),
    "broken compression": (lambda right: right.but(Content_Encoding="gzip"), "cannot be decompressed"),
    "in chunks": (lambda right: replace(right.without("Content-Length"), framing="chunked"), ""),
    "cut": (lambda right: replace(right, cut=len(right.body) // 2), "connection was lost"),
    "cut at once": (lambda right: replace(right, cut=0), "connection was lost"),
    "silence": (lambda right: replace(right, silent_after=-1), "no data for"),
    "silence in the middle": (lambda right: replace(right, silent_after=1), "no data for"),
    "a slow drip": (lambda right: replace(right, piece_bytes=20, pause_s=0.001), ""),
    "a redirect to itself": (lambda right: Answer(302).but(Location=right.url), "too many redirects"),
    "pages without end": (lambda right: right.but(Link=f'<{right.url}>; rel="next"'), "its list of files does not end"),
    "pages elsewhere": (
        lambda right: right.but(
            Link=f'<https://huggingface.co/api/{right.url.partition("/api/")[2]}&cursor=2>; rel="next"'
        ) if "/tree/" in right.url and "cursor" not in right.url else right,
        "",
    ),
    "204": (status(204), "its answer is empty"),
    "304": (status(304), "its answer is empty"),
    "407": (status(407), "the proxy asks for a name and password"),
    "407 with a page": (page(status=407), "the proxy asks for a name and password"),
    "429": (status(429, Retry_After="1000000000"), "too many requests"),
    "503": (status(503, Retry_After="1000000000"), "answered 503"),
}  # fmt: skip
"""Of the hub's JSON."""
