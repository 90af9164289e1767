"""Switching models: which is the next one on disk, what is being fetched, and how the user wants a model."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Literal

from r1tui.errors import R1tuiError
from r1tui.hub.download.jobs import running_downloads
from r1tui.hub.download.model import unfinished
from r1tui.hub.local.found import find_model
from r1tui.tui.screens.ask import AskScreen, Choice

if TYPE_CHECKING:
    from r1tui.catalog.variants import Variant
    from r1tui.messages import Status
    from r1tui.tui.app import R1App

ASK_BEFORE_FETCHING_GIB = 1.0


def neighbour(r1: R1App, current: str | None, step: int) -> Variant | None:
    """The model on disk that stands so many places after the current one, if there is another. Reads the disk."""
    here = [one for one in r1.catalog if _on_disk(r1, one)]
    if len(here) < 2:
        return None
    names = [one.name for one in here]
    index = names.index(current) if current in names else -1
    return here[(index + step) % len(here)]


async def how(r1: R1App, variant: Variant) -> Literal["launch", "only"] | None:
    """How the user wants the model: asked when a large one must be fetched; `only` fetches it, None does nothing."""
    size_gib = variant.size_gib or 0.0
    if size_gib < ASK_BEFORE_FETCHING_GIB or await asyncio.to_thread(_on_disk, r1, variant):
        return "launch"
    question = f"{variant.name} is not on this machine: {size_gib:,.0f} GiB to fetch."
    choices = [
        Choice("f", "fetch", "Fetch it, then bring it up"),
        Choice("o", "only", "Only fetch it; what runs stays"),
    ]
    choice = await r1.push_screen_wait(AskScreen(question, choices))
    return "launch" if choice == "fetch" else "only" if choice == "only" else None


async def may_replace(r1: R1App, now: Status, variant: Variant) -> bool:
    """Whether the running model may go for the one that r1tui was started with."""
    question = f"{now.variant or 'A model'} runs already."
    choices = [Choice("s", "switch", f"Stop it, and bring {variant.name} up")]
    return await r1.push_screen_wait(AskScreen(question, choices)) == "switch"


def downloading(r1: R1App, last: Variant | None) -> Variant | None:
    """The model that is being downloaded, or the last one where its download is unfinished. Reads the disk."""
    for name in running_downloads(r1.paths):
        with suppress(R1tuiError):
            return r1.catalog.find(name)
    return last if last is not None and unfinished(last, r1.paths, r1.config) else None


def _on_disk(r1: R1App, variant: Variant) -> bool:
    return find_model(variant, r1.paths, r1.config) is not None
