"""How long the screen stands still over a large log: `python -m tests.bench.log_screen [MIB…]`.

A heartbeat every millisecond on the event loop; the longest gap between two of them, for each thing that is done, and
how much of a gap the loop's own thread was at work at most: on a machine with other work only that says much.
The first row, a log of a few lines, is what Textual takes for such a screen.
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, thread_time

from textual.pilot import Pilot

from r1tui.tui.screens.log import LogScreen
from r1tui.tui.widgets.log_view import LogView
from tests.screen_rig import StillApp
from tests.test_log_screen import large, shown
from tests.tui_rig import opened, until

BEAT_S = 0.001
Gap = tuple[float, float]


@asynccontextmanager
async def watched(gaps_ms: dict[str, Gap], what: str) -> AsyncIterator[None]:
    """Note the longest time without a turn of the event loop during the block."""
    longest_s = busy_s = 0.0

    async def beat() -> None:
        nonlocal longest_s, busy_s
        last_s, last_busy_s = perf_counter(), thread_time()
        while True:
            await asyncio.sleep(BEAT_S)
            now_s, now_busy_s = perf_counter(), thread_time()
            longest_s, busy_s = max(longest_s, now_s - last_s), max(busy_s, now_busy_s - last_busy_s)
            last_s, last_busy_s = now_s, now_busy_s

    beating = asyncio.create_task(beat())
    await asyncio.sleep(0.05)
    try:
        yield
        await asyncio.sleep(0.2)
    finally:
        beating.cancel()
        gaps_ms[what] = 1000 * longest_s, 1000 * busy_s


async def measure(folder: Path, mib: int) -> dict[str, Gap]:
    """The longest gap in milliseconds of each thing that is done with a log of this size."""
    app = StillApp(folder)
    path = large(app.paths.server_log, mib << 20)
    if not mib:
        path.write_bytes(path.read_bytes()[-30:])
    gaps_ms: dict[str, Gap] = {}
    async with opened(app, (120, 40)) as pilot:
        async with watched(gaps_ms, "nothing"):
            await asyncio.sleep(1.0)
        async with watched(gaps_ms, "open"):
            screen, view = await shown(pilot, path)
        async with watched(gaps_ms, "scroll"):
            for key in (*["pageup"] * 20, "home", *["pagedown"] * 20, "end"):
                await pilot.press(key)
        for what, do in ACTIONS.items():
            async with watched(gaps_ms, what):
                await do(pilot, screen, view)
        async with watched(gaps_ms, "8 MiB at once"):
            with path.open("ab") as file:
                await asyncio.to_thread(file.write, path.read_bytes()[: 8 << 20] + b"grown\n")
            await until(pilot, lambda: bool(view.lines) and view.lines[-1].text.endswith("grown"))
    return gaps_ms


async def _search(pilot: Pilot[None], screen: LogScreen, view: LogView) -> None:
    await pilot.press("slash", *"n_tokens = 2048, progress")
    await pilot.press("escape")


async def _filter(pilot: Pilot[None], screen: LogScreen, view: LogView) -> None:
    await pilot.press("l", "l", "l")


ACTIONS: dict[str, Callable[[Pilot[None], LogScreen, LogView], Awaitable[None]]] = {
    "search": _search,
    "filter": _filter,
}


async def main(sizes_mib: list[int]) -> None:
    """Print a table."""
    rows = {}
    for mib in sizes_mib:
        with TemporaryDirectory() as folder:
            rows[mib] = await measure(Path(folder), mib)
    names = list(next(iter(rows.values())))
    print("| log | " + " | ".join(f"{name}, ms (at work)" for name in names) + " |")
    print("|---" * (len(names) + 1) + "|")
    for mib, gaps_ms in rows.items():
        print(
            f"| {mib} MiB | " + " | ".join(f"{gaps_ms[name][0]:.0f} ({gaps_ms[name][1]:.0f})" for name in names) + " |"
        )


if __name__ == "__main__":
    asyncio.run(main([int(one) for one in sys.argv[1:]] or [0, 1, 50]))
