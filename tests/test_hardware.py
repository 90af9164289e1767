"""What this machine is, from recorded /proc and /sys trees."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from r1tui.machine.hardware import (
    amd_hardware,
    cpu_load,
    cpu_quota,
    detect_machine,
    memory_available_bytes,
    memory_total_bytes,
    numa_nodes,
    nvidia_hardware,
    usable_logical_cpus,
    usable_physical_cores,
)

GIB = 1 << 30
MEMINFO = "MemTotal: 65536000 kB\nMemFree: 1000 kB\nMemAvailable: 41943040 kB\nSwapTotal: 2048 kB\nSwapFree: 1024 kB\n"
V2_MOUNT = "30 23 0:26 {root} /sys/fs/cgroup rw,nosuid - cgroup2 cgroup rw,nsdelegate\n"
V1_MOUNTS = (
    "31 23 0:27 {root} /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
    "32 23 0:28 {root} /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
)


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    return root


def smt_machine(root: Path, cores: int = 4) -> Path:
    """Two threads a core, the second half of the numbers being the siblings; 62.5 GiB, 40 of them available."""
    topology = {
        f"sys/devices/system/cpu/cpu{cpu}/topology/core_cpus_list": f"{cpu % cores},{cpu % cores + cores}"
        for cpu in range(2 * cores)
    }
    return write(root, {**topology, "proc/meminfo": MEMINFO, "proc/self/cgroup": "0::/", "proc/self/mountinfo": ""})


def test_smt_siblings_count_once(tmp_path: Path) -> None:
    root = smt_machine(tmp_path)
    assert usable_physical_cores(root, frozenset(range(8))) == 4
    assert usable_physical_cores(root, frozenset({0, 4})) == 1
    assert usable_physical_cores(root, frozenset({0, 1, 5})) == 2
    assert usable_logical_cpus(root, frozenset({0, 1, 5})) == 3


def test_the_load_is_the_last_minute_s(tmp_path: Path) -> None:
    assert cpu_load(write(tmp_path, {"proc/loadavg": "8.40 6.73 5.82 2/300 4242"})).programs == 8.4
    assert cpu_load(write(tmp_path, {"proc/loadavg": "unknown"})).programs == 0.0


def test_an_unknown_topology_counts_every_cpu(tmp_path: Path) -> None:
    root = write(tmp_path, {"sys/devices/system/cpu/online": "0-2"})
    assert usable_physical_cores(root, frozenset({0, 1, 2})) == 3


@pytest.mark.parametrize(
    ("quota", "cores"), [("150000 100000", 1), ("300000 100000", 3), ("max 100000", 4), ("50000 100000", 1)]
)
def test_a_v2_quota_bounds_the_cores(tmp_path: Path, quota: str, cores: int) -> None:
    root = write(
        smt_machine(tmp_path),
        {"proc/self/mountinfo": V2_MOUNT.format(root="/"), "sys/fs/cgroup/cpu.max": quota},
    )
    assert usable_physical_cores(root, frozenset(range(8))) == cores


def test_the_tightest_level_of_a_v2_hierarchy_counts(tmp_path: Path) -> None:
    root = write(
        smt_machine(tmp_path),
        {
            "proc/self/mountinfo": V2_MOUNT.format(root="/"),
            "proc/self/cgroup": "0::/user.slice/app.service",
            "sys/fs/cgroup/user.slice/cpu.max": "200000 100000",
            "sys/fs/cgroup/user.slice/app.service/cpu.max": "max 100000",
            "sys/fs/cgroup/user.slice/memory.max": str(8 * GIB),
            "sys/fs/cgroup/user.slice/memory.current": str(5 * GIB),
            "sys/fs/cgroup/user.slice/memory.stat": f"anon 1\ninactive_file {GIB}\nactive_file {GIB}",
            "sys/fs/cgroup/user.slice/app.service/memory.max": "max",
            "sys/fs/cgroup/user.slice/app.service/memory.current": "1",
        },
    )
    assert cpu_quota(root) == 2
    assert memory_total_bytes(root) == 8 * GIB
    assert memory_available_bytes(root) == 5 * GIB  # 8 less 5 in use, of which 2 are page cache


def test_v1_limits_of_a_container_that_sees_only_its_own_part(tmp_path: Path) -> None:
    """Docker on cgroup v1: the process's path and the mount's root are the same."""
    root = write(
        smt_machine(tmp_path),
        {
            "proc/self/mountinfo": V1_MOUNTS.format(root="/docker/abc"),
            "proc/self/cgroup": "4:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n1:name=systemd:/docker/abc\n0::/",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": str(16 * GIB),
            "sys/fs/cgroup/memory/memory.usage_in_bytes": str(6 * GIB),
            "sys/fs/cgroup/memory/memory.stat": f"inactive_file 5\ntotal_inactive_file {2 * GIB}\ntotal_active_file 0",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "250000",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000",
        },
    )
    assert memory_available_bytes(root) == 12 * GIB
    assert cpu_quota(root) == 2.5
    assert usable_physical_cores(root, frozenset(range(8))) == 2


def test_v1_without_limits_is_the_machine_itself(tmp_path: Path) -> None:
    """As recorded where v1 is mounted in part beside v2: -1 and 2^63 less a page stand for `no limit`."""
    root = write(
        smt_machine(tmp_path),
        {
            "proc/self/mountinfo": V1_MOUNTS.format(root="/")
            + V2_MOUNT.format(root="/").replace("cgroup rw", "unified rw"),
            "proc/self/cgroup": "4:memory:/process_api/3e68\n1:cpu:/\n0::/",
            "sys/fs/cgroup/memory/process_api/3e68/memory.limit_in_bytes": "9223372036854771712",
            "sys/fs/cgroup/memory/process_api/3e68/memory.usage_in_bytes": "50",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "-1",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000",
        },
    )
    assert memory_total_bytes(root) == 65536000 * 1024
    assert memory_available_bytes(root) == 40 * GIB
    assert cpu_quota(root) is None


def test_a_cgroup_over_its_limit_leaves_nothing(tmp_path: Path) -> None:
    root = write(
        smt_machine(tmp_path),
        {
            "proc/self/mountinfo": V2_MOUNT.format(root="/"),
            "sys/fs/cgroup/memory.max": "100",
            "sys/fs/cgroup/memory.current": "200",
        },
    )
    assert memory_available_bytes(root) == 0


def test_numa_nodes_with_their_cpus_and_memory(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        {
            "sys/devices/system/node/node1/cpulist": "4-7,12",
            "sys/devices/system/node/node1/meminfo": "Node 1 MemTotal:       2048 kB\nNode 1 MemFree: 1 kB",
            "sys/devices/system/node/node0/cpulist": "",
            "sys/devices/system/node/node0/meminfo": "Node 0 MemTotal:       1024 kB",
        },
    )
    first, second = numa_nodes(root)
    assert (first.index, first.cpus, first.memory_total_bytes) == (0, (), 1 << 20)
    assert (second.index, second.cpus, second.memory_total_bytes) == (1, (4, 5, 6, 7, 12), 2 << 20)


@pytest.mark.parametrize(
    ("vendor", "kind", "nvidia", "amd"),
    [
        ("0x10de", "0x030200", True, False),
        ("0x10de", "0x040300", False, False),  # the sound device of a card
        ("0x1002", "0x030000", False, True),
        ("0x8086", "0x030000", False, False),
    ],
)
def test_gpus_are_seen_without_a_driver(tmp_path: Path, vendor: str, kind: str, nvidia: bool, amd: bool) -> None:
    device = "sys/bus/pci/devices/0000:01:00.0"
    root = write(tmp_path, {f"{device}/vendor": vendor, f"{device}/class": kind})
    assert (nvidia_hardware(root), amd_hardware(root)) == (nvidia, amd)


def test_the_driver_s_proc_folder_is_enough(tmp_path: Path) -> None:
    assert not nvidia_hardware(tmp_path)
    write(tmp_path, {"proc/driver/nvidia/version": "NVRM"})
    assert nvidia_hardware(tmp_path)


def test_this_machine_is_detected() -> None:
    machine = detect_machine()
    assert 1 <= machine.physical_cores <= machine.logical_cpus or machine.logical_cpus >= 1
    assert 0 < machine.memory_available_bytes <= machine.memory_total_bytes
    assert machine.gpus or machine.nvidia.reason


@given(st.text(), st.text(), st.text())
def test_no_content_of_a_limit_file_raises(limit: str, used: str, stat: str) -> None:
    import tempfile  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as folder:
        root = write(
            smt_machine(Path(folder)),
            {
                "proc/self/mountinfo": V2_MOUNT.format(root="/"),
                "sys/fs/cgroup/memory.max": limit,
                "sys/fs/cgroup/memory.current": used,
                "sys/fs/cgroup/memory.stat": stat,
                "sys/fs/cgroup/cpu.max": limit,
            },
        )
        assert memory_available_bytes(root) >= 0
        assert usable_physical_cores(root, frozenset({0})) == 1
