"""Settings kept for one model: the file, what comes before what, and the commands that use, tell and drop them."""

import json
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from r1tui.catalog.variants import Catalog, Variant, load_catalog, variant_of_file
from r1tui.config import Config, PlanSettings, VariantSettings
from r1tui.errors import R1tuiError
from r1tui.gguf import read_header
from r1tui.listing.overview import overview
from r1tui.plan import PlanRequest, make_plan
from r1tui.planning.kept import AUTO, ModelSettings, differences, find_kept, keep
from r1tui.planning.overrides import for_variant
from r1tui.system.files import take_damages
from r1tui.system.paths import Paths
from tests.conftest import CommandLine, TinyModel

R1 = Variant("r1", repo="a/b", pattern="*")
CONFIG = Config(plan=PlanSettings(ctx_size=1000, n_gpu_layers=1, cache_type_k="f32"))
REQUEST = PlanRequest(host_total_mib=4096, host_free_mib=4096, threads=2, settings=CONFIG.plan)


def test_settings_are_kept_for_each_model_and_empty_ones_drop_them(paths: Paths) -> None:
    other = replace(R1, name="other")
    keep(R1, ModelSettings(ctx_size=16384, threads=3), CONFIG, paths)
    keep(other, ModelSettings(cache_type_k="q8_0"), CONFIG, paths)
    assert paths.model_settings.stat().st_mode & 0o077 == 0
    assert find_kept(R1, CONFIG, paths) == ModelSettings(ctx_size=16384, threads=3)
    keep(R1, AUTO, CONFIG, paths)
    assert find_kept(R1, CONFIG, paths) == AUTO
    kept = {"version": 1, "models": {"other": {"cache_type_k": "q8_0"}}}
    assert msgspec.json.decode(paths.model_settings.read_bytes()) == kept


def test_a_file_is_known_by_its_path_and_one_of_the_config_by_its_name(paths: Paths, tiny_r1: TinyModel) -> None:
    file = tiny_r1()
    config = Config(variants={"long": VariantSettings(file=str(file)), "short": VariantSettings(file=str(file))})
    catalog = load_catalog(config)
    keep(catalog.find("long"), ModelSettings(ctx_size=4096), config, paths)
    assert find_kept(catalog.find("short"), config, paths) == find_kept(variant_of_file(file), config, paths) == AUTO
    keep(variant_of_file(file), ModelSettings(ctx_size=512), config, paths)
    namesake = Variant("long", file=file.with_name("long.gguf"))
    assert find_kept(namesake, config, paths) == AUTO
    listed_elsewhere = Variant("ollama's name", file=file)
    assert find_kept(listed_elsewhere, config, paths).ctx_size == 512


@pytest.mark.parametrize("content", [b"{", b"[1]", b'{"models": 3}', b'{"models": {"r1": {"ctx_size": 3}}}'])
def test_a_file_that_cannot_be_understood_is_set_aside_and_told(paths: Paths, content: bytes) -> None:
    paths.model_settings.parent.mkdir(parents=True)
    paths.model_settings.write_bytes(content)
    assert find_kept(R1, CONFIG, paths) == AUTO
    assert "model-settings.json.damaged" in take_damages()[0].notice()
    keep(R1, ModelSettings(threads=1), CONFIG, paths)
    assert find_kept(R1, CONFIG, paths).threads == 1


@pytest.mark.parametrize("models", [b'{"r1": {"ctx_size": 512}}', b'{"r1": {"cache_type_k": "new"}}', b"[]"])
def test_the_file_of_a_newer_r1tui_is_neither_misread_nor_overwritten(paths: Paths, models: bytes) -> None:
    paths.model_settings.parent.mkdir(parents=True)
    newer = b'{"version": 2, "models": %s}' % models
    paths.model_settings.write_bytes(newer)
    assert find_kept(R1, CONFIG, paths) == AUTO
    with pytest.raises(R1tuiError, match="newer r1tui"):
        keep(R1, ModelSettings(threads=1), CONFIG, paths)
    assert paths.model_settings.read_bytes() == newer


def test_flags_come_before_what_is_kept_and_that_before_the_config() -> None:
    kept = ModelSettings(ctx_size=2000, n_gpu_layers=2, threads=3)
    request = for_variant(REQUEST, CONFIG, R1, kept, ModelSettings(ctx_size=3000, n_cpu_moe=4))
    settings = request.settings
    assert (settings.ctx_size, settings.n_gpu_layers, settings.cache_type_k) == (3000, 2, "f32")
    assert (settings.n_cpu_moe, request.threads) == (4, 3)
    assert request.kept == ("layers on GPU 2", "threads 3")
    assert for_variant(REQUEST, CONFIG, R1, AUTO) == REQUEST


def test_a_plan_says_what_is_kept_and_what_is_changed(tiny_r1: TinyModel) -> None:
    header = read_header(tiny_r1())
    plain = make_plan(header, REQUEST)
    wanted = for_variant(REQUEST, CONFIG, R1, ModelSettings(ctx_size=512, cache_type_k="q8_0"))
    made = make_plan(header, wanted)
    assert "With your settings for this model: context 512, K cache q8_0." in made.reasons
    changed = list(differences(plain.summary(), made.summary()))
    assert changed == ["context 1,000 → 512", "K cache f32 → q8_0", "V cache f32 → q8_0"]


def test_the_list_of_models_uses_them(paths: Paths, tiny_r1: TinyModel) -> None:
    variant = variant_of_file(tiny_r1())
    keep(variant, ModelSettings(ctx_size=512), Config(), paths)
    [entry] = overview(Catalog({variant.name: variant}), Config(), paths)
    assert entry.plan is not None
    assert entry.plan.ctx_size == 512


def test_commands_use_tell_and_drop_them(r1tui: CommandLine, paths: Paths, tiny_r1: TinyModel) -> None:
    model: Path = tiny_r1()
    keep(variant_of_file(model), ModelSettings(ctx_size=512, threads=1), Config(), paths)
    said = r1tui("plan", "--model", model).stdout
    assert "With your settings for this model: context 512, threads 1." in said
    assert f"`r1tui plan --model {model} --forget` drops your settings." in said
    served = r1tui("serve", "--model", model, "--print")
    assert "--ctx-size 512" in served.stdout
    assert "With your settings for this model: context 512" in served.stderr
    assert "context 1,024" in r1tui("plan", "--model", model, "--ctx", "1024").stdout
    keep(variant_of_file(model), ModelSettings(ctx_size=512, n_gpu_layers=1, threads=1), Config(), paths)
    elsewhere = json.loads(r1tui("plan", "--model", model, "--vram", "24", "--ram", "64", "--json").stdout)
    assert (elsewhere["ctx_size"], elsewhere["n_gpu_layers"], elsewhere["threads"]) == (512, 5, 0)
    assert "layers on GPU 1" in r1tui("plan", "--model", model).stdout
    assert (
        "settings for this model: context 512, threads 1."
        in r1tui("plan", "--model", model, "--strategy", "layers").stdout
    )
    forgotten = r1tui("plan", "--model", model, "--forget")
    assert forgotten.returncode == 0
    assert forgotten.stderr == f"Dropped your settings for {model.stem}: context 512, layers on GPU 1, threads 1.\n"
    assert "your settings" not in forgotten.stdout
    assert not paths.model_settings.exists()
    again = r1tui("plan", "--model", model, "--forget", "--json")
    assert again.stderr == f"No settings were kept for {model.stem}.\n"
    assert json.loads(again.stdout)["ctx_size"] != 512
    assert not paths.model_settings.exists()


def test_a_broken_file_is_a_line_and_the_plan_is_made(r1tui: CommandLine, paths: Paths, tiny_r1: TinyModel) -> None:
    paths.model_settings.parent.mkdir(parents=True)
    paths.model_settings.write_bytes(b"{")
    done = r1tui("plan", "--model", tiny_r1())
    assert done.returncode == 0
    assert "model-settings.json cannot be used" in done.stderr
