"""What crosses a process border is read as the version before wrote it, and what another one adds is no harm."""

import json
from typing import Any

import msgspec
import pytest

from r1tui.errors import R1tuiError
from r1tui.messages import (
    VERSION,
    DevicePlan,
    HostPlan,
    PlanSummary,
    ProcessId,
    Range,
    Speed,
    Status,
)
from r1tui.supervisor.protocol import VersionError, read_status
from r1tui.supervisor.status import describe, read_record, status
from r1tui.system.jobs import JobRecord
from r1tui.system.paths import Paths, private_folder

PLAN: dict[str, Any] = {
    "variant": "r1-iq1_s", "model": "/m/r1.gguf", "strategy": "experts", "n_gpu_layers": 62, "n_cpu_moe": 31,
    "ctx_size": 8192, "cache_type_k": "q4_0", "cache_type_v": "f16", "threads": 16,
    "devices": [{"name": "CUDA0", "total_mib": 81559, "free_mib": 80900, "weights_mib": 48700, "kv_mib": 22204,
                 "compute_mib": 2438, "pool_mib": 584,
                 "pci_bus_id": ""}],
    "host": {"total_mib": 262144, "weights_mib": 84000, "kv_mib": 0, "compute_mib": 512, "anonymous_mib": 512},
    "ubatch_size": 512, "flash_attn": "off", "tensor_split": [], "tps": {"prompt": [60.0, 180.0], "answer": [4.1, 9.3]},
    "ttft_s": {}, "cost_per_1000_tokens": None, "env": {},
    "fits": True, "verdict": "hybrid", "source": "engine", "reasons": ["The experts stay."],
    "argv": ["/e/llama-server", "--model", "/m/r1.gguf"],
}  # fmt: skip
"""As `plan --json` of the version before has it, and its supervisor keeps it."""
SPEC: dict[str, Any] = {
    "version": 2, "variant": "r1-iq1_s", "fetched_as": "", "model": "/m/r1.gguf",
    "argv": ["/e/llama-server", "--model", "/m/r1.gguf"], "socket": "/run/r1tui/server.sock", "tcp": None,
    "plan": PLAN, "key_file": None, "log_max_mib": 64, "owner": {"pid": 7, "start_time": "b/1"},
    "restart_delays_s": [1.0, 2.0], "steady_s": 600.0,
    "smaller": [{"argv": ["/e/llama-server", "-c", "4096"], "plan": PLAN, "words": "less", "spares_host": True}],
    "sleeps": False, "silence_s": 20.0, "cwd": None,
}  # fmt: skip
RECORD: dict[str, Any] = {
    "version": 2, "spec": SPEC, "state": "ready", "keeper": {"pid": 8, "start_time": "b/2"},
    "server": {"pid": 9, "start_time": "b/3"}, "boot": "b", "started_s": 5.5, "ready_s": 7.0, "restarts": 1,
    "failures": 0, "exit_status": -9, "log": "/s/server.log", "log_capped": False, "cause": None, "remedy": None,
    "evidence": [], "kind": None, "endings": [{"cause": "It fell.", "next": "Again.", "kind": "", "plan": PLAN}],
    "answers": ["7-ab"],
}  # fmt: skip
STATUS: dict[str, Any] = {
    "state": "ready", "pid": 9, "keeper_pid": 8, "restarts": 1, "exit_status": None, "variant": "r1-iq1_s",
    "endpoint": "unix:/run/r1tui/server.sock", "uptime_s": 3.5, "argv": SPEC["argv"], "log": "/s/server.log",
    "cause": None, "remedy": None, "model": "/m/r1.gguf", "tcp": None, "key_file": None, "plan": PLAN,
    "answers": [], "evidence": [], "kind": None, "endings": RECORD["endings"], "version": 2, "keeper_hangs": False,
}  # fmt: skip
SUMMARY = PlanSummary(
    variant="r1-iq1_s", model="/m/r1.gguf", strategy="experts", n_gpu_layers=62, n_cpu_moe=31, ctx_size=8192,
    cache_type_k="q4_0", cache_type_v="f16", threads=16,
    devices=(DevicePlan("CUDA0", 81559, 80900, 48700, 22204, 2438, 584),), host=HostPlan(262144, 84000, 0, 512, 512),
    ubatch_size=512, flash_attn="off", tps=Speed(Range(60.0, 180.0), Range(4.1, 9.3)), fits=True, verdict="hybrid",
    source="engine", reasons=("The experts stay.",), argv=SPEC["argv"],
)  # fmt: skip


def line(**fields: Any) -> bytes:
    """A reply of a supervisor."""
    return json.dumps({"ok": True, "status": None, "cause": "", "remedy": "", "v": 2} | fields).encode()


def written(paths: Paths, record: dict[str, Any]) -> Paths:
    """The home, with this state file."""
    private_folder(paths.state)
    paths.state_file.write_text(json.dumps(record))
    return paths


def test_a_plan_goes_through_json_as_it_was() -> None:
    assert msgspec.convert(PLAN, PlanSummary) == SUMMARY
    assert json.loads(msgspec.json.encode(SUMMARY)) == PLAN
    assert list(json.loads(msgspec.json.encode(SUMMARY))) == list(PLAN)


def test_a_plan_of_another_version_is_what_is_known_of_it() -> None:
    other = {"ctx_size": 512, "verdict": "levitates", "beyond_mib": 9, "devices": [{"name": "TPU0", "beyond_mib": 3}]}
    assert msgspec.convert(other, PlanSummary) == PlanSummary(
        ctx_size=512, verdict="levitates", devices=(DevicePlan("TPU0"),)
    )


def test_the_state_file_of_the_version_before_is_read(paths: Paths) -> None:
    record = read_record(written(paths, RECORD))
    assert record is not None
    assert record.spec.plan == record.spec.smaller[0].plan == record.endings[0].plan == SUMMARY
    assert (record.server, record.spec.owner) == (ProcessId(9, "b/3"), ProcessId(7, "b/1"))
    now = describe(record, server=record.server, supervisor_pid=8)
    assert (now.state, now.plan, now.model_name, now.cause) == ("ready", SUMMARY, "/m/r1.gguf", None)
    assert describe(record, server=None, supervisor_pid=None).model_name is None


def test_a_supervisor_of_the_version_before_is_understood() -> None:
    told = read_status(line(status=STATUS))
    assert (told.state, told.plan, told.endings[0].plan, told.model_name) == ("ready", SUMMARY, SUMMARY, "/m/r1.gguf")
    with pytest.raises(R1tuiError, match=r"^No such thing\.$"):
        read_status(line(ok=False, cause="No such thing."))


def test_what_a_newer_one_adds_is_no_harm_and_another_protocol_is_said() -> None:
    newer = STATUS | {"mood": {"good": True}, "plan": PLAN | {"pool_mib": 4}}
    assert read_status(line(status=newer, since=3)).plan == SUMMARY
    with pytest.raises(VersionError, match=f"protocol {VERSION + 1}; this one: {VERSION}"):
        read_status(line(status={"state": 5}, v=VERSION + 1))


@pytest.mark.parametrize("version", [1, 3])
def test_a_state_file_of_another_version_is_said(paths: Paths, version: int) -> None:
    record = read_record(written(paths, RECORD | {"version": version}))
    assert record is not None
    now = describe(record, server=record.server, supervisor_pid=8)
    assert now.cause == f"The supervisor is of another r1tui version (state version {version})."
    assert "r1tui stop" in str(now.remedy)


def test_a_state_file_that_makes_no_sense_is_said(paths: Paths) -> None:
    now = status(written(paths, RECORD | {"spec": {"plan": {"devices": 5}}}))
    assert now.state == "failed"
    assert now.cause == (f"{paths.state_file} cannot be read: Expected `array`, got `int` - at `$.spec.plan.devices`.")


def test_a_state_file_that_only_a_newer_one_understands_is_said(paths: Paths) -> None:
    now = status(written(paths, RECORD | {"version": 3, "answers": {"7-ab": "running"}}))
    assert now.cause == f"{paths.state_file} cannot be read: another r1tui version wrote it (state version 3)."
    assert "r1tui stop" in str(now.remedy)


def test_a_job_of_the_version_before_is_known() -> None:
    record = msgspec.json.decode(b'{"argv":["r1tui","build"],"process":{"pid":7,"start_time":"b/1"}}', type=JobRecord)
    assert record == JobRecord(["r1tui", "build"], ProcessId(7, "b/1"))


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ([], "/m/r1.gguf"),
        (["--alias", "mine"], "mine"),
        (["-a", " zed, alpha ,"], "alpha"),
        (["--alias", ","], "/m/r1.gguf"),
    ],
)  # fmt: skip
def test_a_server_s_name_of_its_model(options: list[str], name: str) -> None:
    now = Status(state="ready", pid=9, model="/m/r1.gguf", argv=["/e/llama-server", *options])
    assert now.model_name == now.as_json()["model_name"] == name
    assert msgspec.structs.replace(now, pid=None).model_name is None
