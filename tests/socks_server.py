"""A small SOCKS5 proxy on loopback (RFC 1928, 1929) that knows one host's name, which no other resolver knows."""

import select
import socket
import socketserver
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import pytest

HOST = "only-the-proxy-knows.example"
USER, PASSWORD = "someone", "QxZvSecret"


@dataclass
class SocksServer:
    """What was asked of it; `wants_password` makes it refuse whoever gives none."""

    port: int = 0
    asked: list[tuple[str, int]] = field(default_factory=list)
    """Each host, as a name or an address, with its port."""
    wants_password: bool = False


class _Handler(socketserver.BaseRequestHandler):
    socks: SocksServer

    def handle(self) -> None:
        with suppress(OSError, struct.error):
            self._serve()

    def _serve(self) -> None:
        _, count = self._read("!BB")
        offered = self.request.recv(count)
        method = 2 if self.socks.wants_password else 0
        if method not in offered:
            self.request.sendall(b"\x05\xff")
            return
        self.request.sendall(bytes((5, method)))
        if method == 2 and not self._knows_password():
            return
        _, _, _, kind = self._read("!BBBB")
        if kind == 3:
            (length,) = self._read("!B")
            host = self.request.recv(length).decode()
        else:
            host = socket.inet_ntop(*((socket.AF_INET, self.request.recv(4)) if kind == 1 else
                                      (socket.AF_INET6, self.request.recv(16))))  # fmt: skip
        (port,) = self._read("!H")
        self.socks.asked.append((host, port))
        target = "127.0.0.1" if host == HOST else host
        try:
            far = socket.create_connection((target, port), timeout=60)
        except OSError:
            self.request.sendall(b"\x05\x05\x00\x01" + bytes(6))
            return
        self.request.sendall(b"\x05\x00\x00\x01" + bytes(6))
        with far:
            _relay(self.request, far)

    def _knows_password(self) -> bool:
        _, length = self._read("!BB")
        user = self.request.recv(length).decode()
        (length,) = self._read("!B")
        right = (user, self.request.recv(length).decode()) == (USER, PASSWORD)
        self.request.sendall(bytes((1, 0 if right else 1)))
        return right

    def _read(self, form: str) -> tuple[int, ...]:
        return struct.unpack(form, self.request.recv(struct.calcsize(form), socket.MSG_WAITALL))


def _relay(near: socket.socket, far: socket.socket) -> None:
    while True:
        for one in select.select([near, far], [], [])[0]:
            data = one.recv(1 << 16)
            if not data:
                return
            (far if one is near else near).sendall(data)


@contextmanager
def socks_server(*, wants_password: bool = False) -> Iterator[SocksServer]:
    """A proxy for the block."""
    socks = SocksServer(wants_password=wants_password)
    handler = type("Handler", (_Handler,), {"socks": socks})
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        socks.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield socks
        finally:
            server.shutdown()
            thread.join()


def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take every proxy out of the environment of this process and its children."""
    for scheme in ("http", "https", "all", "no"):
        for name in (f"{scheme}_proxy", f"{scheme}_proxy".upper()):
            monkeypatch.delenv(name, raising=False)
