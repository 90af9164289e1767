"""What the list says of a model: its speed as expected until it was measured, its size, whose folder it is in."""

import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from r1tui.catalog.variants import Catalog, Variant, load_catalog
from r1tui.config import Config, EngineSettings, ServerSettings
from r1tui.engine.make import build_engine, engine_to_ask
from r1tui.errors import R1tuiError
from r1tui.events import Finished
from r1tui.gguf import read_header
from r1tui.hub.listing.remote import ask_hub
from r1tui.hub.local import folders
from r1tui.listing.overview import MemoryNeeds, ModelEntry, overview
from r1tui.messages import Status
from r1tui.plan import Device, PlanRequest, make_plan
from r1tui.plan.request import host_reserve_mib
from r1tui.planning.history import remember_answer
from r1tui.planning.trial import Trial
from r1tui.system.paths import Paths
from r1tui.text import duration
from r1tui.tui.widgets.model_cells import memory
from r1tui.tui.widgets.model_words import needs
from tests import sparse_r1
from tests.conftest import SparseModel, TinyModel
from tests.hub_server import Hub, Repository
from tests.roomy import roomy_machine

__all__ = ["roomy_machine"]


def look(variant: Variant, config: Config, paths: Paths) -> ModelEntry:
    (entry,) = overview(Catalog({variant.name: variant}), config, paths)
    return entry


def test_a_measured_speed_takes_the_place_of_the_expected_one(
    paths: Paths, empty_home: Path, llama_server: Path, tiny_r1: TinyModel, roomy_machine: None
) -> None:
    config = Config(engine=EngineSettings(source=str(llama_server)))
    engine = build_engine(config.engine, paths, print)
    variant = Variant("mine", file=tiny_r1())
    before = look(variant, config, paths)
    assert before.plan is not None
    assert before.exact
    assert before.speed.startswith("~ ")
    assert before.to_json()["tps"] is not None
    assert before.to_json()["measured_tps"] is None
    running = Status(model=str(tiny_r1()), argv=[str(engine.server)], plan=before.plan.summary())
    for tps in (40.0, 44.0, 90.0):
        remember_answer(paths, running, Finished("stop", 200, 0, 100, 500.0, tps, 1.0))
    after = look(variant, config, paths)
    assert after.speed == "44"
    assert after.to_json()["measured_tps"] == 44.0


def test_a_model_that_streams_from_disk_takes_no_more_ram_than_there_is(
    paths: Paths, empty_home: Path, sparse_model: SparseModel, roomy_machine: None
) -> None:
    planned = look(Variant("r1", file=sparse_model(sparse_r1.build, mla=True)), Config(), paths)
    sized = look(Variant("far", repo="a/b", pattern="*Q4*", size_gib=153.0), Config(), paths)
    assert (planned.verdict, sized.verdict) == ("disk", "disk")
    for entry in (planned, sized):
        assert entry.needs is not None
        assert entry.needs.ram_mib == pytest.approx(60 * 1024 - host_reserve_mib(64 * 1024), abs=1)
        assert memory(entry.needs).startswith("58.0 of 64.0 GiB RAM + ")
    assert planned.plan is not None
    assert planned.plan.host.planned_mib == planned.plan.in_ram_mib + planned.plan.disk_mib
    assert memory(sized.needs_by_size or MemoryNeeds(0, 0, 0, 0)) == "58.0 of 64.0 GiB RAM + 95.0 GiB from disk"


def test_a_model_that_is_not_here_is_judged_with_its_cache(paths: Paths, empty_home: Path, roomy_machine: None) -> None:
    known = load_catalog(Config()).find("qwen-32b")
    assert known is not None
    entry = look(replace(known, size_gib=57.5), Config(), paths)  # 58.0 GiB can be used
    assert entry.sketch is not None
    assert (entry.verdict, entry.exact) == (entry.sketch.verdict, False)
    assert entry.verdict == "disk"
    assert entry.group == "rest"


def test_the_disk_is_named_once_below_the_list(sparse_model: SparseModel) -> None:
    header = read_header(sparse_model(sparse_r1.build, mla=True))
    devices = (Device("CUDA0", "cuda", 32 << 10, 32 << 10),)
    made = make_plan(header, PlanRequest(96 << 10, 92 << 10, 8, devices=devices))
    said = needs(ModelEntry(Variant("r1"), header.path, 230.0, made.verdict, plan=made), 120)
    assert re.fullmatch(
        r"\d\d\.\d of 32\.0 GiB VRAM \+ 89\.1 of 96\.0 GiB RAM \+ \d\d\.\d GiB from disk · "
        r"62 layers on CUDA0, experts of \d+ on the CPU",
        said,
    )


def test_a_llama_server_of_the_config_s_is_asked_before_it_was_ever_started(
    paths: Paths, empty_home: Path, llama_server: Path, tiny_r1: TinyModel, roomy_machine: None
) -> None:
    config = Config(engine=EngineSettings(source=str(llama_server)), server=ServerSettings(rpc=["127.0.0.1:1"]))
    variant = Variant("mine", file=tiny_r1())
    with pytest.raises(R1tuiError, match=r"127\.0\.0\.1:1"):  # llama-server alone can tell that nobody is there
        look(variant, config, paths)
    trial = Trial.begin(variant, Config(engine=config.engine), paths, Status())
    assert trial.engine is not None
    assert trial.engine.capabilities.build_number is not None


def test_a_llama_server_of_the_config_s_that_does_not_run_leaves_the_formulas(
    paths: Paths, empty_home: Path, tmp_path: Path, tiny_r1: TinyModel, roomy_machine: None
) -> None:
    broken = tmp_path / "llama-server"
    broken.write_text("#!/bin/sh\nexit 3\n")
    broken.chmod(0o755)
    config = Config(engine=EngineSettings(source=str(broken)))
    entry = look(Variant("mine", file=tiny_r1()), config, paths)
    assert (entry.verdict, entry.problem) == ("cpu", "")
    assert Trial.begin(entry.variant, config, paths, Status()).engine is None
    with pytest.raises(R1tuiError, match="ended with status 3"):
        engine_to_ask(config.engine, paths, must_run=True)


def test_a_model_that_is_not_here_has_its_size_and_a_guess(paths: Paths, empty_home: Path) -> None:
    entry = look(
        Variant("far", repo="a/b", pattern="*Q4*", size_gib=100_000.0, bits=4.5, quality="good"), Config(), paths
    )
    assert (entry.size, entry.here, entry.verdict, entry.exact, entry.speed) == ("97.7 TiB", "", "disk", False, "")
    assert entry.to_json() == {
        "name": "far", "title": "", "size_gib": 100_000.0, "on_disk": False, "path": None, "verdict": "disk",
        "exact": False, "problem": "", "bits": 4.5, "quality": "good", "owner": None, "progress": None,
        "listed_age_s": None, "n_gpu_layers": None, "n_cpu_moe": None, "gpu_mib": None, "host_mib": None,
        "tps": None, "measured_tps": None, "disk_lacking_bytes": entry.no_room.lacking_bytes if entry.no_room else 0,
    }  # fmt: skip
    assert entry.no_room is not None
    assert entry.no_room.cause.startswith("far needs 97.7 TiB; ")
    assert entry.no_room.lacking_bytes > 90_000 * 2**30


def test_only_what_is_lacking_of_a_model_needs_room(
    paths: Paths, empty_home: Path, tiny_r1: TinyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage("/")._replace(free=40 << 30)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    monkeypatch.setattr(folders, "suggest_folders", lambda need, besides: [Path("/mnt/big")])
    far = Variant("far", repo="acme/Far-GGUF", pattern="*Q4*", size_gib=50.0)
    entry = look(far, Config(), paths)
    assert entry.no_room is not None
    assert entry.no_room.cause == f"far needs 50.0 GiB; {paths.models} has 40.0 GiB free."
    assert "Make /mnt/big/models (40.0 GiB free), and name it in the config's `model_folders`." in entry.no_room.remedy
    assert entry.to_json()["disk_lacking_bytes"] == (10 << 30) + folders.RESERVE_BYTES
    first = paths.models / "acme/Far-GGUF/Far-Q4-00001-of-00002.gguf"
    first.parent.mkdir(parents=True)
    first.touch()
    half = look(far, Config(), paths)
    assert (half.progress, half.no_room) == (0.5, None)
    assert look(Variant("mine", file=tiny_r1()), Config(), paths).no_room is None


def test_a_file_that_cannot_be_used_says_why(paths: Paths, empty_home: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.gguf").write_bytes(b"no model at all")
    entry = look(Variant("bad", file=tmp_path / "bad.gguf"), Config(), paths)
    assert "bad.gguf" in entry.problem
    assert entry.plan is None


def test_another_size_than_the_hubs_is_said(paths: Paths, empty_home: Path, empty_hub: Hub) -> None:
    variant = Variant("tiny", repo="a/Tiny-GGUF", pattern="*Q4_0*")
    empty_hub.repositories["a/Tiny-GGUF"] = Repository({"Tiny-Q4_0.gguf": b"GGUF as it is now"})
    older = empty_home / ".lmstudio/models/a/Tiny-GGUF/Tiny-Q4_0.gguf"
    older.parent.mkdir(parents=True)
    older.write_bytes(b"GGUF older")
    ask_hub(variant, paths)
    entry = look(variant, Config(), paths)
    assert entry.path is None
    assert entry.problem == f"{older} is not used: the hub's file has a different size or name."
    assert 0 <= (entry.listed_age_s or 0) < 600


def test_ages_are_said_in_days() -> None:
    assert [duration(hours * 3600) for hours in (1, 47, 72)] == ["1 h 00 min", "47 h 00 min", "3 days"]
