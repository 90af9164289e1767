"""Which model somebody without one is told to begin with, on machines of every kind."""

import pytest

from r1tui.catalog.variants import load_catalog
from r1tui.config import Config
from r1tui.hub.local.folders import NoRoomError
from r1tui.listing.overview import ModelEntry
from r1tui.listing.recommend import Surroundings, format_machine, recommend
from r1tui.machine.hardware import Machine
from r1tui.machine.nvml import Gpu, Nvidia
from r1tui.plan import Device, PlanRequest, verdict_by_size

GIB = 1 << 30


def entries(disk_gib: int, memory_gib: int, *gpus_gib: int) -> list[ModelEntry]:
    """The catalog as the list shows it on a machine of this size, by sizes alone."""
    devices = tuple(Device(f"CUDA{n}", "cuda", gib * 1024, gib * 1024) for n, gib in enumerate(gpus_gib))
    request = PlanRequest(memory_gib * 1024, memory_gib * 1024, 16, devices=devices)
    return [
        ModelEntry(
            one,
            None,
            one.size_gib,
            verdict_by_size(one.size_gib, request) if one.size_gib else None,
            no_room=NoRoomError(1, "full") if (one.size_gib or 0.0) + 0.25 > disk_gib else None,
        )
        for one in load_catalog(Config())
    ]


@pytest.mark.parametrize(
    ("memory_gib", "gpus_gib", "memory_gbps", "disk_gib", "name"),
    [
        (64, (80, 80), 200, 2000, "r1-iq1_s"),
        (512, (80, 80), 200, 2000, "r1-iq1_s"),
        (512, (24,), 200, 2000, "r1-q2_k_xl"),
        (150, (24,), 60, 2000, "r1-iq1_m"),
        (256, (), 100, 2000, "r1-q2_k_xl"),
        (512, (24,), 200, 140, "r1-iq1_s"),
        (512, (24,), 200, 50, "qwen-32b"),
        (32, (24,), 50, 500, "qwen-32b"),
        (24, (), 25, 70, "llama-8b"),
        (16, (8,), 25, 70, "llama-8b"),
        (2, (), 25, 70, "qwen-1.5b"),
        (2, (), 25, 1, "demo"),
    ],
)
def test_r1_itself_where_memory_holds_it_else_a_student_that_answers_at_a_bearable_speed(
    memory_gib: int, gpus_gib: tuple[int, ...], memory_gbps: float, disk_gib: int, name: str
) -> None:
    advice = recommend(entries(disk_gib, memory_gib, *gpus_gib), Surroundings(disk_gib * GIB, memory_gbps))
    assert advice is not None
    assert advice.variant.name == name
    assert advice.why.endswith(".")


def test_without_room_for_anything_nothing_is_recommended() -> None:
    assert recommend(entries(0, 512, 80), Surroundings(0, 200.0)) is None


def test_the_machine_is_told_in_a_line() -> None:
    h100 = Gpu(0, "NVIDIA H100", "a", 80 * GIB, 79 * GIB, GIB, (9, 0))
    machine = Machine("EPYC", 32, 64, 512 * GIB, 500 * GIB, Nvidia((h100, h100)), ())
    assert format_machine(machine, 900 * GIB) == (
        "2 × H100 (80.0 GiB) · 512.0 GiB RAM · 32 cores · 900.0 GiB disk free"
    )
