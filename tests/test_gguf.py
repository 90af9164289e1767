"""Headers are read fast and whole, and whatever is wrong in a file becomes a GgufError."""

import struct
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from time import process_time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from r1tui.gguf import GgufError, inspect, kv_bytes_per_token, read_header, read_header_from
from r1tui.gguf.header import is_expert, layer_of
from r1tui.gguf.types import TENSOR_TYPES
from tests import sparse_r1
from tests import tiny_r1 as tiny
from tests.conftest import SparseModel

MIB = 1 << 20


class Bytes:
    """A source in memory."""

    def __init__(self, data: bytes, claimed_bytes: int | None = None) -> None:
        self.name = "memory.gguf"
        self.data = data
        self.size_bytes = len(data) if claimed_bytes is None else claimed_bytes
        self.read_bytes = 0

    def read_at(self, offset: int, length: int) -> bytes:
        self.read_bytes += length
        return self.data[offset : offset + length]


@pytest.fixture(scope="session")
def sparse(sparse_model: SparseModel) -> dict[bool, Path]:
    return {mla: sparse_model(sparse_r1.build, mla=mla) for mla in (True, False)}


@pytest.fixture(scope="session")
def tiny_bytes(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return tiny.build(tmp_path_factory.mktemp("fuzz") / "tiny.gguf", layers=2).read_bytes()


def test_a_tiny_r1(tiny_r1: Callable[..., Path]) -> None:
    path = tiny_r1()
    header = read_header(path)
    assert (header.architecture, header.name, header.mla) == ("deepseek2", "Tiny R1", True)
    assert (header.n_layers, header.n_experts, header.n_experts_used, header.n_ctx_train) == (4, 8, 2, 8192)
    assert (header.n_heads, header.n_kv_heads, header.key_length, header.value_length) == (2, (1, 1, 1, 1), 96, 64)
    assert header.chat_template == tiny.TEMPLATE
    assert header.shards == (path,)
    assert header.size_bytes == path.stat().st_size


def test_tensors_lie_where_the_other_reader_finds_them(tiny_r1: Callable[..., Path]) -> None:
    from gguf import GGUFReader  # noqa: PLC0415

    path = tiny_r1()
    theirs = {tensor.name: (tensor.data_offset, tensor.n_bytes) for tensor in GGUFReader(path).tensors}
    assert {tensor.name: (tensor.offset, tensor.size_bytes) for tensor in read_header(path).tensors} == theirs


def test_block_sizes_are_those_of_the_other_reader() -> None:
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType  # noqa: PLC0415

    wrong = {GGMLQuantizationType.Q8_1}  # a block_q8_1 is 36 bytes, ggml-common.h
    for kind, sizes in ((kind, sizes) for kind, sizes in GGML_QUANT_SIZES.items() if kind not in wrong):
        assert TENSOR_TYPES[GGMLQuantizationType(kind).value][1:] == sizes


@pytest.mark.parametrize(
    ("mla", "f16", "q4_0"), [(True, 70_272, 19_764), (False, 4_997_120, 1_405_440)], ids=["mla", "legacy"]
)
def test_a_full_size_r1_in_a_quarter_of_a_second(sparse: dict[bool, Path], mla: bool, f16: int, q4_0: int) -> None:
    started_s = process_time()
    header = read_header(sparse[mla])
    assert process_time() - started_s < 0.25
    summary = inspect(header)
    assert (summary["architecture"], summary["mla"], summary["n_layers"]) == ("deepseek2", mla, 61)
    assert (summary["n_experts"], summary["n_ctx_train"], summary["vocab_size"]) == (256, 163_840, 129_280)
    assert summary["size_bytes"] == sparse[mla].stat().st_size
    assert summary["shards"] == 1
    assert (summary["kv_bytes_per_token"]["f16"], summary["kv_bytes_per_token"]["q4_0"]) == (f16, q4_0)
    assert [layer["expert_bytes"] > 0 for layer in summary["layers"]] == [False] * 3 + [True] * 58


def test_the_cache_of_a_legacy_file_with_a_quantised_k(sparse: dict[bool, Path]) -> None:
    per_token = kv_bytes_per_token(read_header(sparse[False]), "q4_0", "f16")
    assert per_token * 8192 == 22_204 * MIB


def test_little_is_read(sparse: dict[bool, Path]) -> None:
    with sparse[True].open("rb") as file:
        source = Bytes(file.read(8 * MIB), claimed_bytes=sparse[True].stat().st_size)
    assert len(read_header_from([source]).tensors) == 1086
    assert source.read_bytes < 8 * MIB


def test_all_shards_are_one_model(tiny_r1: Callable[..., Path], tmp_path: Path) -> None:
    first = tiny.build(tmp_path / "tiny.gguf", shard_tensors=20)
    header, whole = read_header(first), read_header(tiny_r1())
    assert [(tensor.name, tensor.size_bytes) for tensor in header.tensors] == [
        (tensor.name, tensor.size_bytes) for tensor in whole.tensors
    ]
    assert header.shards == tuple(sorted(tmp_path.iterdir()))
    assert header.size_bytes == sum(path.stat().st_size for path in tmp_path.iterdir())
    assert read_header(header.shards[-1]) == header


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    first = tiny.build(tmp_path / "tiny.gguf", shard_tensors=20)
    gone = sorted(tmp_path.iterdir())[1]
    gone.unlink()
    with pytest.raises(GgufError, match=gone.name):
        read_header(first)


def test_shards_of_two_models_do_not_mix(tmp_path: Path) -> None:
    for name, dense in (("a", 1), ("b", 2)):
        (tmp_path / name).mkdir()
        tiny.build(tmp_path / name / "tiny.gguf", shard_tensors=40, dense=dense)
    ours, theirs = (sorted((tmp_path / name).iterdir()) for name in ("a", "b"))
    assert len(ours) == len(theirs) == 2
    with pytest.raises(GgufError, match="tensors together"):
        read_header(theirs[-1].replace(ours[-1]))


def test_a_shard_under_another_number_is_noticed(tmp_path: Path) -> None:
    first, second, *_ = sorted(tiny.build(tmp_path / "t.gguf", shard_tensors=20).parent.iterdir())
    second.write_bytes(first.read_bytes())
    with pytest.raises(GgufError, match="shard 1"):
        read_header(first)


def test_version_2_is_read_too(tiny_bytes: bytes) -> None:
    assert read_header_from([Bytes(tiny_bytes[:4] + struct.pack("<I", 2) + tiny_bytes[8:])]).n_layers == 2


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda data: b"", "empty"),
        (lambda data: b"GG", "not a GGUF"),
        (lambda data: b"PK\3\4" + data[4:], "not a GGUF"),
        (lambda data: data[:4] + struct.pack("<I", 1) + data[8:], "version is 1"),
        (lambda data: data[:4] + struct.pack(">I", 3) + data[8:], "big-endian"),
        (lambda data: data[:8] + struct.pack("<Q", 1 << 60) + data[16:], "impossible"),
        (lambda data: data[:16] + struct.pack("<Q", 1 << 60) + data[24:], "impossible"),
        (lambda data: data[:24] + struct.pack("<Q", 1 << 60) + data[32:], "middle of its header"),
        (lambda data: data[:1000], "middle of its header"),
        (lambda data: data[:-1], "1 of"),
        (lambda data: data.replace(b"deepseek2.block_count", b"deepseek2.block_kount"), "block_count is missing"),
    ],
)
def test_what_is_wrong_is_said(tiny_bytes: bytes, change: Callable[[bytes], bytes], said: str) -> None:
    with pytest.raises(GgufError, match=said):
        read_header_from([Bytes(change(tiny_bytes))])


def test_an_unknown_tensor_type_is_said(tiny_bytes: bytes) -> None:
    place = tiny_bytes.index(b"output_norm.weight") + len(b"output_norm.weight") + 4 + 8
    assert struct.unpack_from("<I", tiny_bytes, place) == (0,)
    with pytest.raises(GgufError, match="type 31"):
        read_header_from([Bytes(tiny_bytes[:place] + struct.pack("<I", 31) + tiny_bytes[place + 4 :])])


@pytest.mark.parametrize("name", ["nothing.gguf", "nothing-00001-of-00002.gguf"])
def test_a_missing_file_is_said(tmp_path: Path, name: str) -> None:
    with pytest.raises(GgufError, match=r"nothing.*\.gguf"):
        read_header(tmp_path / name)


def test_a_file_of_holes_that_claims_endless_lists_is_refused_at_once() -> None:
    pair = struct.pack("<Q", 1) + b"a" + struct.pack("<IIQ", 9, 8, 1 << 32)
    data = b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + pair
    with pytest.raises(GgufError, match="strings"):
        read_header_from([Bytes(data, claimed_bytes=1 << 40)])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_header_does_worse_than_a_clear_error(tiny_bytes: bytes, data: st.DataObject) -> None:
    head = bytearray(tiny_bytes[:12_000])
    for _ in range(data.draw(st.integers(1, 4), label="changes")):
        place = data.draw(st.integers(0, len(head) - 1), label="place")
        new = data.draw(st.binary(min_size=1, max_size=9) | st.sampled_from([b"\xff" * 8, b"\0" * 8]), label="bytes")
        head[place : place + len(new)] = new
    whole = bytes(head) + tiny_bytes[len(head) :]
    cut = data.draw(st.integers(0, len(whole)) | st.just(len(whole)), label="cut")
    with suppress(GgufError):
        inspect(read_header_from([Bytes(whole[:cut])]))


@given(st.binary(max_size=400))
def test_no_bytes_do_worse_than_a_clear_error(tail: bytes) -> None:
    with pytest.raises(GgufError):
        read_header_from([Bytes(b"GGUF" + struct.pack("<IQQ", 3, 2, 2) + tail)])


def test_layers_and_experts_are_told_by_name(sparse: dict[bool, Path]) -> None:
    tensors = read_header(sparse[True]).tensors
    assert {layer_of(tensor) for tensor in tensors} == {None, *range(61)}
    assert {tensor.name.split(".")[2] for tensor in tensors if is_expert(tensor)} == {
        "ffn_gate_exps", "ffn_up_exps", "ffn_down_exps",
    }  # fmt: skip
    assert all(one.offset + one.size_bytes <= other.offset for one, other in pairwise(tensors))
