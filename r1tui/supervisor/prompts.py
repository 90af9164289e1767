"""Saves and restores the prompt in a running llama-server's slot, over its `/slots`."""

import asyncio
import os
from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from time import monotonic
from typing import Literal

import msgspec

from r1tui.errors import R1tuiError
from r1tui.messages import ProcessId
from r1tui.server.prompt_cache import LONGEST_S, CacheNote, PromptCacheFolder, SlotContent, folder_of
from r1tui.server.wire import Slot
from r1tui.supervisor.http import ask, check_health
from r1tui.supervisor.worker import in_thread, log_errors
from r1tui.system.processes import boot_id

LOOK_S = 6.0
"""The longest that it takes to see how a server is."""
SETTLE_S = 1.0
RESTORE_S = 120.0


class _Done(msgspec.Struct, frozen=True):
    n_written: int = 0
    timings: dict[str, float] = {}


async def read_slots(socket: Path, key: str | None, timeout_s: float = LOOK_S / 2) -> list[Slot]:
    """The slots now; empty when the server does not answer. It wakes a server that sleeps."""
    return await ask(socket, "GET", "/slots", list[Slot], key, timeout_s=timeout_s) or []


async def wait_until_idle(socket: Path, key: str | None, timeout_s: float = LOOK_S / 2) -> Slot | None:
    """The slot; one that computes gets a moment to end, since llama-server announces an end some time before it."""
    deadline_s = monotonic() + SETTLE_S
    while True:
        slot = next(iter(await read_slots(socket, key, timeout_s)), None)
        if slot is None or not slot.is_processing or monotonic() >= deadline_s:
            return slot
        await asyncio.sleep(SETTLE_S / 10)


async def save_prompt(
    kept: PromptCacheFolder, held: SlotContent, socket: Path, key: str | None
) -> Literal["kept", "no", "busy"]:
    """Keep what the slot holds, where that is worth it and nobody has used the slot since; at most LONGEST_S."""
    slot = await wait_until_idle(socket, key)
    if slot is not None and slot.is_processing:
        return "busy"
    if slot is None or slot.id_task != held.task:
        return "no"
    n_bytes = slot.n_prompt_tokens * held.bytes_per_token
    worth = await in_thread(kept.is_worth, held, n_bytes)
    written = worth and await _write(kept, held, n_bytes, socket, key)
    await in_thread(kept.hold, msgspec.structs.replace(held, saved=True))
    return "kept" if written else "no"


async def _write(kept: PromptCacheFolder, held: SlotContent, n_bytes: float, socket: Path, key: str | None) -> bool:
    await in_thread(kept.make_room, n_bytes, held.limit_bytes)
    part = kept.file(held.prompt).with_suffix(f".{os.getpid()}.part")
    done = await _act("save", part, socket, key, LONGEST_S)
    if done is not None and (await in_thread(part.stat)).st_size == done.n_written:
        note = CacheNote(held.prompt, done.n_written, done.timings.get("save_ms", 0.0) / 1000, boot_id())
        await in_thread(kept.keep, part, note)
        return True
    await in_thread(part.unlink, missing_ok=True)
    return False


async def restore(kept: PromptCacheFolder, note: CacheNote, socket: Path, key: str | None) -> bool:
    """Have the slot hold the kept prompt; one that is refused, or that a server has died of, is deleted."""
    done = await _act("restore", kept.file(note.prompt), socket, key, RESTORE_S)
    await in_thread(kept.drop if done is None else kept.used, note.prompt)
    return done is not None


async def _act(action: str, file: Path, socket: Path, key: str | None, timeout_s: float) -> _Done | None:
    target, body = f"/slots/0?action={action}", {"filename": file.name}
    return await ask(socket, "POST", target, _Done, key, timeout_s=timeout_s, body=body)


async def save_at_end(argv: Sequence[str], server: ProcessId, socket: Path, key: str | None) -> bool:
    """Save what the slot holds before it is lost; False while it computes. Never raises or wakes a server; bounded."""
    folder = folder_of(argv)
    if folder is None:
        return True
    with log_errors("Saving the prompt cache"), suppress(OSError, R1tuiError):
        async with asyncio.timeout(LOOK_S + LONGEST_S):
            kept = PromptCacheFolder(folder)
            held = await in_thread(kept.held, server)
            if held is None or held.saved:
                return True
            sleeps = idle_s(argv) is not None
            if await check_health(socket, key, sleeps=sleeps, timeout_s=LOOK_S / 2) == "ready":
                return await save_prompt(kept, held, socket, key) != "busy"
    return True


async def save_before_sleep(argv: Sequence[str], server: ProcessId, socket: Path, key: str | None) -> None:
    """Look again and again, rarely, for something to keep: a server that falls asleep forgets it. Until cancelled."""
    pause_s = idle_s(argv)
    while pause_s is not None:
        await asyncio.sleep(pause_s / 4)
        await save_at_end(argv, server, socket, key)


def idle_s(argv: Sequence[str]) -> float | None:
    """After how many seconds the server of this command sleeps; None when it never does."""
    return next((float(value) for flag, value in pairwise(argv) if flag == "--sleep-idle-seconds"), None)
