"""The tables of speeds by name: cards as drivers call them, CPUs as the kernel does, memory channels, disks."""

from pathlib import Path

import pytest

from r1tui.machine.known_speeds import count_sockets, disk_gbps, find_card, memory_channels, memory_gbps


@pytest.mark.parametrize(
    ("name", "card"),
    [
        ("NVIDIA GeForce RTX 3090", "RTX 3090"), ("NVIDIA GeForce RTX 3080 Ti", "RTX 3080 Ti"),
        ("NVIDIA H100 80GB HBM3", "H100"), ("NVIDIA H100 PCIe", "H100 PCIe"), ("NVIDIA A100-SXM4-80GB", "A100"),
        ("NVIDIA A100-SXM4-40GB", "A100-SXM4-40GB"), ("NVIDIA A10", "A10"), ("NVIDIA L4", "L4"), ("NVIDIA L40S", "L40"),
        ("NVIDIA RTX PRO 6000 Blackwell Workstation Edition", "RTX PRO 6000"), ("NVIDIA GB10", "GB10"),
        ("NVIDIA RTX PRO 6000 Blackwell Max-Q Workstation Edition", "RTX PRO 6000"),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", None),
        ("AMD Instinct MI300X OAM", "MI300X"), ("Apple M2 Ultra", "Apple M2 Ultra"), ("NVIDIA GH200 480GB", "GH200"),
        ("NVIDIA GeForce GT 710", None), ("", None), ("NVIDIA RTX A1000", None), ("NVIDIA T400 4GB", None),
        ("NVIDIA A10G", "A10"), ("AMD Radeon(TM) 8060S Graphics", "Radeon 8060S"), ("Tesla V100-SXM2-32GB", "V100"),
    ],
)  # fmt: skip
def test_a_card_is_known_by_the_longest_name_that_the_driver_says(name: str, card: str | None) -> None:
    found = find_card(name)
    assert (found.name if found else None) == card


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("AMD EPYC 7302 16-Core Processor", 150, 205), ("AMD EPYC 7B13", 150, 205),
        ("AMD EPYC 9654 96-Core Processor", 350, 461), ("AMD EPYC 9754 128-Core Processor", 350, 461),
        ("AMD EPYC 7551 32-Core Processor", 120, 171), ("AMD EPYC 7R13 Processor", 150, 205),
        ("AMD EPYC 9355 32-Core Processor", 450, 576), ("AMD Ryzen 9 9950X 16-Core Processor", 60, 100),
        ("AMD Ryzen 7 5800X 8-Core Processor", 35, 52), ("AMD Ryzen Threadripper PRO 5995WX 64-Cores", 150, 205),
        ("AMD RYZEN AI MAX+ 395 w/ Radeon 8060S", 200, 256), ("Intel(R) Xeon(R) Platinum 8480+", 230, 308),
        ("Intel(R) Xeon(R) Gold 6226R CPU @ 2.90GHz", 100, 141), ("13th Gen Intel(R) Core(TM) i9-13900K", 60, 90),
        ("Intel(R) Core(TM) Ultra 9 285K", 75, 103), ("Apple M2 Ultra", 600, 820),
    ],
)  # fmt: skip
def test_a_cpu_s_memory_is_read_at_most_of_its_channels_peak(name: str, low: float, high: float) -> None:
    gbps = memory_gbps(name)
    assert gbps is not None
    assert low < gbps < high


def test_channels_without_modules_count_for_nothing_and_a_second_socket_for_some() -> None:
    full = memory_gbps("AMD EPYC 7302 16-Core Processor")
    half = memory_gbps("AMD EPYC 7302 16-Core Processor", channels=4)
    both = memory_gbps("AMD EPYC 7302 16-Core Processor", sockets=2)
    assert full is not None
    assert half == full / 2
    assert both is not None
    assert full < both < 2 * full
    assert memory_gbps("AMD EPYC") is None


def test_modules_and_sockets_are_counted_where_the_kernel_shows_them(tmp_path: Path) -> None:
    assert memory_channels(tmp_path) is None
    assert count_sockets(tmp_path) == 1
    for controller, slot, channel, size in ((0, 0, 0, 32768), (0, 1, 1, 32768), (0, 2, 2, 0), (1, 0, 0, 32768)):
        module = tmp_path / f"sys/devices/system/edac/mc/mc{controller}/dimm{slot}"
        module.mkdir(parents=True)
        (module / "dimm_location").write_text(f"channel {channel} slot 0 \n")
        (module / "size").write_text(f"{size}\n")
    for cpu, package in enumerate((0, 0, 1)):
        folder = tmp_path / f"sys/devices/system/cpu/cpu{cpu}/topology"
        folder.mkdir(parents=True)
        (folder / "physical_package_id").write_text(f"{package}\n")
    assert memory_channels(tmp_path) == 3
    assert count_sockets(tmp_path) == 2


def test_a_disk_s_kind_is_told_by_its_bus(tmp_path: Path) -> None:
    device = tmp_path.stat().st_dev
    link = tmp_path / f"sys/dev/block/{device >> 8 & 0xFFF}:{device & 0xFF}"
    link.parent.mkdir(parents=True)
    found = {}
    for kind, place, rotational in (
        ("nvme", "pci0/nvme0/nvme0n1", "0"), ("ssd", "pci0/ata1/sda", "0"), ("disk", "pci0/ata2/sdb", "1"),
        ("virtual", "virtual/block/loop0", "0"),
    ):  # fmt: skip
        folder = tmp_path / "sys/devices" / place
        (folder / "queue").mkdir(parents=True)
        (folder / "queue/rotational").write_text(rotational)
        link.unlink(missing_ok=True)
        link.symlink_to(folder)
        found[kind] = disk_gbps(tmp_path, tmp_path)
    assert found == {"nvme": 3.5, "ssd": 0.5, "disk": 0.15, "virtual": None}
    assert disk_gbps(tmp_path / "nothing", tmp_path) is None
