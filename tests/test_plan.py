"""Plans: the rule's table, cache types, strategies, verdicts, contexts, and the arguments that come of them."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from r1tui.config import PlanSettings
from r1tui.gguf import Header, read_header
from r1tui.plan import Device, Plan, PlanRequest, make_plan, rule_of_thumb, verdict_by_size
from r1tui.plan.capabilities import Capabilities
from r1tui.plan.layout import ModelLayout
from r1tui.plan.memory import Model, place
from r1tui.plan.pins import ON_HOST
from r1tui.plan.repack import repacked_types
from r1tui.plan.request import DeviceBackend
from tests import sparse_dense, sparse_r1
from tests.conftest import SparseModel

GIB = 1024


@pytest.fixture(scope="session")
def r1(sparse_model: SparseModel) -> dict[str, Header]:
    """Full-size R1, older and MLA."""
    return {name: read_header(sparse_model(sparse_r1.build, mla=name == "mla")) for name in ("legacy", "mla")}


def plan(
    header: Header, vram_gib: tuple[int, ...], ram_gib: int = 128, backend: DeviceBackend = "cuda", **settings: Any
) -> Plan:
    devices = tuple(
        Device(f"{backend.upper()}{index}", backend, size * GIB, size * GIB) for index, size in enumerate(vram_gib)
    )
    repacked = repacked_types("avx2")
    wishes = PlanSettings(**settings)
    return make_plan(header, PlanRequest(ram_gib * GIB, ram_gib * GIB, 16, wishes, devices, repacked_types=repacked))


@pytest.mark.parametrize(
    ("size_gib", "layers"),
    [(131, (7, 33, 61)), (158, (5, 26, 57)), (183, (4, 22, 49)), (212, (2, 19, 42))],
    ids=["IQ1_S", "IQ1_M", "IQ2_XXS", "Q2_K_XL"],
)
def test_the_rule_gives_the_published_table(size_gib: int, layers: tuple[int, ...]) -> None:
    assert tuple(rule_of_thumb(vram, size_gib, 61) for vram in (24, 80, 160)) == layers


def test_the_rule_stays_within_the_model() -> None:
    assert (rule_of_thumb(4, 131, 61), rule_of_thumb(1000, 131, 61)) == (0, 61)


@pytest.mark.parametrize(
    ("size_gib", "vram_gib", "verdict"),
    [(20, 24, "gpu"), (24, 24, "hybrid"), (131, 24, "hybrid"), (131, 0, "disk"), (99, 0, "cpu"), (212, 24, "disk")],
)
def test_a_first_guess_by_size(size_gib: int, vram_gib: int, verdict: str) -> None:
    devices = (Device("CUDA0", "cuda", vram_gib * GIB, vram_gib * GIB),) if vram_gib else ()
    assert verdict_by_size(size_gib, PlanRequest(128 * GIB, 120 * GIB, 8, devices=devices)) == verdict


def test_all_layers_by_the_rule_are_62_for_the_engine(r1: dict[str, Header]) -> None:
    made = plan(r1["mla"], (80, 80), strategy="rule")
    assert (made.n_gpu_layers, made.n_cpu_moe, made.verdict) == (62, 0, "gpu")
    assert "--n-gpu-layers 62" in " ".join(made.arguments())


def test_by_the_rule_33_layers_of_an_older_file_leave_room_for_part_of_the_context_only(r1: dict[str, Header]) -> None:
    made = plan(r1["legacy"], (80,), strategy="rule")
    assert (made.n_gpu_layers, made.ctx_size) == (33, 4096)
    assert any("4,096 tokens instead of 8,192" in reason for reason in made.reasons)


@pytest.mark.parametrize(
    ("name", "settings", "types"),
    [
        ("mla", {}, ("f16", "f16")),
        ("mla", {"cache_type_k": "q8_0"}, ("q8_0", "q8_0")),
        ("mla", {"cache_type_v": "q8_0"}, ("q8_0", "q8_0")),
        ("mla", {"cache_type_k": "q4_0", "cache_type_v": "f16"}, ("q4_0", "q4_0")),
        ("legacy", {}, ("q4_0", "f16")),
        ("legacy", {"cache_type_k": "f16"}, ("f16", "f16")),
        ("legacy", {"cache_type_v": "q8_0"}, ("q4_0", "f16")),
    ],
)
def test_cache_types_are_what_the_file_can_have(
    r1: dict[str, Header], name: str, settings: dict[str, Any], types: tuple[str, str]
) -> None:
    made = plan(r1[name], (24,), **settings)
    assert (made.cache_type_k, made.cache_type_v) == types


def test_an_older_file_has_no_flash_attention_on_cuda_and_has_it_elsewhere(r1: dict[str, Header]) -> None:
    assert plan(r1["legacy"], (24,)).flash_attn == "off"
    rpc = plan(r1["legacy"], (24,), backend="rpc", cache_type_v="q8_0")
    assert (rpc.flash_attn, rpc.cache_type_v) == ("auto", "q8_0")
    assert plan(r1["mla"], (24,)).flash_attn == "auto"


def test_auto_keeps_the_experts_of_few_layers_on_the_host(r1: dict[str, Header]) -> None:
    made = plan(r1["mla"], (24,), ubatch_size=512)
    assert (made.strategy, made.n_gpu_layers, made.n_cpu_moe, made.verdict) == ("experts", 62, 56, "hybrid")
    (device,) = made.devices
    assert device.weights_mib + device.kv_mib + device.compute_mib <= 23 * GIB
    one_more = plan(r1["mla"], (24,), n_gpu_layers=62, n_cpu_moe=55)
    assert (one_more.verdict, one_more.fits) == ("no", False)


def test_an_older_file_leaves_whole_layers_on_the_host_where_its_cache_is_too_large(r1: dict[str, Header]) -> None:
    made = plan(r1["legacy"], (24,), ram_gib=256)
    assert made.verdict == "hybrid"
    assert made.n_gpu_layers is not None
    assert 0 < made.n_gpu_layers < 62
    assert made.ctx_size == 8192
    assert any("549 MiB" in reason for reason in made.reasons)


def test_hand_written_rules_are_accounted_for_and_passed_on(r1: dict[str, Header]) -> None:
    rules = ((r"blk\.(3|4)\..*exps", "CPU"), (r"blk\.5\..*exps", "CUDA1"))
    devices = tuple(Device(f"CUDA{index}", "cuda", 80 * GIB, 80 * GIB) for index in range(2))
    settings = PlanSettings(n_gpu_layers=62, n_cpu_moe=0)
    request = PlanRequest(256 * GIB, 256 * GIB, 16, settings, devices)
    bare, ruled = make_plan(r1["mla"], request), make_plan(r1["mla"], replace(request, overrides=rules))
    layers = [sum(t.size_bytes for t in r1["mla"].layers[n] if "exps" in t.name) >> 20 for n in (3, 4)]
    assert ruled.host.weights_mib - bare.host.weights_mib == pytest.approx(sum(layers), abs=2)
    assert f"--override-tensor {rules[0][0]}=CPU,{rules[1][0]}=CUDA1" in " ".join(ruled.arguments())


def test_margins_are_the_users(r1: dict[str, Header]) -> None:
    def experts_held(margin_mib: int | None) -> int:
        devices = (Device("CUDA0", "cuda", 25 * GIB, 25 * GIB, margin_mib),)
        made = make_plan(r1["mla"], PlanRequest(256 * GIB, 256 * GIB, 16, PlanSettings(ubatch_size=512), devices))
        assert made.n_cpu_moe is not None
        return made.n_cpu_moe

    assert experts_held(0) < experts_held(None) < experts_held(6000)


def test_several_memory_nodes_share_the_hosts_part(r1: dict[str, Header]) -> None:
    devices = (Device("CUDA0", "cuda", 24 * GIB, 24 * GIB),)
    made = make_plan(r1["mla"], PlanRequest(256 * GIB, 256 * GIB, 16, devices=devices, numa_nodes=2))
    assert "--numa distribute" in " ".join(made.arguments())
    assert "--numa" not in plan(r1["mla"], (24,)).arguments()


def test_the_cache_of_prompts_is_small_where_memory_is_short(r1: dict[str, Header]) -> None:
    assert "--cache-ram 0" in " ".join(plan(r1["mla"], (24,), ram_gib=20).arguments())
    assert "--cache-ram" in plan(r1["mla"], (24,), ram_gib=128).arguments()
    assert "--cache-ram" not in plan(r1["mla"], (24,), ram_gib=512).arguments()


def test_layers_given_by_hand_are_tried_even_where_they_do_not_fit(r1: dict[str, Header]) -> None:
    made = plan(r1["mla"], (24,), n_gpu_layers=30, n_cpu_moe=0)
    assert (made.verdict, made.fits, made.can_start) == ("no", False, True)


def test_layers_is_the_most_that_fits(r1: dict[str, Header]) -> None:
    made = plan(r1["mla"], (24,), strategy="layers")
    assert (made.n_gpu_layers, made.n_cpu_moe, made.verdict) == (10, 0, "hybrid")
    assert plan(r1["mla"], (24,), n_gpu_layers=11).verdict == "no"


def test_two_cards_hold_everything(r1: dict[str, Header]) -> None:
    made = plan(r1["mla"], (80, 80))
    assert (made.verdict, made.fits, made.n_cpu_moe) == ("gpu", True, 0)
    assert sum(made.tensor_split) == 62
    assert f"--tensor-split {','.join(map(str, made.tensor_split))}" in " ".join(made.arguments())


def test_uneven_cards_are_filled_alike(r1: dict[str, Header]) -> None:
    made = plan(r1["mla"], (80, 40), strategy="layers")
    fullness = [(one.planned_mib) / one.total_mib for one in made.devices]
    assert max(fullness) - min(fullness) < 0.1
    assert all(one.planned_mib <= one.total_mib - GIB for one in made.devices)


def test_weights_beyond_memory_stream_from_disk(r1: dict[str, Header]) -> None:
    made = plan(r1["mla"], (24,), ram_gib=20)
    assert (made.verdict, made.fits, made.can_start) == ("disk", False, True)
    assert {"--no-repack", "--no-warmup"} <= set(made.arguments())
    assert any("read from disk" in reason for reason in made.reasons)


def test_without_a_gpu_everything_is_on_the_cpu(r1: dict[str, Header]) -> None:
    made = plan(r1["mla"], (), ram_gib=256)
    assert (made.verdict, made.n_gpu_layers, made.devices) == ("cpu", 0, ())
    assert made.host.anonymous_mib > made.host.kv_mib + made.host.compute_mib  # CPU_REPACK


def test_the_context_shrinks_before_the_model_is_refused(r1: dict[str, Header]) -> None:
    made = plan(r1["legacy"], (), ram_gib=25, ctx_size=32768, cache_type_k="f16")
    assert (made.ctx_size, made.verdict) == (4864, "disk")
    assert plan(r1["legacy"], (), ram_gib=2).verdict == "no"


def test_no_context_beyond_the_trained_one(tiny_r1: Callable[..., Path]) -> None:
    made = plan(read_header(tiny_r1()), (), ctx_size=100_000)
    assert made.ctx_size == 8192
    assert any("trained" in reason for reason in made.reasons)


def test_the_engine_may_decide(r1: dict[str, Header]) -> None:
    by_hand = plan(r1["mla"], (24,), strategy="engine", n_gpu_layers=5)
    assert "--fit places" not in " ".join(by_hand.reasons)  # nothing is left to it
    made = plan(r1["mla"], (24,), strategy="engine")
    assert (made.n_gpu_layers, made.n_cpu_moe) == (None, None)
    assert "--n-gpu-layers" not in made.arguments()
    assert "--fit on" in " ".join(made.arguments())


def test_only_flags_that_the_binary_has(r1: dict[str, Header]) -> None:
    made = plan(r1["mla"], (24,), ubatch_size=4096, ctx_size=8192)
    old = Capabilities("old", 1, frozenset({"--ctx-size", "--n-gpu-layers"}))
    assert made.arguments(old) == ["--ctx-size", "8192", "--n-gpu-layers", "62"]
    assert "--batch-size 4096" in " ".join(made.arguments())


def test_batches_are_as_large_as_costs_hardly_an_expert(r1: dict[str, Header]) -> None:
    made = plan(r1["mla"], (24,))
    assert (made.ubatch_size, made.n_cpu_moe) == (4096, 58)
    assert any("4,096 tokens at once" in reason for reason in made.reasons)
    assert plan(r1["mla"], (24,), backend="rpc").ubatch_size == 512  # a worker fetches no experts
    assert plan(r1["mla"], (80, 80)).ubatch_size == 2048  # none are on the host, and memory is left


def test_larger_batches_cost_experts(r1: dict[str, Header]) -> None:
    small, large = (plan(r1["mla"], (24,), ubatch_size=size) for size in (512, 4096))
    assert small.n_cpu_moe is not None
    assert large.n_cpu_moe is not None
    assert large.n_cpu_moe > small.n_cpu_moe


def test_json_has_the_keys_of_the_contract(r1: dict[str, Header]) -> None:
    summary = msgspec.to_builtins(plan(r1["mla"], (24,)).summary())
    assert list(summary) == [
        "variant", "model", "strategy", "n_gpu_layers", "n_cpu_moe", "ctx_size", "cache_type_k", "cache_type_v",
        "threads", "devices", "host", "ubatch_size", "flash_attn", "tensor_split", "tps", "ttft_s",
        "cost_per_1000_tokens", "env", "fits", "verdict", "source",
        "reasons", "argv",
    ]  # fmt: skip
    assert set(summary["devices"][0]) == {
        "name", "total_mib", "free_mib", "weights_mib", "kv_mib", "compute_mib", "pool_mib", "pci_bus_id",
    }  # fmt: skip
    assert set(summary["host"]) == {"total_mib", "weights_mib", "kv_mib", "compute_mib", "anonymous_mib"}
    for low, high in summary["tps"].values():
        assert 0 < low < high


def layout(n_gpu_layers: int, n_cpu_moe: int, *, flash_attention: bool = True) -> ModelLayout:
    return ModelLayout(n_gpu_layers, n_cpu_moe, (n_gpu_layers,), 8192, "f16", "f16", flash_attention, 512)


@pytest.mark.parametrize(
    ("name", "chosen", "mib"),
    [
        ("mla", layout(62, 58), 1132),  # the largest expert tensor, 924 MiB, and 208 MiB of activations
        ("legacy", layout(7, 0, flash_attention=False), 2920),  # the scores of 8192 tokens, 128 heads, and their keys
    ],
)
def test_compute_buffers_of_a_cuda_device(r1: dict[str, Header], name: str, chosen: ModelLayout, mib: int) -> None:
    (share,) = Model(r1[name], ("cuda",)).measure(chosen).devices
    assert round(share.compute_bytes / 2**20) == mib


def test_a_cuda_device_takes_a_dense_layer_s_largest_tensor_from_the_host(sparse_model: SparseModel) -> None:
    header = read_header(sparse_model(sparse_dense.build, name="llama-70b"))
    chosen = ModelLayout(40, 0, (40,), 2048, "f16", "f16", flash_attention=True, ubatch_size=512)
    (cuda,), (rpc,) = (Model(header, (kind,)).measure(chosen).devices for kind in ("cuda", "rpc"))
    largest = max(tensor.size_bytes for tensor in header.layers[0])  # ffn_down, which offload_op sends for a batch
    assert cuda.compute_bytes >= largest > rpc.compute_bytes * 0.5


@pytest.mark.parametrize(
    ("features", "types"),
    [
        ("sse4_2 avx avx2 fma", {"q4_0", "q4_K", "iq4_nl", "mxfp4"}),
        ("avx2 avx512f avx512bw", {"q4_0", "q4_K", "iq4_nl", "mxfp4", "q2_K"}),
        ("fp asimd asimddp", {"q4_0", "q4_K", "q5_K", "q6_K", "q8_0", "iq4_nl", "mxfp4", "q1_0"}),
        ("sse4_2 avx", set()),
    ],
)
def test_what_a_cpu_copies_depends_on_its_instructions(features: str, types: set[str]) -> None:
    assert repacked_types(features) == types


def test_only_matrices_and_experts_are_copied(r1: dict[str, Header]) -> None:
    avx2, nothing = (Model(r1["mla"], (), (), types) for types in (repacked_types("avx2"), frozenset[str]()))
    on_host = ModelLayout(0, 0, (), 2048, "f16", "f16", flash_attention=True, ubatch_size=512)
    matrices = [
        tensor.size_bytes
        for layer in r1["mla"].layers
        for tensor in layer
        if tensor.type == "q4_K" and len(tensor.shape) == 2
    ]
    assert avx2.measure(on_host).repack_bytes == sum(matrices)
    assert nothing.measure(on_host).repack_bytes == 0


def test_the_context_that_would_keep_everything_on_the_gpu_is_named(r1: dict[str, Header]) -> None:
    made = plan(r1["legacy"], (24,), ram_gib=256)
    (reason,) = [reason for reason in made.reasons if reason.startswith("With a context of")]
    shorter = int(reason.split()[4].replace(",", ""))
    assert plan(r1["legacy"], (24,), ram_gib=256, ctx_size=shorter).n_gpu_layers == 62
    assert plan(r1["legacy"], (24,), ram_gib=256, ctx_size=shorter + 256).n_gpu_layers != 62


def test_layers_go_where_llama_cpp_puts_them() -> None:
    assert place(4, 0, (1,)) == (ON_HOST,) * 5
    assert place(4, 1, (1,)) == (ON_HOST,) * 4 + (0,)
    assert place(4, 99, (1,)) == (0,) * 5
    assert place(4, 5, (3, 2)) == (0, 0, 0, 1, 1)
    assert place(4, 4, (1, 0, 3)) == (ON_HOST, 0, 2, 2, 2)


def test_every_split_by_counts_is_exact() -> None:
    for n_layers in (30, 61):
        for first in range(n_layers + 2):
            places = place(n_layers, n_layers + 1, (first, n_layers + 1 - first))
            assert places.count(0) == first
