"""Where a server listens: `unix:/path/x.sock` or `http://HOST:PORT`."""

import ipaddress
import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from r1tui.errors import UsageError
from r1tui.system.paths import SOCKET_PATH_BYTES

_REMEDY = "Use http://HOST:PORT or unix:/path/server.sock."
_API_PATH = re.compile(
    r"(?:/api/(?:chat|generate|tags)"
    r"|(?:/v1)*(?:/(?:chat|chat/completions|completions|embeddings|messages|responses|models|health|props|slots))?)/?$",
    re.IGNORECASE,
)
"""Paths that people copy along with an address."""
_USER = re.compile(r"(?<=://).*@")


@dataclass(frozen=True)
class Endpoint:
    """An address of a server; `socket` is None for TCP."""

    base_url: str
    socket: Path | None = None

    def __str__(self) -> str:
        """The address as it may be shown: without a name or password."""
        if self.socket:
            return f"unix:{self.socket}"
        parts = urlsplit(self.base_url)
        return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()

    @property
    def host(self) -> str:
        return urlsplit(self.base_url).hostname or ""

    @property
    def is_loopback(self) -> bool:
        """True if it is on this machine, so that no proxy lies in between."""
        name = self.host.removesuffix(".")
        if self.socket is not None or name == "localhost" or name.endswith(".localhost"):
            return True
        address = _address(self.host)
        mapped = getattr(address, "ipv4_mapped", None)
        return address is not None and (mapped or address).is_loopback

    @property
    def speaks_plain(self) -> bool:
        """True if it is asked without TLS and without a proxy."""
        return self.is_loopback and self.base_url.startswith("http:")

    @classmethod
    def parse(cls, text: str) -> "Endpoint":
        """The endpoint that the text names; raises UsageError when it names none."""
        text = text.strip()
        wrong = UsageError(f"{_USER.sub('', text)!r} is not an address.", _REMEDY)
        if not text.isprintable():
            raise wrong
        if text.startswith("unix:"):
            path = text.removeprefix("unix:").removeprefix("//")
            if not path.startswith("/"):
                raise UsageError(f"{text!r} is not the full path of a socket.", _REMEDY)
            if len(os.fsencode(path)) >= SOCKET_PATH_BYTES:
                cause = (
                    f"A socket's path has at most {SOCKET_PATH_BYTES - 1} bytes; this one has {len(os.fsencode(path))}."
                )
                raise UsageError(cause, "Make a shorter link to its folder.")
            return cls("http://llama-server", Path(path))
        try:
            parts = urlsplit(text)
            port_is_fine = parts.port is None or parts.port > 0
        except ValueError:
            raise wrong from None
        host = parts.hostname
        if parts.scheme not in ("http", "https") or not host or not port_is_fine or re.search(r"\s", parts.netloc):
            raise wrong
        netloc = re.sub(r"%25(?=[^\]@]+\])", "%", parts.netloc)  # before an IPv6 address's zone, as RFC 6874 has it
        address = _address(host)
        if address is not None and address.is_unspecified:  # what servers print; nobody can be called so
            user, at, shown = netloc.rpartition("@")
            here = "[::1]" if address.version == 6 else "127.0.0.1"
            netloc = user + at + here + shown[len(f"[{host}]" if address.version == 6 else host) :]
        path = _API_PATH.sub("", re.sub("/+", "/", parts.path), count=1)
        return cls(f"{parts.scheme}://{netloc}{path}")


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address("0.0.0.0" if host == "0" else host)  # noqa: S104  as the system reads it
    except ValueError:
        return None
