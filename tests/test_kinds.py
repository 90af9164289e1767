"""Files that are no model of their own are called what they are, with what to do; links lead to the model."""

import gzip
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGUFWriter

from r1tui.catalog.variants import Variant, load_catalog, variant_of_file
from r1tui.config import Config
from r1tui.errors import R1tuiError
from r1tui.gguf import read_header
from r1tui.gguf.kinds import join_command
from r1tui.hub.local.found import find_model
from r1tui.planning.subject import find_subject
from r1tui.system.paths import Paths
from tests.conftest import CommandLine, TinyModel
from tests.tiny_r1 import build


def written(path: Path, architecture: str, **metadata: str) -> Path:
    """A small GGUF with these values, `_` for `.`."""
    writer = GGUFWriter(path, architecture)
    for key, value in metadata.items():
        writer.add_string(key.replace("_", ".", 1), value)
    writer.add_tensor("x", np.zeros((32,), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.parametrize(
    ("architecture", "metadata", "cause", "remedy"),
    [
        ("imatrix", {"general_type": "imatrix"}, "an importance matrix (imatrix)", "Use the model itself"),
        ("llama", {"imatrix_datasets": "wiki.txt"}, "an importance matrix (imatrix)", "Use the model itself"),
        ("llama", {"general_type": "adapter", "adapter_type": "lora"}, "a LoRA adapter", "extra_args: [--lora, "),
        ("deepseek2", {"adapter_type": "lora"}, "a LoRA adapter", "extra_args: [--lora, "),
        ("clip", {}, "image part of a model (mmproj)", "in the same folder"),
        ("llama", {"general_type": "mmproj"}, "image part of a model (mmproj)", "in the same folder"),
        ("eagle3", {}, "a draft model", "extra_args: [--model-draft, "),
        ("dflash", {}, "a draft model", "extra_args: [--model-draft, "),
        ("gemma4-assistant", {}, "a draft model", "extra_args: [--model-draft, "),
        ("nomic-bert", {}, "an embedding model", "r1tui variants"),
        ("wavtokenizer-dec", {}, "makes sound", "r1tui variants"),
    ],
)
def test_what_is_no_model_is_named(
    paths: Paths, tmp_path: Path, *, architecture: str, metadata: dict[str, Any], cause: str, remedy: str
) -> None:
    file = written(tmp_path / "any-name-F16.gguf", architecture, **metadata)
    with pytest.raises(R1tuiError) as caught:
        find_subject(variant_of_file(file), paths, Config())
    assert cause in caught.value.cause
    assert remedy in caught.value.remedy
    assert "--verify" not in caught.value.remedy


def test_a_cut_file_of_ones_own_is_not_to_be_fetched(paths: Paths, tiny_r1: TinyModel, tmp_path: Path) -> None:
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(tiny_r1().read_bytes()[:-1000])
    with pytest.raises(R1tuiError) as caught:
        find_subject(variant_of_file(cut), paths, Config())
    assert "it is incomplete" in caught.value.cause
    assert caught.value.remedy == "Replace it with a complete copy of the file."


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("shards")
    build(folder / "Tiny-R1-Q8_0.gguf", shard_tensors=40)
    return sorted(folder.iterdir())


def subject_file(name: Path, paths: Paths) -> Path:
    """The file that llama-server would be given for `--model NAME`."""
    subject = find_subject(load_catalog(Config()).find(str(name)), paths, Config())
    assert subject is not None
    return subject.file


def test_a_link_to_a_shard_under_another_name_leads_to_the_model(
    shards: list[Path], paths: Paths, tmp_path: Path
) -> None:
    for number, shard in enumerate(shards):
        link = tmp_path / f"link-{number}.gguf"
        link.symlink_to(shard)
        again = tmp_path / f"again-{number}.gguf"
        again.symlink_to(link.name)
        for name in (link, again):
            assert subject_file(name, paths) == shards[0]
            assert read_header(name).shards == tuple(shards)
            assert find_model(Variant("mine", file=name), paths, Config()) == shards[0]


def test_a_link_under_the_shards_own_name_leads_to_the_model_too(
    shards: list[Path], paths: Paths, tmp_path: Path
) -> None:
    link = tmp_path / shards[0].name
    link.symlink_to(shards[0])
    assert subject_file(link, paths) == shards[0]
    (tmp_path / shards[1].name).symlink_to(shards[1])
    assert subject_file(link, paths) == link


def test_a_shard_that_was_given_another_name_is_told(shards: list[Path], paths: Paths, tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(shards[0].read_bytes())
    with pytest.raises(R1tuiError, match=r"part 1 of 2 of a split model, under another name") as caught:
        subject_file(tmp_path / "model.gguf", paths)
    assert "NAME-00001-of-00002.gguf" in caught.value.remedy


def test_capitals_are_a_suffix_too(tiny_r1: TinyModel, shards: list[Path], paths: Paths, tmp_path: Path) -> None:
    single = tmp_path / "TINY.GGUF"
    single.write_bytes(tiny_r1().read_bytes())
    assert subject_file(single, paths) == single
    for shard in shards:
        (tmp_path / f"{shard.stem}.GGUF").write_bytes(shard.read_bytes())
    with pytest.raises(R1tuiError, match=r"only when their names end in \.gguf") as caught:
        subject_file(tmp_path / f"{shards[0].stem}.GGUF", paths)
    command = caught.value.remedy.partition(": ")[2]
    single.unlink()
    subprocess.run(["sh", "-c", command], cwd=tmp_path, check=True)
    assert subject_file(tmp_path / shards[0].name, paths).parent == tmp_path


@pytest.mark.parametrize("name", ["{}.part{}of3", "{}-split-{}", "{}.split.{}", "{}.00{}", "{}.part_{}"])
def test_pieces_are_joined_by_the_command_that_is_given(
    tiny_r1: TinyModel, paths: Paths, tmp_path: Path, name: str
) -> None:
    data, whole = tiny_r1().read_bytes(), "my model's-Q8_0.gguf"
    third = len(data) // 3 + 1
    for number in range(3):
        piece = data[number * third : (number + 1) * third]
        (tmp_path / name.format(whole, number + 1)).write_bytes(piece)
    with pytest.raises(R1tuiError, match="one part of a model") as caught:
        subject_file(tmp_path / name.format(whole, 2), paths)
    folder, _, command = caught.value.remedy.removeprefix("In ").partition(": ")
    subprocess.run(["sh", "-c", command], cwd=folder, check=True)
    assert (tmp_path / whole).read_bytes() == data


def test_ten_pieces_are_joined_in_order() -> None:
    names = [f"a.gguf.part{number}of11" for number in range(1, 12)]
    assert join_command(sorted(names)) == f"cat {' '.join(names)} > a.gguf"


def test_a_vocabulary_without_a_model_is_named(paths: Paths, tmp_path: Path) -> None:
    writer = GGUFWriter(tmp_path / "vocab.gguf", "llama")
    writer.add_block_count(1)
    writer.add_embedding_length(64)
    writer.add_head_count(1)
    writer.add_tokenizer_model("gpt2")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    with pytest.raises(R1tuiError, match="a vocabulary without a model"):
        subject_file(tmp_path / "vocab.gguf", paths)


@pytest.mark.parametrize("name", ["m.gguf.gz", "my model.GGUF.GZ"])
def test_a_compressed_model_is_unpacked_by_the_command_that_is_given(
    name: str, tiny_r1: TinyModel, paths: Paths, tmp_path: Path
) -> None:
    data = tiny_r1().read_bytes()
    (tmp_path / name).write_bytes(gzip.compress(data, 1))
    with pytest.raises(R1tuiError, match="it is compressed") as caught:
        subject_file(tmp_path / name, paths)
    subprocess.run(["sh", "-c", caught.value.remedy.partition(": ")[2]], cwd=tmp_path, check=True)
    assert (tmp_path / name[:-3]).read_bytes() == data


def test_a_download_that_is_not_finished_is_no_piece(tmp_path: Path, tiny_r1: TinyModel) -> None:
    for name in ("a.gguf.part", "a.gguf.partial"):
        (tmp_path / name).write_bytes(tiny_r1().read_bytes())
        assert read_header(tmp_path / name).n_layers


def test_the_commands_say_it_in_two_lines(paths: Paths, tmp_path: Path, shards: list[Path]) -> None:
    r1tui = CommandLine(paths)
    mmproj = written(tmp_path / "mmproj-F16.gguf", "clip")
    said: Callable[[str], str] = lambda name: r1tui("plan", name).stderr  # noqa: E731
    assert "image part of a model (mmproj)" in said(str(mmproj))
    piece = tmp_path / "x.gguf.part1of2"
    piece.write_bytes(b"GGUF")
    assert f"cat {piece.name} > x.gguf" in said(str(piece))
