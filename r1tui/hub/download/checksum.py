"""Checksums of files."""

import hashlib
from collections.abc import Callable
from pathlib import Path

CHUNK_BYTES = 4 << 20


def sha256_with_progress(path: Path, progress: Callable[[int], None]) -> str:
    """The file's sha256; `progress` is told the bytes read so far."""
    digest = hashlib.sha256()
    done = 0
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
            done += len(chunk)
            progress(done)
    return digest.hexdigest()
