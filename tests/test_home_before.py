"""A home that the version before wrote works: nothing in it is lost, and what cannot go on is said."""

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from r1tui.catalog.variants import Variant
from r1tui.chat.answer import Answer
from r1tui.chat.choices import SamplingChoices
from r1tui.chat.conversation import Conversation, Exchange
from r1tui.chat.database import NAME
from r1tui.chat.prompt_files import Drafts, PromptHistory
from r1tui.chat.rows import LEFT, Tracker
from r1tui.chat.store import Store
from r1tui.config import Config, load_config
from r1tui.engine.find import BuildRecord, Identity, find_engine, find_record, folder_of_binary, write_record
from r1tui.errors import R1tuiError
from r1tui.hub.download.headers import known_headers
from r1tui.hub.download.staging import download_job, running_downloads, unfinished
from r1tui.hub.listing.remote import known_files
from r1tui.planning.history import read_histories
from r1tui.supervisor import client as keeper
from r1tui.system.paths import Paths, private_folder
from r1tui.system.processes import alive, boot_id, identify
from r1tui.tui.app import R1App
from r1tui.tui.keymap import complaints
from r1tui.tui.themes import chosen_theme
from tests import supervisor_before
from tests.conftest import CommandLine, TinyModel
from tests.hub_server import REPO, Hub, Repository
from tests.supervisor_rig import until as wait_until
from tests.tui_rig import answers, ask, opened, ready, until

DATA = Path(__file__).parent / "data" / "home_before"
WHOLE = Variant(f"hf:{REPO}:Q4_0", repo=REPO, pattern="*Q4_0*")
HALF = Variant(f"hf:{REPO}:Q8_0", repo=REPO, pattern="*Q8_0*")
HALF_BYTES = 20_000
Fill = Callable[[str], str]


@pytest.fixture
def fill(paths: Paths, llama_server: Path, tiny_r1: TinyModel) -> Fill:
    """Puts this machine's names into a text of the home."""
    names = {
        "home": paths.state.parent, "python": sys.executable, "llama_server": llama_server, "model": tiny_r1(),
        "boot": boot_id(),
    }  # fmt: skip

    def filled(text: str) -> str:
        for name, value in names.items():
            text = text.replace(f"{{{name}}}", str(value))
        return text

    return filled


@pytest.fixture
def home(paths: Paths, fill: Fill, empty_home: Path, llama_server: Path) -> Iterator[Paths]:
    """The home, as if this machine's; nothing in it may be found damaged, and no traceback be left behind."""
    root = paths.state.parent
    shutil.copytree(DATA / "home", root)
    paths.kept_prompts.mkdir()  # which was empty, and git keeps no empty folder
    for path in root.rglob("*"):
        if path.is_file() and path.suffix not in (".db", ".gguf", ".part"):
            path.write_text(fill(path.read_text("utf-8")), "utf-8")
    (paths.engines / "existing").rename(folder_of_binary(llama_server, paths))  # its name tells where the binary is
    record = json.loads((paths.models / REPO / ".r1tui.json").read_text())
    for name, known in record["files"].items():
        os.utime(paths.models / REPO / name, ns=(known["mtime_ns"], known["mtime_ns"]))
    yield paths
    keeper.stop(paths)
    assert not list(root.rglob("*.damaged*"))
    assert not [log for log in paths.logs.glob("*.log") if "Traceback" in log.read_text("utf-8", "replace")]


@pytest.fixture
def r1tui(home: Paths) -> CommandLine:
    """The command, with the settings of then."""
    return CommandLine(home)


def said(conversation: Conversation) -> list[tuple[str, str, str, str]]:
    return [
        (exchange.question, exchange.answer.state, exchange.answer.thinking.text, exchange.answer.content.text)
        for exchange in conversation.exchanges
    ]


def test_every_conversation_is_there_with_its_branches_thinking_and_failure(home: Paths) -> None:
    told: list[Exception] = []
    with Store(home.conversations, tell=told.append) as store:
        assert sorted(one.id for one in store.newest()) == ["20261124-1", "20261124-3"]
        assert [one.id for one in store.search("raspberry")] == ["20261124-1"]
        tree = store.look("20261124-1").conversation
        assert tree.title == "Zähler 🦙"
        assert said(tree) == [
            ("How many r are in strawberry?", "done", "s-t-r-a-w: one. b-e-r-r-y: two.", "**Three.**"),
            ("And in blackcurrant?", "done", "", "Two."),
            ("Sure?", "failed", "", ""),
        ]
        first, second, last = tree.exchanges
        assert first.answer.finished is not None
        assert first.answer.finished.tps == 5.5
        assert [one.question for one in tree.branches(second)] == ["And in raspberry?", "And in blackcurrant?"]
        assert "out of memory" in last.answer.cause
        assert "r1tui logs" in str(last.answer.remedy)
        coming = store.open("20261124-3")
        assert coming is not None
        assert said(coming.conversation) == [("Count to a hundred.", "stopped", "", "1, 2, 3")]
        assert coming.conversation.exchanges[0].answer.cause == LEFT
        store.restore("20261124-2")
        assert said(store.look("20261124-2").conversation) == [("Forget this?", "done", "", "Forgotten.")]
    assert told == []


def test_conversations_that_the_version_before_kept_beside_a_newer_database_are_named_and_can_be_had(
    home: Paths,
) -> None:
    beside, used = home.conversations / "conversations-v2.db", home.conversations / NAME
    used.rename(beside)
    told: list[R1tuiError] = []
    with Store(home.conversations, tell=told.append) as store:
        store.write(filter(None, [Tracker(Conversation("newer", [Exchange("Who?", Answer.past("I."))])).changes()]))
    [error] = told
    assert str(beside) in error.cause
    assert f"move {NAME} away and rename that file to {NAME}" in error.remedy
    used.rename(home.conversations / "other.db")
    beside.rename(used)
    with Store(home.conversations, tell=told.append) as store:
        assert sorted(one.id for one in store.newest()) == ["20261124-1", "20261124-3"]


def test_the_settings_count_and_doctor_names_those_of_the_old_example(home: Paths, r1tui: CommandLine) -> None:
    config = load_config(home.config_file)
    assert (config.variant, config.plan.ctx_size, config.server.threads, config.server.restart) == (
        "old-tiny", 2048, 1, False,
    )  # fmt: skip
    assert (config.ui.theme, config.ui.keys) == ("r1-light", {"chat.stop": "escape,ctrl+x"})
    assert config.prompts["Mine"] == "Write a haiku about a llama."
    shown = r1tui("doctor", "--json")
    assert shown.returncode == 0, shown.stderr
    checks = {check["name"]: check for check in json.loads(shown.stdout)["checks"]}
    assert checks["config"]["level"] == "ok"
    assert "old example" in checks["sampling"]["found"]
    assert "Remove temperature, top_p, min_p and seed" in checks["sampling"]["remedy"]


@pytest.mark.parametrize("command", (DATA / "keys.txt").read_text().split())
def test_every_key_can_be_changed_by_its_old_id(command: str) -> None:
    assert list(complaints({command: "f23"})) == []


def test_what_was_chosen_and_typed_on_the_screen_is_kept(home: Paths) -> None:
    config = load_config(home.config_file)
    assert chosen_theme(home.theme_choice, config.ui.theme) == "r1-ember"
    assert [typed.whole for typed in PromptHistory(home.prompt).entries()] == [
        "How many r are in strawberry?", "one\ntwo\n",
    ]  # fmt: skip
    drafts = Drafts(home.prompt)
    draft = drafts.take()
    assert draft is not None
    assert draft.text == "Half a quest"
    drafts.leave(draft)
    chosen = SamplingChoices(home.sampling_choices, config.sampling).of("old-tiny")
    assert (chosen.temperature, chosen.max_tokens) == (0.9, 50)
    assert chosen.seed == -1, "an empty seed meant a new one each time"


def test_what_was_found_out_is_still_known(home: Paths, llama_server: Path) -> None:
    config = load_config(home.config_file)
    engine = find_engine(config.engine, home)
    assert engine is not None
    assert engine.server == llama_server
    [record] = read_histories(home.state / "learned.json")
    assert record.runs[0].answer_tps
    known = known_files(HALF, home)
    assert known is not None
    assert known.listing.size_bytes == HALF_BYTES
    assert known_headers(HALF, home) is not None
    assert running_downloads(home) == []
    assert "stage_failed" in download_job(HALF, home).log.read_text()


@pytest.mark.parametrize("compiler", ["/usr/bin/c++:1:2", ""])
def test_an_engine_for_the_gpu_is_not_built_again(home: Paths, llama_server: Path, compiler: str) -> None:
    """Then it had PTX beside the machine code of the cards; now it would have none."""
    then = Identity("b1", "cuda", ("90",), (), "", "cpu", "/usr/local/cuda/bin/nvcc:1:2", "/usr/bin/c++:1:2")
    record = BuildRecord(2, then, str(llama_server), "b1", 1, (), (), (), 1.0, 1.0, on_purpose=False)
    (home.engines / then.name).mkdir()
    write_record(home.engines / then.name, record)
    now = msgspec.structs.replace(then, architectures=("90-real",), compiler=compiler)
    assert find_record(home, now) == record
    assert find_record(home, msgspec.structs.replace(now, architectures=("89-real",))) is None


def test_half_a_download_goes_on_where_it_was(home: Paths, hub: Hub, r1tui: CommandLine) -> None:
    assert unfinished(HALF, home, Config()) == (10_000, HALF_BYTES)
    part = next(home.models.rglob("*.part")).read_bytes()
    blob = b"GGUF" + random.Random(2).randbytes(HALF_BYTES - 4)  # noqa: S311  as it was on the hub of then
    hub.repositories[REPO] = Repository({"Old-Q8_0.gguf": part[:10_000] + blob[10_000:]})
    done = r1tui("download", HALF.name)
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).read_bytes() == part[:10_000] + blob[10_000:]
    assert hub.asked["Old-Q8_0.gguf"] == HALF_BYTES - 10_000
    assert unfinished(HALF, home, Config()) is None


def test_a_model_that_was_fetched_is_checked_by_its_record(home: Paths, hub: Hub, r1tui: CommandLine) -> None:
    for arguments in (("download", WHOLE.name), ("download", "--verify", WHOLE.name)):
        done = r1tui(*arguments)
        assert done.returncode == 0, done.stderr
    assert hub.fetched() == []


def test_a_server_that_ended_is_told_of_as_then(home: Paths, r1tui: CommandLine) -> None:
    shown = r1tui("status", "--json")
    now = json.loads(shown.stdout)
    assert (now["state"], now["exit_status"], now["variant"], now["pid"]) == ("failed", -9, "old-tiny", None)
    assert "was killed" in now["cause"]
    assert now["remedy"]
    assert r1tui("stop").returncode == 0
    assert json.loads(r1tui("status", "--json").stdout)["state"] == "stopped"


@contextmanager
def left_server(home: Paths, fill: Fill) -> Iterator["subprocess.Popen[bytes]"]:
    """A llama-server of then whose supervisor was killed."""
    private_folder(home.run)
    record: dict[str, Any] = json.loads(fill((DATA / "running-server.json").read_text()))
    with home.server_log.open("ab") as log:
        server = subprocess.Popen(record["spec"]["argv"], stdout=log, stderr=log, start_new_session=True)
    try:
        record["server"] = msgspec.to_builtins(identify(server.pid))
        home.state_file.write_text(json.dumps(record))
        wait_until(home.server_socket.exists)
        yield server
    finally:
        server.kill()
        server.wait()


async def test_the_screen_takes_over_a_server_whose_supervisor_is_gone(home: Paths, fill: Fill) -> None:
    with left_server(home, fill) as server:
        found = keeper.status(home)
        assert (found.state, found.pid, found.supervisor_pid, found.variant) == ("ready", server.pid, None, "old-tiny")
        assert "killed" in (found.cause or "")
        app = R1App(home, load_config(home.config_file))
        async with opened(app) as pilot:
            await ready(app, pilot, "old-tiny")
            assert said(app.chat.conversation) == [("Count to a hundred.", "stopped", "", "1, 2, 3")]
            now = keeper.status(home)
            assert now.pid == server.pid
            assert now.supervisor_pid is not None
            answer = await ask(app, pilot, "hi")
            await until(pilot, lambda: answer.state == "done")
            assert len(answers(app)) == 2
        keeper.stop(home)
        assert server.wait(60) is not None
    assert not alive(identify(now.supervisor_pid))


def test_a_server_whose_supervisor_is_gone_answers_and_is_stopped(home: Paths, fill: Fill, r1tui: CommandLine) -> None:
    with left_server(home, fill) as server:
        answered = r1tui("chat", "hi")
        assert answered.returncode == 0, answered.stderr
        assert keeper.status(home).pid == server.pid
        assert r1tui("stop").returncode == 0
        assert server.wait(60) is not None
    assert keeper.status(home).state == "stopped"


@pytest.fixture
def supervisor(home: Paths, fill: Fill, tmp_path: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """A supervisor of then that keeps a real server."""
    private_folder(home.run)
    record = tmp_path / "r1tui.keeper.json"
    record.write_text(fill((DATA / "running-server.json").read_text()))
    home.state_file.unlink()
    with subprocess.Popen([sys.executable, "-m", supervisor_before.__name__, str(record)]) as process:
        wait_until(lambda: home.state_file.exists() and home.supervisor_socket.exists())
        yield process
        process.terminate()


def test_a_running_supervisor_of_then_is_understood(
    home: Paths, supervisor: "subprocess.Popen[bytes]", r1tui: CommandLine
) -> None:
    now = json.loads(r1tui("status", "--json").stdout)
    assert (now["state"], now["keeper_pid"], now["variant"]) == ("ready", supervisor.pid, "old-tiny")
    second = r1tui("serve", "--detach")
    assert second.returncode == 0
    assert "already" in second.stdout + second.stderr
    answered = r1tui("chat", "hi")
    assert answered.returncode == 0, answered.stderr
    assert keeper.status(home).pid == now["pid"]
    assert r1tui("stop").returncode == 0
    assert supervisor.wait(60) == 0
    assert keeper.status(home).state == "stopped"


async def test_the_screen_chats_beside_a_running_supervisor_of_then(
    home: Paths, supervisor: "subprocess.Popen[bytes]"
) -> None:
    app = R1App(home, load_config(home.config_file))
    async with opened(app) as pilot:
        await ready(app, pilot, "old-tiny")
        answer = await ask(app, pilot, "hi")
        await until(pilot, lambda: answer.state == "done")
        assert keeper.status(home).supervisor_pid == supervisor.pid
