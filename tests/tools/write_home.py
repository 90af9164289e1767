"""Writes a small home with everything in it that r1tui keeps, by r1tui's own code, for the tests of a later version.

`PYTHONPATH=CHECKOUT python tests/tools/write_home.py FOLDER` writes the home of that checkout's version into
FOLDER/home, and beside it the state file of a server that ran. Names of the machine become `{home}`, `{python}`,
`{llama_server}`, `{model}` and `{boot}`.
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import sleep

import msgspec
from gguf import GGUFWriter

from r1tui.catalog.variants import load_catalog
from r1tui.chat.answer import Answer
from r1tui.chat.choices import SamplingChoices
from r1tui.chat.conversation import Conversation
from r1tui.chat.prompt_files import Drafts, PromptHistory
from r1tui.chat.rows import Tracker
from r1tui.chat.store import Store
from r1tui.chat.typed import Typed
from r1tui.config import Config, EngineSettings, SamplingSettings, load_config
from r1tui.engine.make import build_engine
from r1tui.events import Content, Failed, Finished, Reasoning
from r1tui.hub.download.headers import fetch_headers
from r1tui.system.paths import Paths
from r1tui.system.processes import boot_id
from r1tui.tui.themes import keep_theme
from tests.hub_server import REPO, Repository, running_hub
from tests.tiny_r1 import build

FINISHED = Finished("stop", 20, 3, 9, 31.0, 5.5, 420.0)
WHOLE, HALF = "Old-Q4_0.gguf", "Old-Q8_0.gguf"
RUNNING = "running-server.json"
LONGEST_LOG_BYTES = 3000
SETTINGS = {
    "variant: null": "variant: old-tiny",
    "  source: auto\n": "  source: '{llama_server}'\n",
    "  connections: 4": "  connections: 1",
    "  threads: null": "  threads: 1",
    "  restart: true": "  restart: false",
    "  on_exit: ask": "  on_exit: keep",
    "  ctx_size: 8192": "  ctx_size: 2048",
    "  theme: r1-dark": "  theme: r1-light",
    "  keys: {}": '  keys: {chat.stop: "escape,ctrl+x"}',
    "prompts:\n": "prompts:\n  Mine: Write a haiku about a llama.\n",
    "variants: {}": "variants:\n  old-tiny:\n    title: The tiny one\n    file: '{model}'",
}


def blob(seed: int, n_bytes: int) -> bytes:
    """Bytes that stand for a model's; Python gives the same for a seed in all versions."""
    return b"GGUF" + random.Random(seed).randbytes(n_bytes - 4)  # noqa: S311


def write_gguf(path: Path) -> None:
    """A model of one tensor, whose header is whole."""
    import numpy  # noqa: PLC0415

    writer = GGUFWriter(path, "llama")
    writer.add_name("Old")
    writer.add_block_count(1)
    writer.add_context_length(128)
    writer.add_tensor("token_embd.weight", numpy.zeros((8, 32), numpy.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def r1tui(*arguments: str) -> "subprocess.Popen[bytes]":
    """The command of the version that writes."""
    return subprocess.Popen([sys.executable, "-m", "r1tui", *arguments])


def say(paths: Paths) -> None:
    """Conversations: one with branches, thinking and a failure, one that was deleted, one whose answer was coming."""
    tree = Conversation("20261124-1", title="Zähler 🦙")
    first = tree.ask("How many r are in strawberry?", "1-a")
    for event in (Reasoning("s-t-r-a-w: one. "), Reasoning("b-e-r-r-y: two."), Content("**Three.**"), FINISHED):
        first.answer.apply(event)
    second = tree.ask("And in raspberry?", "1-b")
    second.answer.apply(Content("Two"))
    second.answer.apply(Finished("cancelled", 20, 0, 1, 31.0, 5.5, 420.0))
    instead = tree.ask_instead(second, "And in blackcurrant?", "1-c")
    instead.answer.apply(Content("Two."))
    instead.answer.apply(FINISHED)
    last = tree.ask("Sure?", "1-d")
    last.answer.apply(Failed("llama-server was killed by the system: out of memory.", "`r1tui logs` shows its log."))
    deleted = Conversation("20261124-2")
    deleted.ask("Forget this?").answer = Answer.past("Forgotten.")
    coming = Conversation("20261124-3")
    coming.ask("Count to a hundred.", "2-a").answer.apply(Content("1, 2"))
    with Store(paths.conversations) as store:
        for one in (tree, deleted, coming):
            tracker = Tracker(one)
            store.write(filter(None, [tracker.changes()]))
            if one is coming:
                one.exchanges[-1].answer.apply(Content(", 3"))
                store.write(filter(None, [tracker.changes()]))
        store.delete(deleted.id)


def choose(paths: Paths) -> None:
    """Whatever the screen keeps beside conversations."""
    history = PromptHistory(paths.prompt)
    history.add(Typed("How many r are in strawberry?"))
    history.add(Typed("[pasted 2 lines, 8 B]", {"[pasted 2 lines, 8 B]": "one\ntwo\n"}))
    Drafts(paths.prompt).leave(Typed("Half a quest"))
    keep_theme(paths.theme_choice, "r1-ember", "r1-light")
    default = load_config(paths.config_file).sampling
    choices = SamplingChoices(paths.sampling_choices, default)
    choices.choose("old-tiny", SamplingSettings(temperature=0.9, seed=None, max_tokens=50))
    choices.write("old-tiny")


def fetch(paths: Paths, folder: Path) -> None:
    """One model whole, the header and the half of another one."""
    write_gguf(folder / HALF)
    with running_hub() as hub:
        os.environ["HF_ENDPOINT"] = hub.url
        half = (folder / HALF).read_bytes()
        files = {WHOLE: blob(1, 5_000), HALF: half + blob(2, 20_000)[len(half) :]}
        hub.repositories[REPO] = Repository(files)
        assert r1tui("download", f"hf:{REPO}:Q4_0").wait() == 0
        fetch_headers(load_catalog(Config()).find(f"hf:{REPO}:Q8_0"), paths)
        hub.go_on = threading.Event()
        sent_bytes = hub.sent[HALF]
        coming = r1tui("download", f"hf:{REPO}:Q8_0")
        while hub.sent[HALF] - sent_bytes < 10_000:
            sleep(0.05)
        sleep(2)
        coming.send_signal(signal.SIGINT)
        assert coming.wait() == 130


def serve(paths: Paths) -> None:
    """A server that runs, whose state file is kept beside the home, and was killed."""
    assert r1tui("serve", "--detach").wait() == 0
    assert r1tui("chat", "hi").wait() == 0
    running = paths.state_file.read_bytes()
    os.kill(msgspec.json.decode(running)["server"]["pid"], signal.SIGKILL)
    while msgspec.json.decode(paths.state_file.read_bytes())["state"] != "failed":
        sleep(0.1)
    sleep(1)
    (paths.state.parent / RUNNING).write_bytes(running)


@contextmanager
def home() -> Iterator[Path]:
    """A folder that is the home of this process and its children."""
    with tempfile.TemporaryDirectory(prefix="home") as folder:
        os.environ["R1TUI_HOME"] = folder
        yield Path(folder)


def main(target: Path) -> None:
    """Write the home and make it one of no machine."""
    server = build_engine(EngineSettings(), Paths.from_environment(), print).server
    with home() as root, tempfile.TemporaryDirectory() as folder:
        paths = Paths.from_environment()
        model = build(Path(folder) / "tiny.gguf")
        names = {
            "llama_server": str(server),
            "model": str(model),
            "home": str(root),
            "python": sys.executable,
            "boot": boot_id(),
        }
        example = Path(sys.modules["r1tui"].__path__[0]).parent / "config.example.yaml"
        text = example.read_text("utf-8")
        for old, new in SETTINGS.items():
            assert old in text, old
            text = text.replace(old, new, 1)
        paths.config.mkdir()
        paths.config_file.write_text(text.replace("{llama_server}", str(server)).replace("{model}", str(model)))
        say(paths)
        choose(paths)
        fetch(paths, Path(folder))
        serve(paths)
        shutil.rmtree(root / "run")
        for path in root.rglob("*"):
            if not path.is_file() or path.suffix in (".gguf", ".part", ".db"):
                continue
            text = path.read_text("utf-8", "replace")
            for name, value in names.items():
                text = text.replace(value, f"{{{name}}}")
            path.write_text(text[-LONGEST_LOG_BYTES:] if path.suffix == ".log" else text, "utf-8")
        shutil.copytree(root, target / "home")
        (target / "home" / RUNNING).rename(target / RUNNING)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
