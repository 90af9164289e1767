"""What the hub says: the files of a model in one revision, and its refusals in words."""

import errno
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from r1tui.catalog import Variant
from r1tui.errors import R1tuiError
from r1tui.hub.names import choose, models

TRUE = frozenset({"1", "true", "yes", "on"})


@dataclass(frozen=True)
class RemoteFile:
    """A file of a repository; `sha256` is None for small files that the hub keeps in git."""

    path: str
    size_bytes: int
    sha256: str | None


@dataclass(frozen=True)
class Listing:
    """A model's files in one pinned revision."""

    repo: str
    revision: str
    files: tuple[RemoteFile, ...]

    @property
    def size_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files)


def is_offline() -> bool:
    """Whether the user forbade the hub."""
    return os.environ.get("HF_HUB_OFFLINE", "").lower() in TRUE


def hub_api() -> Any:
    """huggingface_hub's client for the endpoint of now; the token is its own affair."""
    from huggingface_hub import HfApi  # noqa: PLC0415  half a second

    # its warnings name signed URLs, and what failed is told by our errors
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    return HfApi(endpoint=os.environ.get("HF_ENDPOINT") or None)


def check_online(variant: Variant) -> None:
    """Raise R1tuiError when the user forbade the hub."""
    if is_offline():
        raise R1tuiError(f"{variant.name} is not on this machine, and HF_HUB_OFFLINE forbids to fetch it.", "Unset it.")


def list_files(variant: Variant) -> Listing:
    """The variant's files as the hub has them now; raises R1tuiError for all that can go wrong with that."""
    repo, pattern = variant.repo or "", variant.pattern or ""
    check_online(variant)
    with explained(repo):
        from huggingface_hub.hf_api import RepoFile  # noqa: PLC0415

        api = hub_api()
        revision = str(api.model_info(repo, revision=variant.revision).sha)
        entries = [
            entry
            for entry in api.list_repo_tree(repo, recursive=True, revision=revision)
            if isinstance(entry, RepoFile)
        ]
    chosen = set(choose([entry.path for entry in entries], repo, pattern))
    if not chosen:
        raise _no_such_file(repo, pattern, [entry.path for entry in entries])
    return Listing(
        repo,
        revision,
        tuple(
            RemoteFile(entry.path, entry.lfs.size if entry.lfs else entry.size, entry.lfs.sha256 if entry.lfs else None)
            for entry in sorted(entries, key=lambda entry: str(entry.path))
            if entry.path in chosen
        ),
    )


def _no_such_file(repo: str, pattern: str, paths: list[str]) -> R1tuiError:
    matching = models(paths, pattern)
    if len(matching) > 1:
        return R1tuiError(
            f"{repo} has several models for {pattern}: {', '.join(sorted(matching)[:6])}.", "Name one of them whole."
        )
    present = sorted(models(paths, "*"))
    if not present:
        return R1tuiError(f"{repo} has no GGUF files.", "Look for the repository whose name ends in -GGUF.")
    by_name = {path.rpartition("/")[2].casefold(): path.rpartition("/")[2] for path in present}
    near = get_close_matches(pattern.strip("*-").casefold(), by_name, n=4, cutoff=0.2) or list(by_name)[:4]
    return R1tuiError(f"{repo} has no file for {pattern}.", f"It has {', '.join(by_name[name] for name in near)}.")


@contextmanager
def explained(repo: str) -> Iterator[None]:
    """Turn what huggingface_hub raises in the block into R1tuiError with a remedy."""
    import httpx2  # noqa: PLC0415
    from huggingface_hub import errors  # noqa: PLC0415

    try:
        yield
    except errors.GatedRepoError as error:
        raise R1tuiError(
            f"{repo} is gated: its owner wants a licence accepted.",
            "Accept it on the repository's page, make a token that may read, and set HF_TOKEN to it.",
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise R1tuiError(
            f"There is no repository {repo}, or it is private.",
            "Check OWNER/NAME; for a private one set HF_TOKEN to a token that may read it.",
        ) from error
    except errors.RevisionNotFoundError as error:
        raise R1tuiError(f"{repo} has no such revision.", "Check the variant's `revision`, or leave it out.") from error
    except errors.HFValidationError as error:
        raise R1tuiError(f"{repo!r} is no repository's name.", "Write OWNER/NAME.") from error
    except errors.EntryNotFoundError as error:
        raise _lost(repo, error) from error
    except errors.HfHubHTTPError as error:
        raise _refused(repo, error.response.status_code) from error
    except (httpx2.HTTPError, ConnectionError) as error:
        raise _unreachable(repo, error) from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise R1tuiError("The disk is full.", "Make room and start again: whole files are kept.") from error
        raise R1tuiError(f"Fetching from {repo} failed: {error}.", "Start again: whole files are kept.") from error


def _lost(repo: str, error: BaseException) -> R1tuiError:
    if isinstance(error, FileNotFoundError):  # LocalEntryNotFoundError: the hub gave no answer
        return _unreachable(repo, error.__cause__ or error)
    return R1tuiError(f"A file of {repo} is gone.", "Start again: the list of files is then fetched anew.")


def _refused(repo: str, status: int) -> R1tuiError:
    if status in (401, 403):
        return R1tuiError(
            f"The hub does not let us read {repo} ({status}).", "Set HF_TOKEN to a token that may read it."
        )
    if status == 429:
        return R1tuiError("The hub has had too many requests from here (429).", "Wait some minutes and start again.")
    return R1tuiError(f"The hub answered {status} for {repo}.", "Start again later: whole files are kept.")


def _unreachable(repo: str, error: BaseException) -> R1tuiError:
    return R1tuiError(
        f"The hub cannot be reached for {repo} ({type(error).__name__}).",
        "Check the network; behind a proxy set HTTPS_PROXY, for a mirror HF_ENDPOINT.",
    )
