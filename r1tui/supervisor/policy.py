"""What follows when a server has ended by itself: decided from data alone, so that it is tested without a process."""

import signal
from dataclasses import dataclass

import msgspec

from r1tui.messages import FallbackPlan, ServerRecord, ServerSpec
from r1tui.server.diagnosis import MEMORY_KINDS, Diagnosis


@dataclass(frozen=True)
class Again:
    """Start it again after `delay_s`, `failures` counted; with less where `smaller` says so. `words` tell a person."""

    delay_s: float
    failures: int
    words: str
    smaller: FallbackPlan | None = None


def decide_restart(record: ServerRecord, diagnosis: Diagnosis, exit_status: int | None, now_s: float) -> Again | None:
    """How the server is started again; None when that is not wanted, pointless, or was tried often enough.

    `now_s` is of the clock that `ready_s` is of.
    """
    if smaller := _less(record, diagnosis):
        return Again(0.0, record.failures, f"Restarting with less: {smaller.words}.", smaller)
    delays_s = record.spec.restart_delays_s
    was_ready = record.ready_s is not None
    by_itself = exit_status is not None and (exit_status >= 0 or exit_status == -signal.SIGABRT)
    if not delays_s or diagnosis.kind in ("lasting", *MEMORY_KINDS) or (by_itself and not was_ready):
        return None
    steady = record.ready_s is not None and now_s - record.ready_s >= record.spec.steady_s
    failures = 0 if steady else record.failures
    if failures >= len(delays_s):
        return None
    delay_s = delays_s[failures]
    words = f"Restarting in {delay_s:.0f} s (attempt {failures + 1} of {len(delays_s)})."
    return Again(delay_s, failures + 1, words)


def _less(record: ServerRecord, diagnosis: Diagnosis) -> FallbackPlan | None:
    if diagnosis.kind not in MEMORY_KINDS:
        return None
    return next((one for one in record.spec.smaller if diagnosis.kind == "gpu_memory" or one.spares_host), None)


def with_fallback(spec: ServerSpec, smaller: FallbackPlan) -> ServerSpec:
    """The spec of a start with the smaller plan: it and all before it are used up."""
    left = spec.smaller[spec.smaller.index(smaller) + 1 :]
    return msgspec.structs.replace(spec, argv=smaller.argv, plan=smaller.plan, smaller=left)


def format_gave_up(record: ServerRecord) -> str:
    """What is added to the cause of a failure that came too often; empty for one that was not tried again."""
    if not record.failures:
        return ""
    return f" Gave up after {record.failures} restart{'s' if record.failures > 1 else ''}."
