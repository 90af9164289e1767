"""Spares the user a second reading of a long prompt: before a question the server's slot takes up what was kept of its
conversation, and what the slot held is kept. It never disturbs: whatever fails costs a reading, as without it."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing, suppress
from pathlib import Path

import msgspec
from textual.message import Message

from r1tui.config import Config
from r1tui.errors import R1tuiError
from r1tui.events import PromptProgress, StreamEvent, Timings
from r1tui.messages import ProcessId, Status
from r1tui.server.prompt_cache import (
    LEAST_GAIN_S,
    CacheNote,
    PromptCacheFolder,
    PromptChain,
    SlotContent,
    folder_of,
    identity_of,
    prompt_of,
)
from r1tui.supervisor.key import key_of
from r1tui.supervisor.prompts import read_slots, restore, save_at_end, save_prompt, wait_until_idle
from r1tui.system.paths import Paths
from r1tui.system.processes import identify
from r1tui.tui.guarded import report_at_end
from r1tui.tui.messages import AnswerWaits

WAKE_S = 3600.0
"""A server that sleeps answers when its model is loaded again; the question waits for that anyway."""
ENOUGH_TOKENS = 32
"""Fewer say nothing about the speed of reading."""


class _Server(msgspec.Struct, frozen=True):
    """A server that can keep prompts."""

    id: ProcessId
    identity: str
    argv: list[str]
    socket: Path
    key: str | None
    bytes_per_token: float
    look_s: float


class PromptCache:
    """The prompt cache of one session: call `make_ready` before a request, and pass its events through `noting`."""

    def __init__(self, paths: Paths, config: Config, post: Callable[[Message], object]) -> None:
        self._paths = paths
        self._limit_bytes = int(config.server.kv_cache_gib * (1 << 30))
        self._post = post
        self._kept = PromptCacheFolder(paths.kept_prompts)
        self._work: asyncio.Task[None] | None = None
        self._server: _Server | None = None
        self._asked: PromptChain | None = None
        self._restored: CacheNote | None = None
        """What the slot has taken up for this request."""
        self._noting: asyncio.Task[None] | None = None

    async def make_ready(self, status: Status, messages: Sequence[tuple[str, str]], conversation: str = "") -> None:
        """Have the slot hold what saves this request the most; what it held until now is kept if it is lost by that.

        What is kept of the request itself belongs to the conversation with this id.
        """
        self._server = self._asked = self._restored = None
        self._work = asyncio.create_task(self._make_ready(status, messages, conversation))
        report_at_end(self._work)
        try:
            await asyncio.wait([self._work])
        finally:
            self._work.cancel()

    def give_up(self) -> None:
        """The request that is being made ready for is not wanted any more."""
        if self._work is not None:
            self._work.cancel()

    async def leave(self, status: Status) -> None:
        """Keep what the slot holds; in the background, so that nobody waits for it later."""
        with suppress(OSError, R1tuiError):
            if (server := await asyncio.to_thread(self._server_of, status)) is not None:
                await save_at_end(server.argv, server.id, server.socket, server.key)

    async def noting(self, events: AsyncGenerator[StreamEvent, None]) -> AsyncGenerator[StreamEvent, None]:
        """The same events; what they tell of the slot is noted."""
        judged = self._restored is None
        noted = self._asked is None
        async with aclosing(events) as closing:
            async for event in closing:
                match event:
                    case PromptProgress(cached=cached) | Timings(cached_tokens=cached) if not judged:
                        judged = True
                        await self._judge(cached)
                if isinstance(event, Timings) and not noted:
                    noted = True
                    self._noting = asyncio.create_task(self._note(event))
                    report_at_end(self._noting)
                yield event

    def _server_of(self, status: Status) -> _Server | None:
        """The server as far as prompts are concerned; None for one that keeps none. Raises OSError and R1tuiError."""
        pid, argv, plan = status.pid, status.argv or [], status.plan
        server = identify(pid) if pid is not None else None
        if server is None or not plan or status.endpoint is None or folder_of(argv) != self._paths.kept_prompts:
            return None
        identity, per_token = identity_of(argv), plan.bytes_per_token
        if not self._limit_bytes or not per_token or self._kept.is_off(identity):
            return None
        socket = Path(status.endpoint.removeprefix("unix:"))
        look_s = WAKE_S if status.state == "sleeping" else LEAST_GAIN_S
        return _Server(server, identity, argv, socket, key_of(status, self._paths), per_token, look_s)

    async def _make_ready(self, status: Status, messages: Sequence[tuple[str, str]], conversation: str) -> None:
        with suppress(OSError, R1tuiError):
            server = self._server = await asyncio.to_thread(self._server_of, status)
            if server is None or not messages:
                return
            request = self._asked = prompt_of(server.identity, messages, conversation)
            held, best = await asyncio.to_thread(lambda: (self._kept.held(server.id), self._kept.best(request)))
            if held is None and best is None:
                return
            slot = await wait_until_idle(server.socket, server.key, server.look_s)
            if slot is None or slot.is_processing:
                return
            if held is not None and held.task != slot.id_task:  # somebody else has used it
                held = None
            there = held.prompt.shared_tokens(request) if held is not None else 0
            if held is not None and not held.saved and there < held.prompt.tokens:
                await save_prompt(self._kept, held, server.socket, server.key)
            if best is None:
                return
            gain_s = best.prompt.seconds(best.prompt.shared_tokens(request) - there)
            if gain_s >= LEAST_GAIN_S and await restore(self._kept, best, server.socket, server.key):
                held = self._held(best.prompt, server, slot.id_task, saved=True)
                await asyncio.to_thread(self._kept.hold, held)
                self._restored = best

    async def _note(self, timings: Timings) -> None:
        """Note that the slot holds this request's prompt; asked while it computes its answer, the slot is its own."""
        server, asked = self._server, self._asked
        if server is None or asked is None:
            return
        with suppress(OSError, R1tuiError):
            before = await asyncio.to_thread(self._kept.held, server.id)
            tps = reading_tps(timings, before.prompt.tps if before is not None else 0.0)
            if slots := await read_slots(server.socket, server.key):
                prompt = msgspec.structs.replace(asked, tokens=timings.prompt_tokens, tps=tps)
                await asyncio.to_thread(self._kept.hold, self._held(prompt, server, slots[0].id_task, saved=False))

    def _held(self, prompt: PromptChain, server: _Server, task: int | None, *, saved: bool) -> SlotContent:
        return SlotContent(
            prompt=prompt,
            server=server.id,
            task=task,
            bytes_per_token=server.bytes_per_token,
            limit_bytes=self._limit_bytes,
            saved=saved,
        )

    async def _judge(self, cached: int) -> None:
        """Say what a restored prompt was good for; a model that uses nothing of it is left alone from then on."""
        note, asked = self._restored, self._asked
        if note is None or asked is None:
            return
        in_vain = cached * 10 < note.prompt.shared_tokens(asked)
        if not in_vain:
            self._post(AnswerWaits(f"Prompt restored from disk: {cached:,} tokens."))
        with suppress(OSError, R1tuiError):
            if await asyncio.to_thread(self._kept.judge, asked.identity, in_vain=in_vain):
                self._post(AnswerWaits("This model cannot reuse saved prompts; r1tui no longer saves them for it."))


def reading_tps(timings: Timings, before_tps: float) -> float:
    """Prompt speed of the server; from an earlier prompt if this one was mostly cached."""
    few = timings.prompt_tokens - timings.cached_tokens < ENOUGH_TOKENS
    return before_tps if few and before_tps else timings.prompt_tps or 0.0
