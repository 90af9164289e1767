"""Each model's own sampling values: the config's, the catalog's, the file's, R1's for R1 alone, and nothing else."""

from dataclasses import replace as replace_field
from pathlib import Path

import pytest
from msgspec.structs import replace
from textual.widgets import Input

from r1tui.catalog.variants import Variant, load_catalog, variant_of_file
from r1tui.config import Config, SamplingSettings, VariantSettings
from r1tui.gguf import read_header
from r1tui.messages import Status
from r1tui.server.client import ChatRequest, Message
from r1tui.server.endpoint import Endpoint
from r1tui.server.sampling import R1_VALUES, file_values, for_question, is_r1, repeats_old_example, sampling_for
from r1tui.system.paths import Paths
from r1tui.tui.app import R1App
from r1tui.tui.services.session import sampling_of_running
from tests.bare_server import SMALL, serving
from tests.conftest import CommandLine, TinyModel
from tests.odd_server import odd_server
from tests.test_sampling import panel
from tests.tui_rig import ask, opened, until

NOTHING = SamplingSettings()
FLAGS = ("--temp", "--top-p", "--min-p", "--top-k", "--seed", "--repeat-penalty")


def r1_file(tmp_path: Path, model: Path) -> Path:
    """The model under R1's name."""
    path = tmp_path / "DeepSeek-R1-UD-IQ1_S.gguf"
    path.symlink_to(model)
    return path


def test_a_model_that_says_nothing_gets_nothing(tiny_r1: TinyModel) -> None:
    model = tiny_r1()
    found = sampling_for(NOTHING, variant_of_file(model), read_header(model))
    assert found.passed == NOTHING
    assert {said_by for _, said_by in found.sources.values()} == {"llama.cpp"}


def test_r1_gets_what_its_makers_advise(tiny_r1: TinyModel, tmp_path: Path) -> None:
    model = r1_file(tmp_path, tiny_r1())
    found = sampling_for(NOTHING, variant_of_file(model), read_header(model))
    assert found.passed == R1_VALUES
    assert found.sources["temperature"] == (0.6, "R1's makers")


def test_what_the_file_says_is_left_to_it_for_r1_too(tiny_r1: TinyModel, tmp_path: Path) -> None:
    model = r1_file(tmp_path, tiny_r1(sampling={"temp": 0.25}))
    found = sampling_for(NOTHING, variant_of_file(model), read_header(model))
    assert found.sources["temperature"] == (0.25, "file")
    assert found.passed == NOTHING


def test_the_catalog_comes_before_the_file_and_the_config_before_both(tiny_r1: TinyModel) -> None:
    header = read_header(tiny_r1(sampling={"temp": 0.25, "top_k": 7}))
    row = Variant("x", sampling=SamplingSettings(temperature=1.0))
    found = sampling_for(NOTHING, row, header)
    assert found.passed == SamplingSettings(temperature=1.0)
    assert found.sources["top_k"] == (7.0, "file")
    found = sampling_for(SamplingSettings(temperature=0.1), row, header)
    assert found.passed == SamplingSettings(temperature=0.1)
    assert found.sources["temperature"] == (0.1, "config")


def test_every_r1_of_the_catalog_has_a_row_and_a_variant_of_the_user_s_can_have_one() -> None:
    mine = VariantSettings(repo="a/b", pattern="*", sampling=SamplingSettings(top_k=1))
    catalog = load_catalog(Config(variants={"mine": mine}))
    for variant in catalog:
        if variant.repo and "DeepSeek-R1" in variant.repo:
            assert variant.sampling == R1_VALUES, variant.name
    assert catalog.find("mine").sampling == SamplingSettings(top_k=1)
    assert catalog.find("demo").sampling is None


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("DeepSeek-R1-UD-IQ1_S-00001-of-00003.gguf", True),
        ("deepseek-r1-0528-qwen3-8b-q4_k_m.gguf", True),
        ("DeepSeek_R1.gguf", True),
        ("DeepSeek-V3.1.gguf", False),
        ("DeepSeek-R10.gguf", False),
        ("Qwen3-30B.gguf", False),
    ],
)
def test_r1_is_known_by_its_name(name: str, is_one: bool) -> None:
    assert is_r1(Variant("x", file=Path(name)), None) is is_one


def test_the_server_is_started_with_no_other_model_s_values(
    r1tui: CommandLine, tiny_r1: TinyModel, tmp_path: Path
) -> None:
    plain = r1tui("serve", "--model", tiny_r1(), "--print").stdout
    of_r1 = r1tui("serve", "--model", r1_file(tmp_path, tiny_r1()), "--print").stdout
    assert [flag for flag in FLAGS if flag in plain] == []
    assert "--temp 0.6" in of_r1
    assert "--seed 3407" in of_r1


def test_the_file_s_own_values_reach_the_answer(llama_server: Path, tiny_r1: TinyModel, tmp_path: Path) -> None:
    """llama-server applies them, and a request of ours takes none of them away."""
    model = tiny_r1(sampling={"temp": 0.25, "top_p": 0.5})
    with serving(llama_server, model, tmp_path, SMALL) as client:
        body = ChatRequest([Message("user", "hi")]).body(raw_reasoning=False)
        body |= {"stream": False, "max_tokens": 1}
        body.pop("stream_options")
        assert client.post("/v1/chat/completions", json=body).status_code == 200
        [slot] = client.get("/slots").json()
    assert round(slot["params"]["temperature"], 3) == 0.25
    assert round(slot["params"]["top_p"], 3) == 0.5


async def test_a_question_to_somebody_else_s_server_has_no_values_but_the_user_s(paths: Paths) -> None:
    with odd_server() as server:
        app = R1App(paths, Config(sampling=SamplingSettings(top_k=3)), attach=Endpoint.parse(server.url))
        async with opened(app) as pilot:
            answer = await ask(app, pilot, "hi")
            await until(pilot, lambda: answer.state == "done")
    asked = server.chats[0].json
    assert asked["top_k"] == 3
    assert not {"temperature", "top_p", "min_p", "seed", "repeat_penalty"} & set(asked)


async def test_the_panel_says_where_each_value_comes_from(paths: Paths) -> None:
    with odd_server() as server:
        app = R1App(paths, Config(sampling=SamplingSettings(top_k=3)), attach=Endpoint.parse(server.url))
        async with opened(app, (80, 24)) as pilot:
            screen = await panel(app, pilot)
            said = {key: str(screen.query_one(f"#help-{key}").render()) for key in ("temperature", "top_k")}
            placeholders = {
                key: screen.query_one(f"#{key}", Input).placeholder for key in ("temperature", "max_tokens")
            }
            assert placeholders == {"temperature": "server's", "max_tokens": "none"}
            assert said == {
                "temperature": "0 to 5 · randomness",
                "top_k": "from config · 0 or more · number of tokens kept",
            }
            assert screen.query_one("#top_k", Input).value == "3"
            assert not screen.query("#restart"), "that server's settings are not ours"
            screen.query_one("#temperature", Input).value = "1.5"
            await until(pilot, lambda: "set here" in str(screen.query_one("#help-temperature").render()))
            screen.query_one("#temperature", Input).value = ""
            await until(pilot, lambda: "set here" not in str(screen.query_one("#help-temperature").render()))


def test_the_panel_knows_what_the_command_line_says(tiny_r1: TinyModel) -> None:
    argv = ["llama-server", "--temperature", "0.9", "--top-k=7", "--seed", "3407", "--alias", "a b"]
    status = Status(state="ready", model=str(tiny_r1()), argv=argv)
    found = sampling_of_running(status, Config(sampling=SamplingSettings(top_p=0.5)))
    said = {key: found.sources[key] for key in ("temperature", "top_k", "top_p", "min_p")}
    assert said == {
        "temperature": (0.9, "extra_args"), "top_k": (7, "extra_args"), "top_p": (0.5, "config"),
        "min_p": (0.05, "llama.cpp"),
    }  # fmt: skip


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "0.5", True, (1,)])
def test_what_is_no_number_in_a_file_says_nothing(tiny_r1: TinyModel, value: str | float | tuple[int, ...]) -> None:
    header = read_header(tiny_r1())
    found = file_values(replace_field(header, metadata={**header.metadata, "general.sampling.temp": value}))
    assert found == {}


def test_a_seed_of_minus_one_is_another_one_each_time() -> None:
    asked = [ChatRequest([], SamplingSettings(seed=-1)).body(raw_reasoning=False)["seed"] for _ in range(3)]
    assert len(set(asked)) == 3
    assert min(asked) >= 0


def test_a_config_that_repeats_the_old_example_is_told(paths: Paths, r1tui: CommandLine) -> None:
    old = "sampling: {temperature: 0.6, top_p: 0.95, min_p: 0.05, seed: 3407}\n"
    r1tui.configure(paths.config_file.read_text() + old)
    ran = r1tui("doctor")
    assert "sampling" in ran.stdout
    assert "R1" in ran.stdout
    assert repeats_old_example(R1_VALUES)
    assert not repeats_old_example(NOTHING)
    assert not repeats_old_example(SamplingSettings(temperature=0.6))
    assert not repeats_old_example(replace(R1_VALUES, temperature=0.7))


def test_a_question_says_what_only_a_question_can_from_the_variant_s_own_settings() -> None:
    row = SamplingSettings(temperature=0.1, max_tokens=9, thinking_budget=5, thinking=False)
    config = Config(variants={"mine": VariantSettings(file="/m.gguf", sampling=row)})
    chosen = SamplingSettings(max_tokens=7)
    assert for_question(chosen, config, "mine") == SamplingSettings(max_tokens=7, thinking_budget=5, thinking=False)
    assert for_question(chosen, config, "other") == chosen
    assert for_question(chosen, config, None) == chosen
