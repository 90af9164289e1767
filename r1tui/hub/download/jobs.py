"""Downloads as jobs: one process a variant, in the foreground of a terminal or detached, that others follow."""

from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from urllib.parse import quote, unquote

from r1tui.catalog.variants import Variant
from r1tui.events import Emit, StageEvent, encode_event
from r1tui.system.jobs import Job
from r1tui.system.paths import Paths

_PREFIX = "model-"
LONGEST_NAME = 200
"""With what is added to it, a file's name still."""


def download_job(variant: Variant, paths: Paths) -> Job:
    """The job of fetching the variant, running or not."""
    name = _PREFIX + quote(variant.name, safe="", errors="backslashreplace")
    if len(name) > LONGEST_NAME:
        name = f"{name[: LONGEST_NAME - 20]}-{sha256(name.encode()).hexdigest()[:16]}"
    return Job(paths.jobs, name)


def running_downloads(paths: Paths) -> list[str]:
    """The names of the variants that are being fetched now, the last begun first."""
    logs = sorted(paths.jobs.glob(f"{_PREFIX}*.jsonl"), key=lambda path: path.stat().st_mtime_ns, reverse=True)
    return [unquote(log.stem.removeprefix(_PREFIX)) for log in logs if Job(paths.jobs, log.stem).running()]


def logged(job: Job, emit: Emit) -> Callable[[StageEvent], None]:
    """An `emit` that also writes the job's log, for a process that does the job in the foreground."""

    def both(event: StageEvent) -> None:
        with suppress(OSError), job.log.open("a", encoding="utf-8") as log:  # a full disk must not end the download
            log.write(encode_event(event) + "\n")
        emit(event)

    return both
