"""How weights are loaded: read whole into memory where a GPU gains by it and they fit, mapped where they stream."""

from pathlib import Path
from typing import Any

import pytest

from r1tui.config import EngineSettings, PlanSettings
from r1tui.engine.dry_run import dry_run
from r1tui.engine.make import build_engine
from r1tui.gguf import Header, read_header
from r1tui.launch.loading import read_signs
from r1tui.plan import Device, Plan, PlanRequest, make_plan
from r1tui.plan.capabilities import Capabilities
from r1tui.plan.request import DeviceBackend, host_reserve_mib
from r1tui.system.paths import Paths
from tests import sparse_r1
from tests.conftest import CommandLine, TinyModel
from tests.engine_figures import running_worker
from tests.test_cli_chat import ready

GIB = 1024


@pytest.fixture(scope="module")
def r1(tmp_path_factory: pytest.TempPathFactory) -> Header:
    return read_header(sparse_r1.build(tmp_path_factory.mktemp("load") / "r1.gguf", mla=True))


def plan(
    header: Header,
    vram_gib: tuple[int, ...],
    ram_gib: int,
    backend: DeviceBackend = "cuda",
    *,
    unified: bool = False,
    **settings: Any,
) -> Plan:
    devices = tuple(
        Device(f"X{number}", backend, size * GIB, size * GIB, unified=unified) for number, size in enumerate(vram_gib)
    )
    return make_plan(header, PlanRequest(ram_gib * GIB, ram_gib * GIB, 16, PlanSettings(**settings), devices))


def mode(made: Plan) -> str:
    arguments = made.arguments()
    return arguments[arguments.index("--load-mode") + 1] if "--load-mode" in arguments else "auto"


@pytest.mark.parametrize(
    ("vram_gib", "ram_gib", "kind", "expected"),
    [
        ((80, 80), 32, "cuda", ("gpu", "none")),
        ((80, 80), 32, "rpc", ("gpu", "none")),
        ((24,), 256, "cuda", ("hybrid", "none")),
        ((24,), 256, "vulkan", ("hybrid", "none")),
        ((24,), 256, "rpc", ("hybrid", "auto")),
        ((24,), 64, "cuda", ("disk", "mmap")),
        ((), 256, "cuda", ("cpu", "auto")),
        ((144,), 192, "unified metal", ("gpu", "auto")),
        ((119,), 119, "unified cuda", ("disk", "mmap")),
    ],
)
def test_weights_are_read_whole_where_a_gpu_gains_by_it_and_memory_allows(
    r1: Header, vram_gib: tuple[int, ...], ram_gib: int, kind: str, expected: tuple[str, str]
) -> None:
    backend: Any = kind.rsplit(maxsplit=1)[-1]
    made = plan(r1, vram_gib, ram_gib, backend, unified=kind.startswith("unified"))
    assert (made.verdict, mode(made)) == expected
    host = made.host
    weights_mib = host.weights_mib if mode(made) == "none" else 0
    if mode(made) != "auto":
        assert host.anonymous_mib == host.kv_mib + host.compute_mib + weights_mib
        assert made.summary().host.mapped_weights_mib == host.weights_mib - weights_mib
    if mode(made) == "none":
        assert host.anonymous_mib <= ram_gib * GIB - host_reserve_mib(ram_gib * GIB)


def test_a_plan_can_do_without_anonymous_weights(r1: Header) -> None:
    made = plan(r1, (24,), 256)
    mapped = made.mapped()
    assert (mode(made), mode(mapped)) == ("none", "auto")
    assert made.host.anonymous_mib - mapped.host.anonymous_mib == made.host.weights_mib


def test_older_builds_are_told_in_their_own_words(r1: Header) -> None:
    made = plan(r1, (24,), 256)
    old = Capabilities("old", 1, frozenset({"--ctx-size", "--no-mmap"}))
    assert made.arguments(old) == ["--ctx-size", str(made.ctx_size), "--no-mmap"]
    assert "--no-mmap" not in plan(r1, (24,), 64).arguments(old)


def test_a_plan_that_llama_cpp_is_to_make_says_nothing_of_it(r1: Header) -> None:
    assert mode(plan(r1, (24,), 256, strategy="engine")) == "auto"


def test_the_engine_s_dry_run_knows_the_mode(llama_server: Path, paths: Paths, tiny_r1: TinyModel) -> None:
    engine = build_engine(EngineSettings(source=str(llama_server)), paths, lambda event: None)
    model = tiny_r1()
    with running_worker(llama_server, room_mib=4096) as worker:
        device = Device("RPC0", "rpc", 4096, 4096)
        made = make_plan(read_header(model), PlanRequest(64 * GIB, 64 * GIB, 1, devices=(device,)))
        assert (made.verdict, mode(made)) == ("gpu", "none")
        arguments = ["--rpc", worker, *made.arguments(engine.capabilities)]
        mapped = ["--rpc", worker, *made.mapped().arguments(engine.capabilities)]
        assert dry_run(engine, model, arguments) == dry_run(engine, model, mapped)


def test_a_server_whose_weights_are_all_on_a_device_reads_them_whole(
    r1tui: CommandLine, tiny_r1: TinyModel, llama_server: Path
) -> None:
    with running_worker(llama_server, room_mib=4096) as worker:
        r1tui.configure(f"engine: {{source: '{llama_server}'}}\nserver: {{threads: 1, rpc: ['{worker}']}}\n")
        ran = r1tui("serve", "--model", tiny_r1(), "--detach", "--json")
        assert ran.returncode == 0, ran.stdout + ran.stderr
        now = ready(r1tui)
        assert now["argv"][now["argv"].index("--load-mode") + 1] == "none"
        signs = read_signs(now["pid"])
        assert signs is not None
        assert signs.read_bytes >= tiny_r1().stat().st_size  # what the progress of loading shows
        assert r1tui("stop").returncode == 0
