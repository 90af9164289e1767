"""The README's pictures, from the running program: the real server with a tiny R1 whose answer is scripted.

With a card, what the pictures say of it is true. Without one an H200 is played as it was recorded, and the server,
with a tiny model, is said to run by the plan that r1tui makes for R1 there.
"""

import asyncio
import os
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from time import monotonic

import msgspec
from textual.pilot import Pilot
from textual.widgets import Label

from r1tui.chat.answer import Answer
from r1tui.config import Config, EngineSettings, ServerSettings, UiSettings, VariantSettings
from r1tui.engine.find import Engine
from r1tui.engine.make import build_engine
from r1tui.gguf import read_header
from r1tui.machine.nvml import read_nvidia
from r1tui.messages import ServerSpec
from r1tui.plan import make_plan
from r1tui.planning.request import request_here
from r1tui.supervisor import client as supervisor
from r1tui.system.paths import Paths
from r1tui.tui.app import R1App
from r1tui.tui.screens.models import ModelsScreen
from r1tui.tui.screens.overlays import PanelScreen
from r1tui.tui.widgets.prompt import Prompt
from tests import sparse_r1, tiny_r1
from tests.instruments_rig import shown
from tests.screen_rig import ANSWER, THINKING
from tests.tools.played_card import played_card
from tests.tools.small_svg import small_svg

FOLDER = Path(__file__).parent.parent / "pictures"
PATIENCE_S = 120.0
CONTEXT = 65536
LAYERS = 61
"""R1's own number: the tiny one is then about as fast on one core as R1 on the card."""


async def until(pilot: Pilot[None], fact: Callable[[], bool]) -> None:
    """Wait for a fact; raises TimeoutError."""
    deadline_s = monotonic() + PATIENCE_S
    while not fact():
        if monotonic() > deadline_s:
            raise TimeoutError(fact.__qualname__)
        await pilot.pause(0.05)


async def take(paths: Paths, config: Config, theme: str, size: tuple[int, int], warm_s: float, *names: str) -> None:
    """One session with the server that runs: `chat` and `instruments` while it answers, then `models`.

    Before, it answers for `warm_s` seconds in another chat, so that there are curves.
    """
    app = R1App(paths, msgspec.structs.replace(config, ui=UiSettings(theme=theme)))
    app.wanted = app.services.models.catalog.find("r1")
    async with app.run_test(size=size) as pilot:

        async def ask() -> Answer:
            app.chat.query_one(Prompt).text = "Write Flappy Bird in Python."
            await pilot.press("enter")
            await until(pilot, lambda: bool(app.chat.conversation.exchanges))
            return app.chat.conversation.exchanges[-1].answer

        async def stop(answer: Answer) -> None:
            await pilot.press("escape")
            await until(pilot, lambda: not answer.running and not app.services.session.answering)

        def save(name: str) -> None:
            if name in names:
                picture = FOLDER / f"{name}-{theme}-{size[0]}x{size[1]}.svg"
                picture.write_text(small_svg(app.export_screenshot(title="r1tui")))

        await until(pilot, lambda: app.chat.is_complete and app.chat.models.ready and not app.chat.models.launching)
        await pilot.press("ctrl+n")  # not below the last session's
        answer = await ask()
        await pilot.pause(warm_s)
        await stop(answer)
        await pilot.press("ctrl+n")
        answer = await ask()
        await pilot.press("alt+x")  # the notice of the other chat's end
        await until(
            pilot,
            lambda: len(answer.content.text) > 0.6 * len(ANSWER) and "answering" in shown(app.chat.instruments),
        )
        save("chat")
        await pilot.press("ctrl+o")
        await until(pilot, lambda: isinstance(app.screen, PanelScreen))
        await pilot.pause(0.5)
        save("instruments")
        await pilot.press("escape")
        await stop(answer)
        await pilot.press("f2")
        await until(pilot, lambda: isinstance(app.screen, ModelsScreen))
        details = app.screen.query_one("ModelsScreen > Vertical > Label", Label)
        await until(pilot, lambda: "It runs now." in str(details.render()))
        await pilot.pause(0.5)
        save("models")


def start_as_planned(
    paths: Paths, config: Config, engine: Engine, tiny: Path, r1: Path
) -> AbstractContextManager[None]:
    """Start the server with the tiny model, by r1tui's plan for all of R1 on a card that is played from then on."""
    with played_card(lambda: None):
        plan = make_plan(read_header(r1), request_here(config, paths, engine)).summary("r1", str(r1), [])
    socket = str(paths.server_socket)
    argv = [str(engine.server), "--model", str(tiny), "--host", socket, "--verbosity", "4", "--parallel", "1",
            "--threads", "1", "--threads-batch", "1", "--ctx-size", str(plan.ctx_size), "--temp", "0.6"]  # fmt: skip
    supervisor.start(ServerSpec(variant="r1", model=str(r1), argv=argv, socket=socket, plan=plan), paths)
    return played_card(lambda: supervisor.status(paths).pid)


def main() -> None:
    """Make all pictures."""
    engine = build_engine(EngineSettings(), Paths.from_environment(), print)
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as home:
        os.environ["R1TUI_HOME"] = home
        paths = Paths.from_environment()
        is_played = not read_nvidia().gpus
        tiny = tiny_r1.build(
            Path(home) / "tiny-r1.gguf",
            think=THINKING + "\n",
            answer="\n\n" + ANSWER,
            layers=LAYERS,
            loop=True,
            context=CONTEXT,
        )
        model = sparse_r1.build(Path(home) / "r1.gguf", mla=True) if is_played else tiny
        config = Config(
            engine=EngineSettings(source=str(engine.server)),
            server=ServerSettings(on_exit="keep"),
            variants={"r1": VariantSettings(title="DeepSeek-R1's dimensions", file=str(model))},
        )
        paths.config_file.parent.mkdir(parents=True)
        paths.config_file.write_bytes(msgspec.json.encode(config))
        try:
            with start_as_planned(paths, config, engine, tiny, model) if is_played else nullcontext():
                asyncio.run(take(paths, config, "r1-dark", (120, 40), 45, "chat", "models"))
                asyncio.run(take(paths, config, "r1-dark", (120, 40), 120, "instruments"))
                asyncio.run(take(paths, config, "r1-light", (80, 24), 5, "chat"))
        finally:
            supervisor.stop(paths)


if __name__ == "__main__":
    main()
