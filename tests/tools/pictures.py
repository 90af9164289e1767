"""The README's pictures, taken from the running program: the real server with a tiny R1 whose answer is scripted."""

import asyncio
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import monotonic

import msgspec
from textual.pilot import Pilot

from r1tui.config import Config, EngineSettings, ServerSettings, UiSettings, VariantSettings
from r1tui.engine.make import build_engine
from r1tui.supervisor import client as supervisor
from r1tui.system.paths import Paths
from r1tui.tui.app import R1App
from r1tui.tui.screens.models import ModelsScreen
from r1tui.tui.widgets.prompt import Prompt
from tests import tiny_r1
from tests.screen_rig import ANSWER, THINKING

FOLDER = Path(__file__).parent.parent / "pictures"
PATIENCE_S = 120.0


async def until(pilot: Pilot[None], fact: Callable[[], bool]) -> None:
    """Wait for a fact; raises TimeoutError."""
    deadline_s = monotonic() + PATIENCE_S
    while not fact():
        if monotonic() > deadline_s:
            raise TimeoutError(fact.__qualname__)
        await pilot.pause(0.05)


async def take(paths: Paths, config: Config, theme: str, size: tuple[int, int], *, models: bool) -> None:
    """One session from the start to an answer, and its pictures."""
    app = R1App(paths, msgspec.structs.replace(config, ui=UiSettings(theme=theme)))
    app.wanted = app.services.models.catalog.find("tiny-r1")
    shape = f"{size[0]}x{size[1]}"
    async with app.run_test(size=size) as pilot:
        seat = app.chat
        await until(pilot, lambda: seat.models.ready and not seat.models.launching)
        await pilot.press("ctrl+n")  # not below the last session's
        seat.query_one(Prompt).text = "Write Flappy Bird in Python."
        await pilot.press("enter")
        await until(
            pilot, lambda: bool(seat.conversation.exchanges) and not seat.conversation.exchanges[-1].answer.running
        )
        await pilot.pause(2.5)
        (FOLDER / f"chat-{theme}-{shape}.svg").write_text(app.export_screenshot(title="r1tui"))
        if models:
            await pilot.press("f2")
            await until(pilot, lambda: isinstance(app.screen, ModelsScreen))
            await until(pilot, lambda: not any(worker.name == "_look" for worker in app.workers if worker.is_running))
            await pilot.pause(1.5)
            (FOLDER / f"models-{theme}-{shape}.svg").write_text(app.export_screenshot(title="r1tui"))


def main() -> None:
    """Make all pictures."""
    engine = build_engine(EngineSettings(), Paths.from_environment(), print)
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as home:
        os.environ["R1TUI_HOME"] = home
        paths = Paths.from_environment()
        model = tiny_r1.build(Path(home) / "tiny-r1.gguf", think=THINKING + "\n", answer="\n\n" + ANSWER)
        config = Config(
            engine=EngineSettings(source=str(engine.server)),
            server=ServerSettings(on_exit="keep"),
            variants={"tiny-r1": VariantSettings(title="A tiny R1 with a scripted answer", file=str(model))},
        )
        paths.config_file.parent.mkdir(parents=True)
        paths.config_file.write_bytes(msgspec.json.encode(config))
        try:
            asyncio.run(take(paths, config, "r1-dark", (120, 40), models=True))
            asyncio.run(take(paths, config, "r1-light", (80, 24), models=False))
            asyncio.run(take(paths, config, "r1-ember", (200, 60), models=False))
        finally:
            supervisor.stop(paths)


if __name__ == "__main__":
    main()
