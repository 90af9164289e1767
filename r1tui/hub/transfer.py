"""The bytes of one file from the hub to this disk."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from r1tui.hub.remote import Listing, RemoteFile, explained, hub_api


def fetch_file(listing: Listing, file: RemoteFile, folder: Path, progress: Callable[[int], None]) -> Path:
    """Fetch one file into `folder`, under its path in the repository; it stands there only when it is whole.

    `progress` is told this file's bytes so far. A file that an earlier run finished is not fetched again. Raises
    R1tuiError.
    """
    with explained(listing.repo):
        fetched = hub_api().hf_hub_download(
            listing.repo,
            file.path,
            revision=listing.revision,
            local_dir=folder,
            tqdm_class=_bar(progress),
        )
    return Path(fetched)


def remove_leftovers(folder: Path) -> None:
    """Delete what killed runs left of unfinished files: huggingface_hub does not continue them."""
    for path in folder.glob(".cache/huggingface/download/**/*.incomplete"):
        path.unlink(missing_ok=True)


def _bar(progress: Callable[[int], None]) -> Any:
    """A class in the place of huggingface_hub's progress bar that draws nothing and counts."""

    class Bar:
        def __init__(self, *_: object, initial: float = 0, **__: object) -> None:
            self.n = int(initial)

        def update(self, n: float | None = 1) -> None:
            self.n += int(n or 0)
            progress(self.n)

        def __enter__(self) -> Self:
            return self

        def __exit__(self, *_: object) -> None:
            return

        def __getattr__(self, name: str) -> Callable[..., None]:
            return lambda *_, **__: None

    return Bar
