"""Where a llama-server listens: `unix:/path/x.sock` or `http://HOST:PORT`."""

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from r1tui.errors import UsageError

_REMEDY = "Use http://HOST:PORT or unix:/path/server.sock."


@dataclass(frozen=True)
class Endpoint:
    """An address of a llama-server; `socket` is None for TCP."""

    base_url: str
    socket: Path | None = None

    def __str__(self) -> str:
        return f"unix:{self.socket}" if self.socket else self.base_url

    @classmethod
    def parse(cls, text: str) -> "Endpoint":
        """The endpoint that the text names; raises UsageError when it names none."""
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
        if parts.scheme not in ("http", "https") or not parts.hostname or not port_is_fine:
            raise UsageError(f"{text!r} is not an address.", _REMEDY)
        return cls(text.rstrip("/").removesuffix("/v1"))
