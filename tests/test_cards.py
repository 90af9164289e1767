"""The cards of a machine as a plan sees them: which are visible, in what order, whose memory they use, what is free."""

import json
import sys
from dataclasses import replace
from types import SimpleNamespace

import msgspec
import pytest

from r1tui.config import Config, PlanSettings
from r1tui.engine.probe import missing_gpus
from r1tui.gguf import Header, read_header
from r1tui.gguf.sketch import ModelShape, sketch_header
from r1tui.machine.hardware import Machine, detect_machine
from r1tui.machine.nvml import Gpu, GpuUse, Nvidia, NvmlSession, read_nvidia
from r1tui.machine.visible import visible_gpus
from r1tui.messages import DevicePlan, PlanSummary, Status
from r1tui.plan import Device, PlanRequest, make_plan
from r1tui.plan.capabilities import Capabilities, EngineDevice
from r1tui.plan.rates import DeviceRates
from r1tui.plan.request import host_reserve_mib
from r1tui.planning.devices import devices_here, is_one_memory, plan_devices
from r1tui.planning.held import HeldMemory
from r1tui.planning.request import imagined_host, request_here
from r1tui.system.paths import Paths
from r1tui.tui.widgets.figures import Figures
from tests import sparse_dense, sparse_r1
from tests.conftest import CommandLine, SparseModel
from tests.fake_nvml import fake_nvml, unsupported

GIB = 1 << 30
A6000 = Gpu(0, "NVIDIA RTX A6000", "GPU-aaaa-1", 48 * GIB, 40 * GIB, 8 * GIB, (8, 6), 768.0, 38.7, 31.5, "0000:17:00.0")
H100 = Gpu(1, "NVIDIA H100", "GPU-bbbb-2", 80 * GIB, 79 * GIB, GIB, (9, 0), 3352.0, 66.9, 63.0, "0000:65:00.0")
TWIN = replace(H100, index=2, uuid="GPU-bbbb-3", pci_bus_id="0000:b3:00.0", free_bytes=10 * GIB)
ALL = (A6000, H100, TWIN)


def machine(*gpus: Gpu, memory_gib: int = 128) -> Machine:
    return Machine("CPU", 8, 16, memory_gib * GIB, (memory_gib - 4) * GIB, Nvidia(gpus), ())


@pytest.fixture(scope="module")
def r1(sparse_model: SparseModel) -> Header:
    return read_header(sparse_model(sparse_r1.build, mla=True))


@pytest.mark.parametrize(
    ("value", "seen"),
    [
        (None, [0, 1, 2]),
        ("1", [1]),
        ("2,0", [2, 0]),
        ("0, 2", [0, 2]),
        ("", []),
        ("-1", []),
        ("1,-1,0", [1]),
        ("7", []),
        ("1,1", [1]),
        ("GPU-aaaa-1", [0]),
        ("GPU-bbbb-3,GPU-aaaa", [2, 0]),
        ("GPU-bbbb", []),
        ("NoDevFiles", []),
    ],
)
def test_the_user_s_choice_of_cards_is_cuda_s(value: str | None, seen: list[int]) -> None:
    env = {} if value is None else {"CUDA_VISIBLE_DEVICES": value}
    assert [gpu.index for gpu in visible_gpus(ALL, env)] == seen


def test_cards_are_numbered_by_the_bus_unless_the_user_wants_the_fastest_first() -> None:
    assert visible_gpus((TWIN, A6000, H100), {}) == ALL
    fastest = {"CUDA_DEVICE_ORDER": "FASTEST_FIRST"}
    assert visible_gpus(ALL, fastest) == (H100, TWIN, A6000)
    assert visible_gpus(ALL, {**fastest, "CUDA_VISIBLE_DEVICES": "0"}) == (H100,)


def test_hidden_cards_are_not_planned_before_there_is_an_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-bbbb-2")
    (device,) = devices_here(Config(), machine(*ALL), None)
    assert (device.name, device.total_mib, device.pci_bus_id) == ("CUDA0", 80 << 10, "0000:65:00.0")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert devices_here(Config(), machine(*ALL), None) == ()


def test_a_card_that_the_user_hid_is_not_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("r1tui.engine.probe.driver_library", lambda: True)
    one = Capabilities("1", 1, frozenset(), (EngineDevice("CUDA0", "NVIDIA H100", 81559, 80000),))
    assert len(missing_gpus(Nvidia(ALL), one, "cuda")) == 1
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert missing_gpus(Nvidia(ALL), one, "cuda") == ()


def test_the_engine_s_devices_are_the_driver_s_cards_by_their_place_on_the_bus() -> None:
    names = ("NVIDIA RTX A6000", "NVIDIA H100", "NVIDIA H100")
    there = [EngineDevice(f"CUDA{number}", name, 48000, 30000) for number, name in enumerate(names)]
    made = plan_devices(there, None, machine(*reversed(ALL)))
    assert [device.pci_bus_id for device in made] == [gpu.pci_bus_id for gpu in ALL]


def test_the_panel_finds_the_plan_s_card_by_its_place_on_the_bus() -> None:
    plan = PlanSummary(devices=(DevicePlan("CUDA0", 1000, 900, 500, pci_bus_id="0000:65:00.0"),))
    figures = Figures()
    figures.status = Status(plan=plan)
    assert figures.planned_bytes(GpuUse(1, "NVIDIA H100", pci_bus_id="0000:65:00.0")) == 500 << 20
    assert figures.planned_bytes(GpuUse(0, "NVIDIA H100", total_bytes=1000 << 20, pci_bus_id="0000:17:00.0")) is None


def test_nvml_tells_where_a_card_is_as_llama_cpp_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", fake_nvml())
    assert read_nvidia().gpus[0].pci_bus_id == "0000:65:00.0"
    assert NvmlSession().read()[0].pci_bus_id == "0000:65:00.0"


def test_a_device_without_room_for_a_context_has_the_memory_that_the_driver_tells() -> None:
    there = [EngineDevice("CUDA0", "NVIDIA RTX A6000", 0, 0)]
    (device,) = plan_devices(there, None, machine(A6000))
    assert (device.total_mib, device.free_mib) == (48 << 10, 40 << 10)


def test_a_device_without_room_for_a_context_beside_our_own_server_is_free_for_the_next() -> None:
    held = HeldMemory({"ROCm0": 20000}, 0, totals_mib={"ROCm0": 24000})
    (device,) = plan_devices([EngineDevice("ROCm0", "AMD", 0, 0)], None, machine(), held)
    assert (device.total_mib, device.free_mib) == (24000, 20000)


def test_memory_that_nobody_tells_is_unknown_and_not_nothing(r1: Header) -> None:
    devices = plan_devices([EngineDevice("Vulkan0", "GPU", 0, 0)], None, machine())
    made = make_plan(r1, PlanRequest(512 << 10, 512 << 10, 8, devices=devices))
    assert made.n_gpu_layers == 0
    assert made.reasons[0].startswith("llama-server cannot read the free VRAM of Vulkan0")


def test_what_the_asking_process_itself_took_is_free() -> None:
    there = [EngineDevice("CUDA0", "NVIDIA RTX A6000", 48500, (40 << 10) - 450)]
    (device,) = plan_devices(there, None, machine(A6000))
    assert device.free_mib == 40 << 10
    (device,) = plan_devices([EngineDevice("CUDA0", "NVIDIA RTX A6000", 48500, 30000)], None, machine(A6000))
    assert device.free_mib == 30000  # somebody else took it since the driver was asked


def test_a_card_whose_memory_the_driver_does_not_tell_uses_the_machine_s(monkeypatch: pytest.MonkeyPatch) -> None:
    named = fake_nvml(nvmlDeviceGetMemoryInfo=unsupported, nvmlDeviceGetName=lambda _: "NVIDIA GB10")
    monkeypatch.setitem(sys.modules, "pynvml", named)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    here = replace(detect_machine(), memory_total_bytes=119 * GIB, memory_available_bytes=115 * GIB)
    (device,) = devices_here(Config(), here, None)
    assert (device.unified, device.total_mib, device.free_mib) == (True, 119 << 10, 115 << 10)


@pytest.mark.parametrize(
    ("name", "description", "total_gib", "unified"),
    [
        ("CUDA0", "NVIDIA GB10", 119, True),
        ("CUDA0", "NVIDIA Thor", 122, True),
        ("CUDA0", "Orin", 61, True),
        ("MTL0", "Apple M3 Ultra", 96, True),
        ("MTL0", "AMD Radeon Pro 5700 XT", 16, False),
        ("Vulkan0", "AMD Radeon 8060S Graphics (RADV GFX1151)", 84, True),
        ("ROCm0", "Radeon 8060S Graphics", 64, True),
        ("Vulkan0", "Intel(R) Arc(TM) Graphics (MTL)", 32, True),
        ("Vulkan0", "Intel(R) Graphics (LNL)", 28, True),
        ("Vulkan0", "Intel(R) UHD Graphics 770 (ADL-S GT1)", 28, True),
        ("Vulkan0", "Intel(R) Arc(TM) 130V GPU (16GB)", 16, True),
        ("Vulkan0", "Intel(R) Arc(TM) B580 Graphics", 12, False),
        ("Vulkan0", "Intel(R) Graphics (BMG G21)", 12, False),
        ("Vulkan0", "AMD Radeon(TM) Graphics", 16, True),
        ("Vulkan0", "AMD Radeon 680M (RADV REMBRANDT)", 16, True),
        ("Vulkan0", "AMD Radeon(TM) Vega 8 Graphics", 16, True),
        ("Vulkan0", "AMD Radeon RX Vega 64 (RADV VEGA10)", 8, False),
        ("Vulkan0", "AMD Radeon RX 6800M (RADV NAVI22)", 12, False),
        ("Vulkan0", "Adreno (TM) 740", 8, True),
        ("ROCm0", "AMD Instinct MI300A", 120, True),
        ("ROCm0", "AMD Instinct MI300X", 120, False),
        ("Vulkan0", "NVIDIA GeForce RTX 4090", 24, False),
        ("ROCm0", "AMD Radeon RX 7900 XTX", 24, False),
        ("RPC0", "NVIDIA GB10", 119, False),
    ],
)
def test_unified_memory_is_recognised(name: str, description: str, total_gib: int, *, unified: bool) -> None:
    mib = total_gib << 10
    (device,) = plan_devices([EngineDevice(name, description, mib, mib)], None, machine(memory_gib=124))
    assert device.unified == unified


def test_memory_that_the_firmware_set_aside_for_the_gpu_is_its_own() -> None:
    there = [EngineDevice("Vulkan0", "AMD Radeon 8060S Graphics (RADV GFX1151)", 96 << 10, 95 << 10)]
    (device,) = plan_devices(there, None, machine(memory_gib=31))
    assert (device.unified, device.total_mib) == (False, 96 << 10)


def unified(vram_gib: int, ram_gib: int, backend: str = "cuda") -> PlanRequest:
    devices = (Device("X0", backend, vram_gib << 10, vram_gib << 10, unified=True),)  # type: ignore[arg-type]
    return PlanRequest(ram_gib << 10, ram_gib << 10, 16, PlanSettings(), devices)


def test_a_gpu_leaves_room_for_what_the_host_keeps_in_their_memory(sparse_model: SparseModel) -> None:
    dense = read_header(sparse_model(sparse_dense.build, name="llama-70b"))
    for ctx_size in (8192, 32768):
        request = unified(32, 32)
        made = make_plan(dense, replace(request, settings=PlanSettings(ctx_size=ctx_size, cache_type_k="f32")))
        taken_mib = made.devices[0].planned_mib + made.host.anonymous_mib
        assert taken_mib <= request.host_usable_mib
        assert (made.verdict, made.ctx_size) == ("disk", ctx_size)
    tight = make_plan(dense, replace(unified(4, 4), settings=PlanSettings(n_gpu_layers=20)))
    assert tight.verdict == "no"
    assert any("can be used" in reason for reason in tight.reasons)


def test_several_devices_use_the_machine_s_memory(r1: Header) -> None:
    devices = unified(119, 119).devices
    two = replace(unified(119, 119), devices=(*devices, replace(devices[0], name="X1")))
    assert "X0 and X1 share the machine's memory, which is counted once." in make_plan(r1, two).reasons


def test_unified_memory_is_counted_once(r1: Header) -> None:
    spark = make_plan(r1, unified(119, 119))
    assert spark.verdict == "disk"  # 131 GiB
    assert spark.devices[0].planned_mib <= (119 << 10) - host_reserve_mib(119 << 10)
    assert any("counted once" in reason for reason in spark.reasons)
    studio = make_plan(r1, unified(144, 192, "metal"))
    assert studio.verdict == "gpu"
    in_all = sum(device.planned_mib for device in studio.devices) + studio.host.anonymous_mib
    assert in_all <= (192 << 10) - host_reserve_mib(192 << 10)


@pytest.mark.parametrize(
    ("vram", "ram", "backend", "one"),
    [
        ([119], 119, "cuda", True),
        ([122], 122, "vulkan", True),
        ([144], 192, "metal", True),
        ([24], 24, "cuda", False),
        ([80], 80, "cuda", False),
        ([24], 128, "cuda", False),
        ([64, 64], 64, "cuda", False),
        ([119], 119, "rpc", False),
        ([24], None, "metal", True),
        ([24], None, "cuda", False),
    ],
)
def test_an_imagined_machine_with_one_memory(vram: list[int], ram: int | None, backend: str, *, one: bool) -> None:
    assert is_one_memory([gib << 10 for gib in vram], ram and ram << 10, backend) == one  # type: ignore[arg-type]


@pytest.mark.parametrize(("total_gib", "reserve_mib"), [(16, 2048), (128, 3932), (512, 15729), (4, 1024)])
def test_the_host_keeps_a_reserve(total_gib: int, reserve_mib: int) -> None:
    assert round(host_reserve_mib(total_gib << 10)) == reserve_mib


def test_a_model_that_leaves_the_host_no_reserve_streams_from_disk(r1: Header) -> None:
    size_mib = r1.size_bytes >> 20
    for free_mib, verdict in ((size_mib + 3000, "disk"), (size_mib + 8000, "cpu")):
        assert make_plan(r1, PlanRequest(free_mib, free_mib, 8)).verdict == verdict


def test_an_imagined_machine_has_not_this_one_s_processor(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    measured = SimpleNamespace(memory_gbps=7.0, disk_gbps=0.1, bus_gbps={0: 1.0}, cpu_gflops=None)
    monkeypatch.setattr("r1tui.planning.request.load_bandwidth", lambda paths, machine: measured)
    here = request_here(Config(), paths, None, devices=())
    there = imagined_host(here, 128 << 10)
    assert here.rates is not None
    assert here.threads > 0
    assert (there.rates, there.threads, there.numa_nodes, there.host_free_mib) == (None, 0, 1, 128 << 10)
    assert there.load.programs == 0.0


def test_a_plan_for_an_imagined_machine_names_no_threads(r1tui: CommandLine, sparse_model: SparseModel) -> None:
    file = sparse_model(sparse_r1.build, mla=True)
    made = json.loads(r1tui("plan", "--model", file, "--vram", "24", "--ram", "128", "--json").stdout)
    assert made["threads"] == 0
    assert "--threads" not in made["argv"]
    assert made["tps"]["answer"][1] > 4.0
    text = r1tui("plan", "--model", file, "--vram", "119", "--ram", "119").stdout
    assert text.splitlines()[1].startswith("disk:")
    assert "counted once" in text


def a_card(number: int, gib: int, gbps: float | None, backend: str = "cuda") -> Device:
    rates = gbps and DeviceRates(gbps, 60.0)
    return Device(f"X{number}", backend, gib << 10, gib << 10, rates=rates or None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("cards", "used"),
    [
        ((a_card(0, 24, 936), a_card(1, 12, 360)), {0}),
        ((a_card(0, 12, 360), a_card(1, 24, 936)), {1}),
        ((a_card(0, 24, 936), a_card(1, 24, 936)), {0, 1}),  # prompts are computed by both at once
        ((a_card(0, 24, 936), a_card(1, 24, 768)), {0, 1}),
        ((a_card(0, 10, 936), a_card(1, 24, 360)), {0, 1}),  # the fast one does not hold it
        ((a_card(0, 24, 936), a_card(1, 80, None, "rpc")), {0}),
        ((a_card(0, 24, None, "rpc"), a_card(1, 24, None, "rpc")), {0, 1}),
        ((a_card(0, 24, 936), a_card(1, 12, 360), a_card(2, 12, 360)), {0}),
    ],
)
def test_a_fast_card_that_holds_everything_is_not_held_up_by_a_slow_one(
    cards: tuple[Device, ...], used: set[int]
) -> None:
    header = sketch_header("14b", ModelShape(40, 14.0), int(12e9))
    request = PlanRequest(64 << 10, 64 << 10, 8, devices=cards)
    made = make_plan(header, request)
    assert made.verdict == "gpu"
    assert set(made.layout.used) == used
    free = [card for number, card in enumerate(cards) if number not in used]
    names = [one.name for one in made.devices if one.planned_mib]
    assert made.summary().placement == f"all on {', '.join(names)}"
    assert any("free: answers are faster without" in reason for reason in made.reasons) == bool(free)
    alone = make_plan(header, replace(request, devices=(cards[min(used)],)))
    assert len(used) > 1 or made.ctx_size >= 0.95 * alone.ctx_size
    more = msgspec.structs.replace(request.settings, ctx_size=made.ctx_size + 4096)
    longer = make_plan(header, replace(request, settings=more))
    assert longer.ctx_size == made.ctx_size + 4096 or longer.ctx_size == header.n_ctx_train
