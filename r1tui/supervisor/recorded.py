"""Whether an answer that was running when its r1tui ended can be read on."""

from contextlib import suppress
from pathlib import Path
from time import monotonic, sleep

from r1tui.errors import R1tuiError
from r1tui.server.record import record_file
from r1tui.supervisor import client
from r1tui.system.paths import Paths

LOOK_S = 3.0
"""The longest that is waited for the supervisor's asking the server."""
POLL_S = 0.05


def has_record(paths: Paths, answer_id: str, *, managed: bool) -> bool:
    """Whether the supervisor has, or will have, all of this answer from its request on; blocks for at most seconds.

    Of a `managed` server it has what it never heard of too: it is told to record what the server still knows.
    """
    record = record_file(paths.answers, answer_id)
    status = client.status(paths)
    if record.exists() or answer_id in status.answers:
        return True
    if not (managed and status.running):
        return False
    with suppress(R1tuiError, OSError):
        client.adopt(paths)
        client.answer_started(paths, answer_id)
        client.answer_ended(paths, answer_id)  # whoever asked is gone
    deadline_s = monotonic() + LOOK_S
    while (coming := answer_id in client.status(paths).answers) and not record.exists() and monotonic() < deadline_s:
        sleep(POLL_S)
    return _has_answer(record) if record.exists() else coming


def _has_answer(record: Path) -> bool:
    """Whether the record has more than the word that the answer was lost."""
    try:
        with record.open("rb") as file:
            return not file.read(16).startswith(b'data: {"error"')
    except OSError:
        return False
