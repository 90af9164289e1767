"""What follows when a server has ended by itself: decided from data alone, so that it is tested without a process."""

import signal
from dataclasses import dataclass

import msgspec

from r1tui.messages import FallbackPlan, ServerRecord, ServerSpec
from r1tui.server.diagnosis import MEMORY_KINDS, Diagnosis


@dataclass(frozen=True)
class Restart:
    """Restart after `delay_s`, with this many `failures` counted and with the `fallback` plan if there is one."""

    delay_s: float
    failures: int
    words: str
    fallback: FallbackPlan | None = None


def decide_restart(record: ServerRecord, diagnosis: Diagnosis, exit_status: int | None, now_s: float) -> Restart | None:
    """How to restart; None when unwanted, pointless or tried often enough. `now_s` and `ready_s` share a clock."""
    if diagnosis.kind in MEMORY_KINDS:
        for fallback in record.spec.smaller:
            if diagnosis.kind == "gpu_memory" or fallback.spares_host:
                return Restart(0.0, record.failures, f"Restarting with less: {fallback.words}.", fallback)
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
    return Restart(delay_s, failures + 1, words)


def with_fallback(spec: ServerSpec, fallback: FallbackPlan) -> ServerSpec:
    """The spec of a start with this plan: it and all before it are used up."""
    left = spec.smaller[spec.smaller.index(fallback) + 1 :]
    return msgspec.structs.replace(spec, argv=fallback.argv, plan=fallback.plan, smaller=left)


def format_gave_up(record: ServerRecord) -> str:
    """A sentence on the restarts before a failure; empty without any."""
    if not record.failures:
        return ""
    return f" Gave up after {record.failures} restart{'s' if record.failures > 1 else ''}."
