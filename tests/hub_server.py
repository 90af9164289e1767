"""A small hub on loopback that the real huggingface_hub client talks to: listings, LFS metadata, ranges, refusals."""

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Repository:
    """Files by path, and how the hub refuses them."""

    files: dict[str, bytes]
    refusal: tuple[int, str] | None = None
    """Status and X-Error-Code for every request."""
    served: dict[str, bytes] = field(default_factory=dict)
    """What is sent in the place of a file's bytes."""


@dataclass
class Hub:
    """The running server: its repositories may be changed at any time."""

    repositories: dict[str, Repository] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    """`METHOD PATH` of each request."""
    url: str = ""
    sending: Event = field(default_factory=Event)
    """Set when the first piece of a file has been sent."""
    go_on: Event | None = None
    """Where given, a file's second half waits for it."""

    def fetched(self) -> list[str]:
        """The files whose bytes were asked for."""
        return [line.rpartition("/")[2] for line in self.requests if line.startswith("GET") and "/resolve/" in line]


@contextmanager
def running_hub() -> Iterator[Hub]:
    """A hub for the block."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield hub
    finally:
        if hub.go_on is not None:
            hub.go_on.set()
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  http.server's name
        pass

    def _answer(self, *, with_body: bool) -> None:
        self.hub.requests.append(f"{self.command} {self.path}")
        path = self.path.partition("?")[0]
        info = re.fullmatch(r"/api/models/([^/]+/[^/]+?)(?:/(revision|tree)/([^/]+))?", path)
        file = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        name, revision = (info[1], info[3]) if info else (file[1], file[2]) if file else ("", "")
        repository = self.hub.repositories.get(name)
        if repository is None:
            self._refuse(404, "RepoNotFound")
        elif repository.refusal:
            self._refuse(*repository.refusal)
        elif revision not in (None, "main", COMMIT):
            self._refuse(404, "RevisionNotFound")
        elif info and info[2] == "tree":
            self._json([_entry(path, data) for path, data in repository.files.items()])
        elif info:
            self._json({"id": name, "sha": COMMIT, "siblings": []})
        elif file and file[3] in repository.files:
            self._file(repository, file[3], with_body=with_body)
        else:
            self._refuse(404, "EntryNotFound")

    def _refuse(self, status: int, code: str) -> None:
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("X-Error-Message", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _json(self, body: Any) -> None:
        raw = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def _file(self, repository: Repository, path: str, *, with_body: bool) -> None:
        true = repository.files[path]
        data = repository.served.get(path, true)
        start = int(match[1]) if (match := re.match(r"bytes=(\d+)-", self.headers.get("Range", ""))) else 0
        self.send_response(206 if start else 200)
        for key, value in {
            "ETag": f'"{hashlib.sha256(true).hexdigest()}"',
            "X-Repo-Commit": COMMIT,
            "X-Linked-Size": str(len(true)),
            "X-Linked-ETag": f'"{hashlib.sha256(true).hexdigest()}"',
            "Accept-Ranges": "bytes",
            "Content-Length": str(len(data) - start),
            "Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}",
        }.items():
            self.send_header(key, value)
        self.end_headers()
        if with_body:
            middle = max(start, len(data) // 2)
            self.wfile.write(data[start:middle])
            self.wfile.flush()
            self.hub.sending.set()
            if self.hub.go_on is not None:
                self.hub.go_on.wait()
            self.wfile.write(data[middle:])


def _entry(path: str, data: bytes) -> dict[str, Any]:
    oid = hashlib.sha256(data).hexdigest()
    return {
        "type": "file", "path": path, "size": len(data), "oid": oid[:40],
        "lfs": {"oid": oid, "size": len(data), "pointerSize": 134},
    }  # fmt: skip
