"""The files that a repository and a pattern mean: a quantisation is a whole word, and no other is taken for it."""

import json
import re
import shlex
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from r1tui.catalog.variants import Variant, load_catalog
from r1tui.config import Config
from r1tui.errors import R1tuiError
from r1tui.events import StageEvent
from r1tui.gguf import read_header
from r1tui.hub.download.headers import fetch_headers, known_headers
from r1tui.hub.download.model import download
from r1tui.hub.listing.names import choose, choose_by_name, group_by_model, names_of, quant_of, stem
from r1tui.hub.listing.remote import RemoteFile, Tree, select
from r1tui.hub.local.found import find_model
from r1tui.hub.removal import find_removal, remove
from r1tui.system.paths import Paths
from tests.conftest import CommandLine, TinyModel
from tests.hub_server import Hub, Repository

REPO = "acme/Tiny-R1-GGUF"
QUANTS = (
    "BF16", "F16", "F32", "IQ1_M", "IQ1_S", "IQ2_M", "IQ2_S", "IQ2_XS", "IQ2_XXS", "IQ3_M", "IQ3_XS", "IQ3_XXS",
    "IQ4_NL", "IQ4_XS", "MXFP4", "MXFP4_MOE", "NVFP4", "Q2_K", "Q2_K_L", "Q2_K_S", "Q3_K_L", "Q3_K_M", "Q3_K_S",
    "Q3_K_XL", "Q4_0", "Q4_0_4_4", "Q4_1", "Q4_K", "Q4_K_L", "Q4_K_M", "Q4_K_S", "Q5_0", "Q5_K_M", "Q5_K_S", "Q6_K",
    "Q6_K_L", "Q8_0", "TQ1_0", "TQ2_0", "UD-IQ1_M", "UD-IQ1_S", "UD-IQ2_M", "UD-IQ2_XXS", "UD-IQ3_XXS", "UD-IQ4_XS",
    "UD-Q2_K", "UD-Q2_K_XL", "UD-Q3_K_XL", "UD-Q4_K_M", "UD-Q4_K_XL", "UD-Q6_K", "UD-Q8_K_XL", "UD-TQ1_0",
    "i1-IQ3_M", "i1-Q2_K", "i1-Q4_K_M", "smol-IQ1_KT", "IQ1_KT", "IQ4_KSS", "IQ2_KS_R4",
)  # fmt: skip
"""As real repositories call them, all at once."""
LAYOUTS = {
    "a name": "Tiny-R1-{}.gguf",
    "a name after a dot": "Tiny-R1.{}.gguf",
    "another name than the repository's": "DeepSeek-Q8_0-mini-{}.gguf",
    "a name after a _": "tiny_r1_{}.gguf",
    "a folder and a name": "{0}/Tiny-R1-{0}-00001-of-00001.gguf",
    "a folder alone": "{}/model.gguf",
    "a folder alone, in shards": "{}/model-00001-of-00001.gguf",
    "folders": "gguf/{}/Tiny-R1.gguf",
    "capitals": "TINY-R1-{}.GGUF",
}


CATALOG = load_catalog(Config())


@cache
def asked(quant: str) -> str:
    """The pattern of hf:OWNER/REPO:QUANT."""
    return CATALOG.find(f"hf:{REPO}:{quant}").pattern or ""


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("case", [str, str.upper, str.lower])
def test_each_quantisation_names_its_own_file_among_all(layout: str, case: "type[str]") -> None:
    files = [layout.format(quant) for quant in QUANTS]
    for quant, file in zip(QUANTS, files, strict=True):
        assert choose(files, REPO, asked(case(quant))) == [file]
        assert choose_by_name([file], REPO, asked(quant)) == [file]


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_no_other_quantisation_is_taken_even_when_it_is_the_only_one(layout: str) -> None:
    for quant in QUANTS:
        for other in QUANTS:
            if quant != other:
                assert choose([layout.format(other)], REPO, asked(quant)) == [], (quant, other)
                assert choose_by_name([layout.format(other)], REPO, asked(quant)) == []


@given(st.permutations(QUANTS), st.sampled_from(sorted(LAYOUTS.values())), st.integers(1, len(QUANTS)))
def test_by_whatever_part_of_a_repository(quants: list[str], layout: str, count: int) -> None:
    files = [layout.format(quant) for quant in quants[:count]]
    for quant in quants:
        wanted = [layout.format(quant)] if quant in quants[:count] else []
        assert choose(files, REPO, asked(quant)) == wanted


@pytest.mark.parametrize(
    ("name", "quant"),
    [
        ("Qwen3.5-9B-UD-Q4_K_XL.gguf", "ud-q4_k_xl"),
        ("UD-IQ1_S/DeepSeek-R1-UD-IQ1_S-00001-of-00003.gguf", "ud-iq1_s"),
        ("UD-IQ1_S/model-IQ1_S.gguf", "ud-iq1_s"),
        ("BF16/Qwen3-BF16-00002-of-00003.gguf", "bf16"),
        ("gpt-oss-120b-mxfp4-00001-of-00003.gguf", "mxfp4"),
        ("DeepSeek-R1.i1-Q4_K_M.gguf", "i1-q4_k_m"),
        ("Kimi-K2-Instruct-Q8_0-merge.Q4_K_S.gguf", "q4_k_s"),
        ("model-Q4_K_M-imat.gguf", "q4_k_m"),
        ("model-Q4_K_M_imat.gguf", "q4_k_m"),
        ("Llama-3.2-3B-F16.gguf", "f16"),
        ("Cloud-Q4_0.gguf", "q4_0"),
        ("QwQ-32B.gguf", ""),
        ("Q4_K_M/Q8_0-draft/model.gguf", "q8_0"),
        ("model.gguf", ""),
    ],
)
def test_the_quantisation_of_a_file(name: str, quant: str) -> None:
    assert quant_of(stem(name)) == quant


@pytest.mark.parametrize(
    ("pattern", "file"),
    [
        ("*-Q4_K_M*", "A-Q4_K_M.gguf"),
        ("*UD-Q4_K_M*", "A-UD-Q4_K_M.gguf"),
        ("Q8_0/*", "Q8_0/model.gguf"),
        ("*Q8_0/model.gguf*", "Q8_0/model.gguf"),
        ("*A-Q4_K_M.gguf", "A-Q4_K_M.gguf"),
        ("*A-Q4_K_M-00001-of-00001.gguf*", "A-Q4_K_M.gguf"),
        ("*A-Q4_K_M*", "A-Q4_K_M.gguf"),
        ("*a-ud-q4_k_m*", "A-UD-Q4_K_M.gguf"),
        ("*UD*", None),
        ("A-UD-Q4_?_M*", "A-UD-Q4_K_M.gguf"),
        ("*lora*", "A-lora-F16.gguf"),
        ("*F16*", "A-lora-F16.gguf"),
        ("*Q2_K*", "A-Q2_K.gguf"),
        ("*K_M*", None),
        ("*Q4*", None),
        ("*A*", None),
        ("*mmproj*", None),
        ("*imatrix*", None),
        ("*BF16*", None),
        ("*", None),
    ],
)
def test_what_a_pattern_means(pattern: str, file: str | None) -> None:
    files = [
        "A-Q4_K_M.gguf", "A-UD-Q4_K_M.gguf", "Q8_0/model.gguf", "mmproj-A-BF16.gguf", "A-imatrix.gguf",
        "A-lora-F16.gguf", "A-Q2_K.gguf", "mtp-A-Q2_K.gguf", "README.md",
    ]  # fmt: skip
    assert choose(files, "me/B-GGUF", pattern) == ([] if file is None else [file])


def test_what_each_model_is_asked_for_by() -> None:
    files = ["A-Q4_K_M.gguf", "A-ud-q4_k_m.gguf", "B/x-Q8_0.gguf", "C/x-Q8_0.gguf", "odd.gguf", "mmproj-F16.gguf"]
    names = names_of(files)
    assert list(names.values()) == ["Q4_K_M", "ud-q4_k_m", "B/x-Q8_0", "C/x-Q8_0", "odd"]
    for model, name in names.items():
        assert choose(files, "me/Z-GGUF", asked(name)) == group_by_model(files, "*")[model]


# ---- the whole way, from a hub


def ignore(event: StageEvent) -> None:
    """Drop the event."""


PAIRS = [
    ("Q2_K", "UD-Q2_K_XL", "Tiny-R1-{}.gguf"),
    ("Q2_K", "UD-Q2_K_XL", "{}/model.gguf"),
    ("F16", "BF16", "Tiny-R1-{}.gguf"),
    ("F16", "BF16", "{}/model.gguf"),
    ("Q2_K", "Q2_K_L", "Tiny-R1-{}.gguf"),
    ("Q4_K_M", "i1-Q4_K_M", "Tiny-R1.{}.gguf"),
    ("IQ1_S", "UD-IQ1_S", "{0}/Tiny-R1-{0}.GGUF"),
]


@pytest.fixture
def tiny(tiny_r1: TinyModel) -> tuple[bytes, bytes]:
    """Two models that differ in length."""
    return tiny_r1().read_bytes(), tiny_r1(answer="Another.").read_bytes() + bytes(64)


@pytest.mark.parametrize(("one", "other", "layout"), PAIRS)
def test_two_quantisations_never_meet(
    empty_hub: Hub, paths: Paths, tiny: tuple[bytes, bytes], *, one: str, other: str, layout: str
) -> None:
    files = {layout.format(one): tiny[0], layout.format(other): tiny[1]}
    empty_hub.repositories[REPO] = Repository(files)
    for first, second in ((one, other), (other, one)):
        variants = [Variant(quant, repo=REPO, pattern=asked(quant)) for quant in (first, second)]
        stubs = [fetch_headers(variant, paths) for variant in variants]
        assert [known_headers(variant, paths) for variant in variants] == stubs
        assert [stub.stat().st_size for stub in stubs] == [len(files[layout.format(one)]) for one in (first, second)]
        path = download(variants[0], paths, ignore)
        assert path.read_bytes() == files[layout.format(first)]
        assert find_model(variants[1], paths, Config()) is None
        other_path = download(variants[1], paths, ignore)
        assert other_path.read_bytes() == files[layout.format(second)]
        remove(find_removal(variants[0], paths, Config()), paths, Config())
        assert find_model(variants[0], paths, Config()) is None
        assert find_model(variants[1], paths, Config()) == other_path
        remove(find_removal(variants[1], paths, Config()), paths, Config())


@pytest.mark.parametrize(("one", "other", "layout"), PAIRS)
def test_headers_are_known_for_their_own_file_alone_even_without_the_hubs_word(
    empty_hub: Hub, paths: Paths, tiny: tuple[bytes, bytes], *, one: str, other: str, layout: str
) -> None:
    empty_hub.repositories[REPO] = Repository({layout.format(one): tiny[0], layout.format(other): tiny[1]})
    fetch_headers(Variant("other", repo=REPO, pattern=asked(other)), paths)
    assert known_headers(Variant("one", repo=REPO, pattern=asked(one)), paths) is None
    for note in (paths.cache / "hub").iterdir():
        note.unlink()
    assert known_headers(Variant("one", repo=REPO, pattern=asked(one)), paths) is None
    assert known_headers(Variant("other", repo=REPO, pattern=asked(other)), paths) is not None


@pytest.mark.parametrize(
    ("files", "quant", "cause", "remedy"),
    [
        (["Tiny-BF16.gguf"], "F16", "has no file for F16", "It has BF16."),
        (["Tiny-UD-Q2_K_XL.gguf", "Tiny-Q8_0.gguf"], "Q2_K", "has no file for Q2_K", "It has Q8_0, UD-Q2_K_XL."),
        (["UD-Q2_K_XL/m.gguf"], "Q2_K", "has no file for Q2_K", "It has UD-Q2_K_XL."),
        (
            [f"Tiny-{quant}.gguf" for quant in ("BF16", "Q2_K", "Q3_K_M", "Q4_K_M", "Q5_K_M", "Q6_K", "Q8_0")],
            "Q6_K_L",
            "has no file for Q6_K_L",
            "The closest are Q6_K, Q5_K_M, Q4_K_M, Q3_K_M. It has BF16, Q2_K, Q3_K_M, Q4_K_M, Q5_K_M, Q6_K, Q8_0.",
        ),
        (["a-Q4_0.gguf", "b-Q4_0.gguf"], "Q4_0", "several models for Q4_0: a-Q4_0, b-Q4_0", f"hf:{REPO}:a-Q4_0"),
        (["a/m.gguf", "b/m.gguf"], "m", "several models for m: a/m, b/m", f"hf:{REPO}:a/m"),
        (["mmproj-F16.gguf", "imatrix.gguf"], "F16", "has no model, only imatrix.gguf, mmproj-F16.gguf", "another"),
        (["x.txt"], "F16", "has no GGUF files", "-GGUF"),
        (
            ["T.Q6_K.gguf.part10of10", "T.Q6_K.gguf.part1of10", "T.Q6_K.gguf.part2of10", "T.Q2_K.gguf"],
            "Q6_K",
            "has Q6_K only in parts that must be joined",
            "cat T.Q6_K.gguf.part1of10 T.Q6_K.gguf.part2of10 T.Q6_K.gguf.part10of10 > T.Q6_K.gguf",
        ),
    ],
)
def test_what_is_not_there_is_answered_with_what_is(
    empty_hub: Hub, paths: Paths, *, files: list[str], quant: str, cause: str, remedy: str
) -> None:
    empty_hub.repositories[REPO] = Repository(dict.fromkeys(files, b"GGUF"))
    with pytest.raises(R1tuiError) as caught:
        download(Variant("x", repo=REPO, pattern=asked(quant)), paths, ignore)
    assert cause in caught.value.cause
    assert remedy in caught.value.remedy


def test_the_command_names_one_of_several_whole(empty_hub: Hub, paths: Paths, tiny: tuple[bytes, bytes]) -> None:
    empty_hub.repositories[REPO] = Repository({"Q2_K/model.gguf": tiny[0], "UD-Q2_K_XL/model.gguf": tiny[1]})
    r1tui = CommandLine(paths)
    for name in ("Q2_K", "q2_k/model", "Q2_K/model.gguf"):
        done = r1tui("download", f"hf:{REPO}:{name}", "--json")
        assert done.returncode == 0, done.stderr
        path = json.loads(done.stdout.splitlines()[-1])["result"]
        assert path.endswith(f"{REPO}/Q2_K/model.gguf")
        assert read_header(Path(path)).size_bytes == len(tiny[0])


def selected(quant: str, *files: str) -> list[str]:
    """The files that hf:OWNER/REPO:QUANT means in a repository; raises R1tuiError."""
    pieces = tuple(name for name in files if not name.casefold().endswith(".gguf"))
    tree = Tree(REPO, "c" * 40, tuple(RemoteFile(name, 10, None) for name in files if name not in pieces), pieces)
    return [file.path for file in select(tree, CATALOG.find(f"hf:{REPO}:{quant}")).files]


@pytest.mark.parametrize(
    ("quant", "right", "other"),
    [
        ("UD-Q2_K_XL", "M-UD_Q2_K_XL.gguf", "M-Q2_K_XL.gguf"),
        ("UD_Q2_K_XL", "M-UD.Q2_K_XL.gguf", "M-Q2_K_XL.gguf"),
        ("Q4_K", "M-Q4_K.gguf", "M-Q4_K_HIFI.gguf"),
        ("BF16", "M-BF16.gguf", "M-MXFP4_MOE_BF16.gguf"),
        ("Q8_0", "M-Q8_0.gguf", "M-MXFP4_MOE-Q8_0.gguf"),
        ("MXFP4_MOE", "M-MXFP4_MOE.gguf", "M-MXFP4_MOE_Q8_0.gguf"),
        ("6B", "M-6B-Q8_0.gguf", "M-0.6B-Q8_0.gguf"),
        ("Qwen2", "Qwen2-Q8_0.gguf", "Qwen2.5-Q8_0.gguf"),
        ("a b/M (1)-Q4_K_M", "a b/M (1)-Q4_K_M.gguf", "ü/M-Q4_K_M.gguf"),
        ("ü/M-Q4_K_M", "ü/M-Q4_K_M.gguf", "a b/M (1)-Q4_K_M.gguf"),
        ("Q4_K_M", "M-imatrix-Q4_K_M.gguf", "imatrix-M-Q4_K_M.gguf"),
    ],
)
def test_the_right_one_of_two_is_taken_and_never_the_other_alone(quant: str, right: str, other: str) -> None:
    assert selected(quant, other, right) == [right]
    with pytest.raises(R1tuiError):
        selected(quant, other)


def test_a_whole_name_goes_before_one_in_a_folder_or_in_other_letters() -> None:
    files = ("M-Q4_K_M.gguf", "m-q4_k_m.GGUF", "old/M-Q4_K_M.gguf")
    for file in files:
        assert selected(file.rpartition(".")[0], *files) == [file]


def test_a_model_that_is_there_whole_and_in_parts_is_one() -> None:
    parts = [f"{PART}-0000{number}-of-00002.gguf" for number in (1, 2)]
    assert selected("Q4_K_M", *parts, f"{PART}.gguf") == [f"{PART}.gguf"]


PART = "M-Q4_K_M"


@pytest.mark.parametrize(
    ("files", "cause", "remedy"),
    [
        ((f"{PART}-1-of-2.gguf", f"{PART}-2-of-2.gguf"), "names that llama.cpp does not know", "rename them"),
        ((f"{PART}-0001-of-0002.gguf", f"{PART}-0002-of-0002.gguf"), "names that llama.cpp does not", "rename them"),
        ((f"{PART}-000001-of-000002.gguf", f"{PART}-000002-of-000002.gguf"), "names that llama.cpp", "rename them"),
        ((f"{PART}.part1of2.gguf", f"{PART}.part2of2.gguf"), "names that llama.cpp does not", "join them (cat "),
        ((f"{PART}-split-a.gguf", f"{PART}-split-b.gguf"), "names that llama.cpp does not know", "join them (cat "),
        ((f"{PART}.gguf.aa", f"{PART}.gguf.ab"), "only in parts that must be joined", f"> {PART}.gguf)"),
        ((f"{PART}.gguf.0", f"{PART}.gguf.1"), "only in parts that must be joined", f"> {PART}.gguf)"),
        ((f"{PART}.gguf.zst",), "only compressed", f"(zstd -d {PART}.gguf.zst)"),
        ((f"{PART}.gguf.gz",), "only compressed", f"(gunzip {PART}.gguf.gz)"),
        ((f"a b/{PART}.gguf", f"c/{PART}.gguf"), "several models", f"'hf:{REPO}:a b/{PART}'"),
    ],
)
def test_what_cannot_be_run_as_it_is_there_is_told_with_the_way_out(
    files: tuple[str, ...], cause: str, remedy: str
) -> None:
    with pytest.raises(R1tuiError) as caught:
        selected("Q4_K_M", *files)
    assert cause in caught.value.cause
    assert remedy in caught.value.remedy


@pytest.mark.parametrize("file", ["a b/M (1)+x-Q4_K_M.gguf", "ü/M-Q4_K_M.gguf", "x'y/M-Q4_K_M.gguf"])
def test_a_file_of_any_name_is_fetched_and_its_command_can_be_pasted(
    empty_hub: Hub, paths: Paths, tiny_r1: TinyModel, file: str
) -> None:
    empty_hub.repositories[REPO] = Repository({file: tiny_r1().read_bytes()})
    name = "Q4_K_M" if "'" in file else file.removesuffix(".gguf")
    fetched = CommandLine(paths).alone("download", f"hf:{REPO}:{name}")
    assert fetched.returncode == 0, fetched.stderr
    assert fetched.stdout.strip().endswith(file)
    [told] = re.findall(r"`(r1tui plan .*)` shows why", fetched.stderr)
    assert shlex.split(told) == ["r1tui", "plan", f"hf:{REPO}:{name}"]
