"""Variants by name, the user's own over the built-in ones, and what a wrong one is told."""

from pathlib import Path

import pytest

from r1tui.catalog.variants import Catalog, load_catalog
from r1tui.config import Config, parse_config
from r1tui.errors import ConfigError, UsageError


@pytest.fixture
def catalog() -> Catalog:
    return load_catalog(Config())


def with_config(text: str) -> Catalog:
    return load_catalog(parse_config(text.encode(), "config.yaml"))


def test_every_built_in_variant_has_one_source_and_a_size(catalog: Catalog) -> None:
    for variant in catalog:
        assert [bool(variant.repo and variant.pattern), bool(variant.package and variant.sha256)].count(True) == 1
        assert variant.title
        assert variant.size_gib
        assert variant.bits
        assert variant.quality
    names = [variant.name for variant in catalog]
    assert names[0] == "demo"
    r1 = ["r1-iq1_s", "r1-iq1_m", "r1-iq2_xxs", "r1-q2_k_xl"]
    updated = ["tq1_0", "iq1_s", "iq1_m", "iq2_xxs", "q2_k_xl", "iq3_xxs", "q3_k_xl", "q4_k_xl"]
    distilled = ["qwen-1.5b", "qwen-7b", "llama-8b", "qwen-14b", "qwen-32b", "llama-70b"]
    assert names == ["demo", *r1, *(f"r1-0528-{quant}" for quant in updated), *distilled]


def test_names_are_found_in_any_case(catalog: Catalog) -> None:
    assert catalog.find("R1-IQ1_S").repo == "unsloth/DeepSeek-R1-GGUF"


def test_a_repository_on_the_hub(catalog: Catalog) -> None:
    variant = catalog.find("hf:unsloth/DeepSeek-R1-GGUF:UD-IQ1_S")
    assert (variant.repo, variant.pattern) == ("unsloth/DeepSeek-R1-GGUF", "*UD-IQ1_S*")


def test_a_file(catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.gguf").touch()
    monkeypatch.chdir(tmp_path)
    assert catalog.find("mine.gguf").file == tmp_path / "mine.gguf"
    assert catalog.find(str(tmp_path / "mine.gguf")).name == "mine"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("r1-iq1-s", "r1-iq1_s"),
        ("nothing at all", "r1tui variants"),
        ("hf:only-a-repo", "hf:OWNER/REPO:QUANT"),
        ("hf:../..:Q4_K_M", "hf:OWNER/REPO:QUANT"),
        ("/nowhere/x.gguf", "no such file"),
    ],
)
def test_an_unknown_name_is_answered_with_help(catalog: Catalog, name: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        catalog.find(name)


def test_the_users_fields_stand_over_the_built_in_ones() -> None:
    text = "variants: {r1-iq1_s: {title: Mine, quality: mine, bits: 2, extra_args: [--mlock]}}"
    variant = with_config(text).find("r1-iq1_s")
    assert (variant.title, variant.extra_args, variant.pattern) == ("Mine", ("--mlock",), "*UD-IQ1_S*")
    assert (variant.quality, variant.bits) == ("mine", 2.0)


def test_another_source_replaces_the_old_one() -> None:
    catalog = with_config("variants: {demo: {file: /models/a.gguf}, qwen-7b: {repo: me/Mine-GGUF}}")
    demo, qwen = catalog.find("demo"), catalog.find("qwen-7b")
    assert (demo.file, demo.package, demo.sha256, demo.size_gib) == (Path("/models/a.gguf"), None, "", None)
    assert (qwen.repo, qwen.pattern) == ("me/Mine-GGUF", "*-Q4_K_M*")


def test_the_users_own_variants_come_last() -> None:
    assert [variant.name for variant in with_config("variants: {mine: {file: /a.gguf}}")][-1] == "mine"


@pytest.mark.parametrize(
    ("variant", "said"),
    [
        ("{title: x}", "variants.mine has no source"),
        ("{repo: a/b}", r"variants.mine.pattern"),
        ("{repo: a, pattern: x}", r"variants.mine.repo"),
        ("{repo: ../.., pattern: x}", r"variants.mine.repo"),
        ("{package: a}", r"variants.mine.package"),
        ("{repo: a/b, pattern: x, file: /a.gguf}", "repo and file"),
    ],
)
def test_a_variant_without_a_usable_source_is_an_error_that_names_the_key(variant: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        with_config(f"variants: {{mine: {variant}}}")
