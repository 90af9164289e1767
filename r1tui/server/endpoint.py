"""Where a server listens: `unix:/path/x.sock` or `http://HOST:PORT`."""

import ipaddress
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from r1tui.errors import UsageError

_REMEDY = "Use http://HOST:PORT or unix:/path/server.sock."
_API_PATH = re.compile(r"(?:/v1)?(?:/(?:chat/completions|completions|models|health|props))?/*$")
"""What people copy along with an address."""
_EVERY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104  what servers print; nobody can be called so


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
        """The host's name, or its address."""
        return urlsplit(self.base_url).hostname or ""

    @property
    def is_loopback(self) -> bool:
        """Whether it is on this machine, so that no proxy lies in between."""
        if self.socket is not None or self.host == "localhost" or self.host.endswith(".localhost"):
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @classmethod
    def parse(cls, text: str) -> "Endpoint":
        """The endpoint that the text names; raises UsageError when it names none."""
        if not text.isprintable():
            raise UsageError(f"{text!r} is not an address.", _REMEDY)
        if text.startswith("unix:"):
            path = text.removeprefix("unix:").removeprefix("//")
            if not path.startswith("/"):
                raise UsageError(f"{text!r} is not the full path of a socket.", _REMEDY)
            return cls("http://llama-server", Path(path))
        try:
            parts = urlsplit(text)
            port_is_fine = parts.port is None or parts.port > 0
        except ValueError:
            raise UsageError(f"{text!r} is not an address.", _REMEDY) from None
        host = parts.hostname
        if parts.scheme not in ("http", "https") or not host or not port_is_fine or re.search(r"\s", parts.netloc):
            raise UsageError(f"{text!r} is not an address.", _REMEDY)
        netloc = parts.netloc
        if host in _EVERY_ADDRESS:
            shown = f"[{host}]" if ":" in host else host
            before, at, address = netloc.rpartition("@")
            netloc = before + at + address.replace(shown, _EVERY_ADDRESS[host], 1)
        return cls(f"{parts.scheme}://{netloc}{_API_PATH.sub('', parts.path)}")
