"""Sections about r1tui itself: its plan, start, answer and screen, with the whole card and with a part of it."""

import asyncio
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from time import monotonic
from typing import Any

import msgspec

from r1tui.config import Config, EngineSettings, SamplingSettings, ServerSettings, VariantSettings
from r1tui.system.paths import Paths
from r1tui.tui.app import R1App
from r1tui.tui.screens.models import ModelsScreen
from r1tui.tui.widgets.prompt import Prompt
from tests import tiny_r1
from tests.gpu.ballast import ballast
from tests.gpu.card import Peak
from tests.gpu.rig import Rig
from tests.tools.pictures import until

QUESTION = "Write Flappy Bird in Python. " * 150
PATIENCE_S = 150.0
PARTS = ("weights_mib", "kv_mib", "compute_mib", "pool_mib")
SIZES = ((120, 40), (200, 60), (80, 24))


def program(rig: Rig) -> None:
    """r1tui itself on the whole card: the plan's figures against the driver's, and pictures of its screen."""
    config = _home(rig)
    _r1tui(rig, "build", timeout_s=120)
    for check in _json(rig, "doctor", "--measure", timeout_s=90).get("checks", []):
        if check["name"] in ("GPU", "CPU", "memory", "rates", "engine"):
            rig.say(f"doctor, {check['name']}: {check['level']}, {check['found']} {check['remedy']}")
    with _server(rig, "the whole card"):
        for size in SIZES:
            asyncio.run(_picture(rig, config, size))


def shared(rig: Rig) -> None:
    """r1tui on a card of which 80 GiB are free."""
    _beside(rig, 80)


def small(rig: Rig) -> None:
    """r1tui on a card of which 24 GiB are free: most experts in RAM, 110 GiB of it."""
    _beside(rig, 24)


def _beside(rig: Rig, free_gib: int) -> None:
    _home(rig)
    held = nullcontext() if rig.smoke else ballast(free_gib << 10)
    with held, _server(rig, f"{free_gib} GiB free"):
        pass


def _home(rig: Rig) -> Config:
    """A home of its own, with the engine and the model in its config."""
    home = rig.work / "home"
    model = tiny_r1.build(rig.work / "tiny.gguf") if rig.smoke else rig.model("mla", 61, random=True)
    rig.env.update(R1TUI_HOME=str(home), PYTHONPATH=os.pathsep.join(filter(None, sys.path)), TERM="xterm-256color")
    os.environ["R1TUI_HOME"] = str(home)
    config = Config(
        engine=EngineSettings(source=str(rig.server)),
        server=ServerSettings(on_exit="keep"),
        sampling=SamplingSettings(max_tokens=96),
        variants={"r1": VariantSettings(title="R1's dimensions, random experts", file=str(model))},
    )
    (home / "config").mkdir(parents=True, exist_ok=True)
    (home / "config" / "config.yaml").write_bytes(msgspec.json.encode(config))
    return config


@contextmanager
def _server(rig: Rig, what: str) -> Iterator[None]:
    """Plan, start, ask, and say what the plan promised and what came; the server runs for the block."""
    began_s = monotonic()
    plan = _json(rig, "plan", "r1")
    planned_s = monotonic() - began_s
    exact = _json(rig, "plan", "r1", "--exact")
    exact_s = monotonic() - began_s - planned_s
    rig.say(
        f"{what}: {plan.get('verdict')}, {plan.get('n_gpu_layers')} layers, experts of {plan.get('n_cpu_moe')} in RAM, "
        f"context {plan.get('ctx_size')}, ubatch {plan.get('ubatch_size')}; planned in {planned_s:.2f} s "
        f"({plan.get('source')}), exactly in {exact_s:.1f} s ({exact.get('source')}); expects {plan.get('tps')}"
    )
    for name, one in (("plan", plan), ("exact", exact)):
        rig.say(f"   {name}:", *one.get("devices", []), "host", one.get("host"))
    base_mib, began_s = rig.card.used_mib(), monotonic()
    with Peak(rig.card) as peak:
        served = _r1tui(rig, "serve", "r1", "--detach", "--json", timeout_s=PATIENCE_S)
        load_s, loaded_mib = monotonic() - began_s, rig.card.used_mib() - base_mib
        began_s = monotonic()
        said = _r1tui(rig, "chat", "--json", QUESTION, timeout_s=120)
        answer_s = monotonic() - began_s
    status = _json(rig, "status")
    after_mib = rig.card.used_mib() - base_mib
    promised = [sum(device[part] for part in PARTS) for device in plan.get("devices", [])]
    rig.say(
        f"   served in {load_s:.1f} s, {loaded_mib:.0f} MiB loaded, {after_mib:.0f} after the answer, "
        f"{peak.mib - base_mib:.0f} at most; promised {promised}"
    )
    rig.say(f"   answer in {answer_s:.1f} s:", said[-400:].strip())
    rig.record(
        "program", what=what, planned_s=planned_s, exact_s=exact_s, plan=plan, exact=exact, served=served[-2000:],
        load_s=load_s, loaded_mib=loaded_mib, after_mib=after_mib, peak_mib=peak.mib - base_mib, status=status,
        answer=said[-2000:],
    )  # fmt: skip
    try:
        yield
    finally:
        before_mib, began_s = rig.card.used_mib(), monotonic()
        (rig.out / f"{what.replace(' ', '-')}.log").write_text(_r1tui(rig, "logs"))
        _r1tui(rig, "stop")
        rig.say(f"   stopped in {monotonic() - began_s:.1f} s, {rig.card.used_mib() - before_mib:+.0f} MiB")


async def _picture(rig: Rig, config: Config, size: tuple[int, int]) -> None:
    """The screen at its server: while it answers, all instruments, afterwards, the list of models."""
    app = R1App(Paths.from_environment(), config)
    app.wanted = app.services.models.catalog.find("r1")
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: app.chat.is_complete and app.chat.models.ready and not app.chat.models.launching)
        await pilot.press("ctrl+n")
        app.chat.query_one(Prompt).text = "Write Flappy Bird in Python."
        await pilot.press("enter")
        await until(pilot, lambda: bool(app.chat.conversation.exchanges))
        await pilot.pause(2.0)
        _save(rig, app, "chat")
        await pilot.press("ctrl+o")
        await pilot.pause(1.0)
        _save(rig, app, "instruments")
        await pilot.press("escape")
        await until(pilot, lambda: not app.chat.conversation.exchanges[-1].answer.running)
        await pilot.pause(1.5)
        if size == SIZES[0]:
            _save(rig, app, "done")
            await pilot.press("f2")
            await until(pilot, lambda: isinstance(app.screen, ModelsScreen))
            await pilot.pause(4)
            _save(rig, app, "models")


def _save(rig: Rig, app: R1App, name: str) -> None:
    width, height = app.size
    (rig.out / f"{name}-{width}x{height}.svg").write_text(app.export_screenshot(title="r1tui"))


def _r1tui(rig: Rig, *arguments: str, timeout_s: float = 60) -> str:
    """Its stdout; what it complains of goes to the report."""
    done = rig.ask(sys.executable, "-m", "r1tui", *arguments, timeout_s=timeout_s)
    if done.returncode:
        rig.say("   r1tui", arguments[0], f"ended with status {done.returncode}:", done.stderr[-600:].strip())
        rig.record(
            "r1tui", arguments=arguments, status=done.returncode, said=done.stdout[-2000:], errors=done.stderr[-4000:]
        )
    return done.stdout


def _json(rig: Rig, *arguments: str, timeout_s: float = 60) -> dict[str, Any]:
    try:
        found = json.loads(_r1tui(rig, *arguments, "--json", timeout_s=timeout_s).strip() or "{}")
    except ValueError as error:
        rig.say("   r1tui", arguments[0], "said no JSON:", error)
        return {}
    return found if isinstance(found, dict) else {}
