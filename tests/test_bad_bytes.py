"""Every file in JSON that a home has, damaged in every way: nothing raises, hangs or is deleted; what is aside is told.

The files are made by what writes them. Each has the readers that would meet it.
"""

import asyncio
import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from threading import Event

import msgspec
import pytest

from r1tui.catalog.variants import Variant
from r1tui.chat.choices import SamplingChoices
from r1tui.chat.prompt_files import Drafts, PromptHistory
from r1tui.chat.typed import Typed
from r1tui.cli import run
from r1tui.config import Config, SamplingSettings
from r1tui.engine.find import RECORD_VERSION, BuildRecord, Identity, find_record, read_record, write_record
from r1tui.errors import R1tuiError
from r1tui.events import FilesProgress, Notice, StageEvent, encode_event
from r1tui.hub.download.fetch import last_rate
from r1tui.hub.download.model import download
from r1tui.hub.download.part import PartialFile
from r1tui.hub.download.staging import (
    download_job,
    find_begun,
    progress_of,
    running_downloads,
    staging_folder,
    unfinished,
)
from r1tui.hub.download.transfer import Manners
from r1tui.hub.listing.remote import known_files, save_note
from r1tui.hub.local.folders import read_rate
from r1tui.hub.local.found import find_model
from r1tui.hub.local.records import FetchRecord, own_folder
from r1tui.hub.removal import find_removal
from r1tui.machine import bandwidth
from r1tui.messages import DevicePlan, PlanSummary, ProcessId, Refusal, ServerRecord, ServerSpec
from r1tui.plan.history import HistoryKey, run_of_plan
from r1tui.planning.history import read_histories, record_run
from r1tui.server.prompt_cache import CacheNote, PromptCacheFolder, SlotContent, prompt_of
from r1tui.supervisor import client as supervisor
from r1tui.supervisor import status as server_status
from r1tui.supervisor.__main__ import main as supervisor_main
from r1tui.system.files import read_json_if_any, take_damages, write_json
from r1tui.system.paths import Paths, private_folder
from r1tui.system.processes import boot_id
from r1tui.tui.themes import chosen_theme, keep_theme
from tests.conftest import tiny_files
from tests.hub_server import REPO, Hub, Repository, running_hub

VARIANT = Variant("tiny", "Tiny", repo=REPO, pattern="*Q8_0*")
KEY = HistoryKey("a.gguf", "/engine", "machine")
MOST_PLACES = 300
"""Of a longer file so many bytes are changed, evenly spread."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Paths]:
    """A home in which everything has been used once, and a download was stopped half-way."""
    top = tmp_path_factory.mktemp("bad-bytes")
    with pytest.MonkeyPatch.context() as patch, running_hub() as hub:
        for name in [name for name in os.environ if name.startswith(("R1TUI_", "LLAMA_", "HF_"))]:
            patch.delenv(name)
        patch.setenv("R1TUI_HOME", str(top / "home"))
        patch.setenv("HOME", str(top))
        patch.setenv("HF_HOME", str(top / "hf"))
        patch.setenv("HF_ENDPOINT", hub.url)
        patch.setattr(bandwidth, "MEMORY_S", 0.01)
        paths = Paths.from_environment()
        hub.repositories[REPO] = Repository(tiny_files())
        _use(paths)
        _fetch_some(paths, hub)
        yield paths


def _use(paths: Paths) -> None:
    keep_theme(paths.theme_choice, "r1-ember", "r1-dark")
    choices = SamplingChoices(paths.sampling_choices, SamplingSettings())
    choices.choose("tiny", SamplingSettings(temperature=0.9))
    choices.write("tiny")
    plan = PlanSummary(devices=(DevicePlan("CUDA0", 0, 9, 1, 2, 3),))
    record_run(
        learned_file(paths), KEY, run_of_plan(plan, []), lambda run: msgspec.structs.replace(run, answer_tps=(2.0,))
    )
    bandwidth.measure(paths, None)
    PromptHistory(paths.prompt).add(Typed("what was asked — ünï"))
    drafts = Drafts(paths.prompt)
    drafts.save(Typed("what was typed — ünï"))
    drafts.leave(None)
    identity = Identity("b1", "cpu", (), (), "", "cpu", "", "")
    folder = paths.engines / identity.name
    known = BuildRecord(
        version=RECORD_VERSION, identity=identity, server=sys.executable, version_line="version 1", build_number=1,
        flags=("--model",), devices=(), notes=(), seconds=1.0, finished_unix_s=2.0, on_purpose=False,
    )  # fmt: skip
    write_record(folder, known)
    write_json(folder / "r1tui-configured.json", ["cmake", "-DX=1"])
    kept = PromptCacheFolder(paths.kept_prompts)
    prompt = prompt_of("tiny", [("user", "why?")], "c1")
    kept.hold(SlotContent(prompt=prompt, server=ProcessId(1, "then"), task=1, bytes_per_token=1.0, limit_bytes=1 << 30))
    part = kept.file(prompt).with_suffix(".1.part")
    part.write_bytes(b"x")
    kept.keep(part, CacheNote(prompt, 1, 0.1, boot_id()))
    kept.judge("tiny", in_vain=True)
    job = download_job(VARIANT, paths)
    job.start([sys.executable, "-c", "print('{}')"])
    while job.running():
        pass
    spec = ServerSpec(variant="tiny", argv=["/bin/nothing", "ünï"], socket=str(paths.server_socket))
    private_folder(paths.run)
    write_json(paths.run / "spec-1-x.json", spec)
    record = ServerRecord(spec=spec, state="ready", server=ProcessId(1, "then"), boot=boot_id(), log="ünï")
    server_status.write_record(paths, record)
    save_note(paths.cache / "disks.json", {str(paths.models): {"bytes_per_s": 1e9, "measured_s": 0.0}})


def _fetch_some(paths: Paths, hub: Hub) -> None:
    """A model until one shard is in its place and some of the other has come."""
    hub.go_on = Event()
    hub.held = "Q8_0/Tiny-R1-Q8_0-00002-of-00002.gguf"

    def stop(event: StageEvent) -> None:
        if isinstance(event, FilesProgress) and event.files[0].state == "done" and event.files[1].done:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(R1tuiError):
        download(VARIANT, paths, stop, manners=Manners(connections=1))
    hub.go_on.set()
    assert unfinished(VARIANT, paths, Config()) is not None
    write_json(paths.download_rate, {"bytes_per_s": 1e6})


def learned_file(paths: Paths) -> Path:
    return paths.state / "learned.json"


def staging(paths: Paths) -> Path:
    return staging_folder(VARIANT, paths.models)


def _parts(paths: Paths) -> None:
    known = known_files(VARIANT, paths)
    for file in known.listing.files if known else ():
        PartialFile(staging(paths), file, "main")


def _rate(paths: Paths) -> None:
    last_rate(paths.download_rate)


def _take_draft(paths: Paths) -> None:
    drafts = Drafts(paths.prompt)
    drafts.take()
    drafts.leave(None)


def _sampling(paths: Paths) -> None:
    choices = SamplingChoices(paths.sampling_choices, SamplingSettings())
    choices.of("tiny")
    choices.choose("other", SamplingSettings(temperature=0.1))
    choices.write("other")


def _learn(paths: Paths) -> None:
    record_run(learned_file(paths), KEY, run_of_plan(PlanSummary(), []), lambda run: run)


def _kept(paths: Paths) -> None:
    kept = PromptCacheFolder(paths.kept_prompts)
    prompt = prompt_of("tiny", [("user", "why?")])
    kept.best(prompt)
    kept.held(ProcessId(1, "then"))
    kept.is_off("tiny")
    kept.make_room(1.0, 1 << 20)
    kept.drop_of(["nobody"])


def _engines(paths: Paths) -> None:
    for folder in paths.engines.glob("*/"):
        read_record(folder)
        read_json_if_any(folder / "r1tui-configured.json", list[str])
    find_record(paths, Identity("b1", "cpu", (), (), "", "cpu", "", ""))


def _server(paths: Paths) -> None:
    with suppress(msgspec.DecodeError):  # its callers expect that, and no other
        server_status.read_record(paths)
    server_status.is_being_stopped(paths)


def _whole_status(paths: Paths) -> None:
    server_status.status(paths)
    supervisor.status(paths)


def _jobs(paths: Paths) -> None:
    running_downloads(paths)
    download_job(VARIANT, paths).stop()


def _model(paths: Paths) -> None:
    find_model(VARIANT, paths, Config())
    progress_of(VARIANT, paths, Config())
    unfinished(VARIANT, paths, Config())
    find_begun(VARIANT, paths, Config())
    FetchRecord.load(own_folder(VARIANT, paths))
    find_removal(VARIANT, paths, Config())


READERS: dict[str, list[Callable[[Paths], object]]] = {
    "state/theme.json": [lambda paths: chosen_theme(paths.theme_choice, "r1-dark")],
    "state/sampling.json": [_sampling],
    "state/learned.json": [lambda paths: read_histories(learned_file(paths))],
    "state/bandwidth.json": [lambda paths: bandwidth.load_bandwidth(paths, "machine")],
    "state/download-rate.json": [_rate],
    "state/server.json": [_server],
    "state/jobs/*.json": [_jobs],
    "state/prompt/draft-0.json": [_take_draft],
    "state/prompt/history.jsonl": [lambda paths: PromptHistory(paths.prompt).entries()],
    "cache/disks.json": [lambda paths: read_rate(paths.models, paths)],
    "cache/hub/*.json": [lambda paths: known_files(VARIANT, paths), _parts, _model],
    "cache/engines/*/engine.json": [_engines],
    "cache/engines/*/r1tui-configured.json": [_engines],
    "cache/prompts/held": [_kept],
    "cache/prompts/vain": [_kept],
    "cache/prompts/*.json": [_kept],
    "data/models/*/*/.r1tui.json": [_model],
    "data/models/.incoming/*/*.files.json": [_model],
    "data/models/.incoming/*/**/*.journal": [_parts, _model],
}
"""By where a file is in the home."""
NEVER_ASIDE = {
    "state/server.json",  # the supervisor that lives writes it anew
    "state/prompt/history.jsonl",  # the other lines are worth more
}
SLOW: dict[str, Callable[[Paths], object]] = {"state/learned.json": _learn, "state/server.json": _whole_status}
"""What takes longer, for every tenth damage."""
TOGETHER = {"run/spec-1-x.json"}
"""Read by the supervisor alone, in its own test."""


def found(paths: Paths, pattern: str) -> Path:
    """The file of the home."""
    home = paths.state.parent
    return next(path for path in sorted(home.glob(pattern)) if path.is_file())


def damages(raw: bytes) -> Iterator[bytes]:
    """The file with each byte replaced, cut, and as something else."""
    step = max(1, len(raw) // MOST_PLACES)
    for at in range(0, len(raw), step):
        yield raw[:at] + b"\xff" + raw[at + 1 :]
    for at in range(0, len(raw), max(1, len(raw) // 20)):
        yield raw[:at]
    yield from (b"null", b"[]", b"{}", b"0", b'""', b"[[]]", b"[null]", b"\0" * 64, b"\xef\xbb\xbf" + raw, raw + raw)
    yield from (b"[" * 100_000, b'{"a":' * 50_000, b'{"files":' + b"[" * 100_000, b"1" + b"0" * 6000)
    for digit in b"0123456789":
        if bytes([digit]) in raw:
            yield raw.replace(bytes([digit]), b"9" * 30)
            yield raw.replace(bytes([digit]), b"-1")
            break
    yield raw.replace(b'"', b'"\\u0000')
    yield raw.replace(b'"', b'"\\ud800')


@pytest.mark.parametrize("pattern", READERS)
def test_no_reader_of_a_file_of_ours_minds_what_is_in_it(made: Paths, pattern: str) -> None:
    path = found(made, pattern)
    raw = path.read_bytes()
    aside = path.with_name(f"{path.name}.damaged")
    take_damages()
    n_aside = 0
    kept: dict[Path, bytes] = {one: one.read_bytes() for one in path.parent.iterdir() if one.is_file()}
    for number, damaged in enumerate(damages(raw)):
        path.write_bytes(damaged)
        for reader in [SLOW[pattern]] if pattern in SLOW and number % 10 == 0 else READERS[pattern]:
            try:
                reader(made)
            except R1tuiError:  # told in words
                pass
            except Exception as error:
                error.add_note(f"{path.name}: {damaged[:2000]!r}")
                raise
        if aside.exists():
            assert aside.read_bytes() == damaged
            assert [one.kept for one in take_damages()] == [aside]
            aside.unlink()
            n_aside += 1
        for one, content in kept.items():
            one.write_bytes(content)
    assert n_aside == 0 if pattern in NEVER_ASIDE else n_aside > 30


def test_every_file_in_json_of_a_home_is_in_the_table(made: Paths) -> None:
    home = made.state.parent
    known = {path for pattern in READERS for path in home.glob(pattern)} | {home / name for name in TOGETHER}
    there = {path for path in home.rglob("*") if path.is_file() and path.read_bytes()[:1] in (b"{", b"[")}
    assert {str(path.relative_to(home)) for path in there - known} <= {
        str(path.relative_to(home)) for path in home.glob("state/jobs/*.jsonl")
    }


def test_lines_of_a_jobs_log_that_are_no_events_are_left_out(made: Paths) -> None:
    job = download_job(VARIANT, made)
    sound = encode_event(Notice("model", "sound")).encode()
    bad = [line.replace(b"\n", b" ") for line in damages(sound)]
    job.log.write_bytes(b"\n".join([sound, *bad, sound]) + b"\n")

    async def read() -> list[StageEvent]:
        return [event async for event in job.events("model") if not isinstance(event, str)]

    told = asyncio.run(read())
    assert told[0] == told[-1] == Notice("model", "sound")


def test_a_supervisor_whose_spec_is_damaged_says_so_to_its_starter(made: Paths) -> None:
    path = made.run / "spec-1-x.json"
    raw = path.read_bytes()
    for damaged in (b"", b"[]", b"[" * 100_000, *(raw[:at] + b"\xff" + raw[at + 1 :] for at in range(0, len(raw), 29))):
        path.write_bytes(damaged)
        assert supervisor_main([str(path)]) == 1
        assert "cannot be read" in msgspec.json.decode(path.read_bytes(), type=Refusal).cause


def test_a_supervisor_says_why_it_cannot_start_where_the_disk_has_room_for_no_file(
    made: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("r1tui.supervisor.__main__.write_json", refused)
    path = made.run / "spec-1-x.json"
    path.write_bytes(b"[]")
    assert supervisor_main([str(path)]) == 1
    assert "cannot be read" in msgspec.json.decode(path.read_bytes(), type=Refusal).cause


COMMANDS = [["status"], ["status", "--json"], ["variants", "--json"], ["chats", "list"], ["stop"]]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_commands_end_in_words_whatever_the_files_are(
    made: Paths, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    files = {path: path.read_bytes() for path in {found(made, pattern) for pattern in READERS}}
    for content in (b"", b"[]", b'{"a": "\xff"}', b"[" * 100_000, b'"\xff'):
        for path in files:
            path.write_bytes(content)
        assert run(command) in (0, 1, 2, 3)
        said = capsys.readouterr()
        assert "Traceback" not in said.out + said.err
        assert "unexpected error" not in said.out + said.err
    for path, content in files.items():
        path.with_name(f"{path.name}.damaged").unlink(missing_ok=True)
        path.write_bytes(content)


def test_the_user_is_told_once_on_the_command_line(made: Paths) -> None:
    path = made.cache / "hub" / "unsloth--DeepSeek-R1-GGUF.json"
    path.write_bytes(b'{"main": "\xff"}')
    command = [sys.executable, "-P", "-m", "r1tui", "variants"]
    first, second = (subprocess.run(command, capture_output=True, text=True, check=False) for _ in range(2))
    assert (first.returncode, second.returncode) == (0, 0)
    assert first.stderr.count(f"{path.name}.damaged") == 1
    assert path.name not in second.stderr
    assert path.with_name(f"{path.name}.damaged").read_bytes() == b'{"main": "\xff"}'
