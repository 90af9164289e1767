"""A small hub on loopback that the real huggingface_hub client and our transfer talk to.

Listings with LFS metadata, ranges, redirects to signed addresses on a server of its own as of a CDN, refusals, and
faults that are switched on one by one.
"""

import hashlib
import json
import os
import re
import secrets
import socket
import struct
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Lock, Thread
from time import sleep
from typing import Any
from urllib.parse import unquote

from tests.hub_habits import Answer, Habit

REPO = "acme/Tiny-R1-GGUF"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
LATER = "89abcdef0123456789abcdef0123456789abcdef"
PIECE_BYTES = 1 << 18
SIGNATURE = "X-Amz-Signature"


@dataclass
class Repository:
    """Files by path, as bytes or a file on disk, and how the hub refuses them."""

    files: dict[str, Any]
    refusal: tuple[int, str] | None = None
    """Status and X-Error-Code for every request."""
    served: dict[str, bytes] = field(default_factory=dict)
    """What is sent in the place of a file's bytes."""
    commit: str = COMMIT
    older: dict[str, dict[str, Any]] = field(default_factory=dict)
    """The files of earlier revisions that are still served."""
    sha256: dict[str, str] = field(default_factory=dict)
    """Where a file is too large to be hashed here; empty: the hub keeps it in git and says none."""

    def revision(self, name: str | None) -> dict[str, Any] | None:
        """The files of a revision; None for an unknown one."""
        return self.files if name in (None, "main", self.commit) else self.older.get(name or "")

    def commit_of(self, _: str | None) -> str:
        """The commit that a revision is."""
        return self.commit

    def upload(self, files: dict[str, Any], *, keep: bool) -> None:
        """Other files in a new revision; `keep` says whether the old one is still served."""
        self.older = {self.commit: self.files} if keep else {}
        self.files, self.commit = files, LATER


@dataclass
class Faults:
    """What goes wrong with the bytes of files. A number of times is counted down, None is always."""

    redirect: bool = False
    """Files come from the other server, by a signed address."""
    expires_after: int | None = None
    """Requests that a signed address is good for."""
    ignore_range: bool = False
    drop_after_bytes: int | None = None
    """Every body is cut here."""
    stall_after_bytes: int = 0
    stalls: int = 0
    """Bodies that stop there and say nothing more."""
    refusals: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    """Statuses and headers of the next answers."""
    wrong: int = 0
    """Bodies with one wrong bit."""
    bytes_per_s: float | None = None

    def named(self) -> str:
        """What differs from a hub without faults, as a test's name."""
        usual = vars(Faults())
        return " ".join(f"{key}={value}" for key, value in vars(self).items() if value != usual[key]) or "none"


@dataclass
class Hub:
    """The running servers: repositories and faults may be changed at any time."""

    repositories: dict[str, Repository] = field(default_factory=dict)
    faults: Faults = field(default_factory=Faults)
    requests: list[str] = field(default_factory=list)
    """`METHOD PATH` of each request to the hub itself."""
    authorised: set[str] = field(default_factory=set)
    """The servers (`hub`, `cdn`) that were shown a token."""
    asked: Counter[str] = field(default_factory=Counter)
    """Bytes of each file that were asked for."""
    sent: Counter[str] = field(default_factory=Counter)
    """Bytes of each file that went out."""
    file_habit: Habit | None = None
    """What happens to each answer with a file's bytes; `habitual` times."""
    list_habit: Habit | None = None
    """What happens to each answer with JSON."""
    habitual: int | None = None
    """How many answers are still changed by a habit; None: all."""
    limit_bytes: int | None = None
    """Once so many have gone out, nothing more does until this changes."""
    url: str = ""
    base: str = ""
    """The path of its host that all of it lies below."""
    cdn_url: str = ""
    sending: Event = field(default_factory=Event)
    """Set when the first piece of a file has been sent."""
    go_on: Event | None = None
    """Where given, a body's second half waits for it."""
    held: str = ""
    """The only file whose bodies do; else all."""
    signatures: dict[str, int] = field(default_factory=dict)
    """Signed addresses and how often each was used."""
    closing: Event = field(default_factory=Event)
    lock: Lock = field(default_factory=Lock)

    def fetched(self) -> list[str]:
        """The files whose bytes were asked for."""
        return [line.rpartition("/")[2] for line in self.requests if line.startswith("GET") and "/resolve/" in line]

    def played(self, habit: Habit | None, right: Answer) -> Answer | None:
        """What a habit makes of the right answer; None when there is none (any more)."""
        with self.lock:
            if habit is None or self.habitual == 0:
                return None
            if self.habitual:
                self.habitual -= 1
        return habit(right)

    def take(self, fault: str) -> bool:
        """Whether a fault that is counted down strikes now."""
        with self.lock:
            left = getattr(self.faults, fault)
            if left:
                setattr(self.faults, fault, left - 1)
            return bool(left)


@contextmanager
def running_hub() -> Iterator[Hub]:
    """A hub and its CDN for the block."""
    hub = Hub()
    with ExitStack() as stack:
        hub.url = stack.enter_context(_server("hub", hub))
        hub.cdn_url = stack.enter_context(_server("cdn", hub))
        try:
            yield hub
        finally:
            hub.closing.set()
            if hub.go_on is not None:
                hub.go_on.set()


@contextmanager
def _server(name: str, hub: Hub) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub, "name": name}))
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    name: str
    protocol_version = "HTTP/1.1"

    def handle(self) -> None:
        """Clients are killed: that is nothing to tell."""
        with suppress(ConnectionError):
            super().handle()

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  http.server's name
        pass

    def _answer(self, *, with_body: bool) -> None:
        if self.headers.get("Authorization"):
            self.hub.authorised.add(self.name)
        if self.name == "cdn":
            self._signed()
            return
        asked = re.sub("^http://[^/]+", "", self.path)  # whole, when we are asked as a proxy
        self.hub.requests.append(f"{self.command} {asked}")
        path = asked.partition("?")[0]
        below, path = path.startswith(f"{self.hub.base}/"), path.removeprefix(self.hub.base)
        info = re.fullmatch(r"/api/models/([^/]+/[^/]+?)(?:/(revision|tree)/([^/]+))?", path)
        file = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        name, revision = (info[1], info[3]) if info else (file[1], file[2]) if file else ("", "")
        revision, wanted = revision and unquote(revision), unquote(file[3]) if file else ""
        repository = self.hub.repositories.get(name)
        files = repository.revision(revision) if repository else None
        if repository is None or not below:
            self._refuse(404, "RepoNotFound")
        elif repository.refusal:
            self._refuse(*repository.refusal)
        elif files is None:
            self._refuse(404, "RevisionNotFound")
        elif info and info[2] == "tree":
            self._json([_entry(path, data, repository.sha256.get(path)) for path, data in files.items()])
        elif info:
            self._json({"id": name, "sha": repository.commit_of(revision), "siblings": []})
        elif wanted in files:
            self._file(name, revision, wanted, with_body=with_body)
        else:
            self._refuse(404, "EntryNotFound")

    def _refuse(self, status: int, code: str = "", headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for key, value in {"X-Error-Code": code, "X-Error-Message": code, **(headers or {})}.items():
            self.send_header(key, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _json(self, body: Any) -> None:
        raw = json.dumps(body).encode()
        right = Answer(200, {"Content-Type": "application/json"}, raw, url=f"{self.hub.url}{self.path}")
        if (answer := self.hub.played(self.hub.list_habit, right)) is not None:
            self._send(answer)
            return
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def _file(self, name: str, revision: str, path: str, *, with_body: bool) -> None:
        """A file's bytes, or the way to them."""
        if not self.hub.faults.redirect:
            self._content(name, revision, path, with_body=with_body)
            return
        signature = secrets.token_hex(8)
        self.hub.signatures[signature] = 0
        place = f"{self.hub.cdn_url}/{name}/{revision}/{path}?{SIGNATURE}={signature}"
        self._refuse(302, headers={"Location": place})

    def _signed(self) -> None:
        """The other server: whoever has an address that is still good gets what it is for."""
        path, _, query = self.path.partition("?")
        signature = query.removeprefix(f"{SIGNATURE}=")
        with self.hub.lock:
            used = self.hub.signatures.get(signature)
            if used is not None:
                self.hub.signatures[signature] = used + 1
        if used is None or (self.hub.faults.expires_after is not None and used >= self.hub.faults.expires_after):
            self._refuse(403)
            return
        owner, repo, revision, file = path.removeprefix("/").split("/", 3)
        self._content(f"{owner}/{repo}", revision, file, with_body=self.command == "GET")

    def _content(self, name: str, revision: str, path: str, *, with_body: bool) -> None:
        faults = self.hub.faults
        with self.hub.lock:
            refusal = faults.refusals.pop(0) if faults.refusals else None
        if refusal:
            self._refuse(refusal[0], headers=refusal[1])
            return
        repository = self.hub.repositories[name]
        true = (repository.revision(revision) or {})[path]
        data = repository.served.get(path, true)
        size = _size(data)
        asked = re.match(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        status, start, stop, headers = 200, 0, size, dict[str, str]()
        if asked and not faults.ignore_range:
            status, start, stop = 206, int(asked[1]), min(int(asked[2] or size) + 1, size)
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
        digest = repository.sha256[path] if path in repository.sha256 else _sha256(true)
        headers |= {
            "ETag": f'"{digest}"', "X-Repo-Commit": repository.commit, "X-Linked-Size": str(_size(true)),
            "X-Linked-ETag": f'"{digest}"', "Accept-Ranges": "bytes", "Content-Length": str(stop - start),
        }  # fmt: skip
        if self.hub.file_habit is not None and with_body:
            right = Answer(status, headers, data[start:stop], url=f"{self.hub.url}{self.path}")
            if (answer := self.hub.played(self.hub.file_habit, right)) is not None:
                self._send(answer)
                return
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.end_headers()
        if with_body:
            with self.hub.lock:
                self.hub.asked[path] += stop - start
            self._body(path, data, start, stop)

    def _send(self, answer: Answer) -> None:
        """An answer as its habit wants it."""
        if answer.silent_after is not None and answer.silent_after < 0:
            self.hub.closing.wait()
            self.close_connection = True
            return
        bare = answer.status < 200 or answer.status in (204, 304)
        self.send_response(answer.status)
        for key, value in answer.headers.items():
            self.send_header(key, value)
        if answer.framing == "length" and "Content-Length" not in answer.headers and not bare:
            self.send_header("Content-Length", str(len(answer.body)))
        if answer.framing == "chunked":
            self.send_header("Transfer-Encoding", "chunked")
        self.close_connection |= answer.framing == "close" or answer.cut is not None
        self.end_headers()
        stop = min(edge for edge in (answer.cut, answer.silent_after, len(answer.body)) if edge is not None)
        for at in range(0, stop, answer.piece_bytes):
            piece = answer.body[at : min(at + answer.piece_bytes, stop)]
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece) if answer.framing == "chunked" else piece)
            if answer.pause_s:
                sleep(answer.pause_s)
        if answer.silent_after is not None:
            self.hub.closing.wait()
            self.close_connection = True
        elif answer.cut is not None:  # a reset, not an orderly end
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif answer.framing == "chunked":
            self.wfile.write(b"0\r\n\r\n")

    def _body(self, path: str, data: Any, start: int, stop: int) -> None:
        faults, hub = self.hub.faults, self.hub
        middle = (start + stop) // 2
        wrong = middle if hub.take("wrong") else None
        stall = start + faults.stall_after_bytes if hub.take("stalls") else None
        drop = start + faults.drop_after_bytes if faults.drop_after_bytes is not None else None
        at = start
        with ExitStack() as stack:
            file = stack.enter_context(data.open("rb")) if isinstance(data, Path) else None
            while at < stop:
                while hub.limit_bytes is not None and hub.sent.total() >= hub.limit_bytes and not hub.closing.is_set():
                    sleep(0.005)
                edges = [edge for edge in (middle, stall, drop, wrong) if edge is not None and edge > at]
                end = min([at + (PIECE_BYTES if file is None else 4 * PIECE_BYTES), stop, *edges])
                if file is not None:
                    end = at + os.sendfile(self.connection.fileno(), file.fileno(), at, end - at)
                else:
                    piece = bytearray(data[at:end])
                    if at == wrong:
                        piece[0] ^= 1
                    self.wfile.write(piece)
                with hub.lock:
                    hub.sent[path] += end - at
                if faults.bytes_per_s:
                    sleep((end - at) / faults.bytes_per_s)
                at = end
                hub.sending.set()
                if at == middle and hub.go_on is not None and hub.held in ("", path):
                    hub.go_on.wait()
                if at == stall:
                    hub.closing.wait()
                if at in (stall, drop) or hub.closing.is_set():
                    self.close_connection = True
                    return


def _size(data: Any) -> int:
    return data.stat().st_size if isinstance(data, Path) else len(data)


@cache
def _sha256(data: Any) -> str:
    if not isinstance(data, Path):
        return hashlib.sha256(data).hexdigest()
    with data.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _entry(path: str, data: Any, sha256: str | None) -> dict[str, Any]:
    oid = _sha256(data) if sha256 is None else sha256
    entry = {"type": "file", "path": path, "size": _size(data), "oid": oid[:40]}
    return entry | ({"lfs": {"oid": oid, "size": _size(data), "pointerSize": 134}} if oid else {})
