"""What every section of the measurement stands on: the engine, the time that is left, the models, the report."""

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from time import monotonic
from typing import Literal

from r1tui.system.environment import clean_environment
from tests import random_r1, sparse_r1
from tests.gpu.card import Card

File = Literal["legacy", "mla"]


@dataclass
class Rig:
    """One run: `engine` is the folder of llama-server, `out` is for the results, `work` for models and logs.

    `smoke` asks every section for as little as shows that it runs, on a machine without a card.
    """

    engine: Path
    out: Path
    work: Path
    budget_s: float
    smoke: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)
    card: Card = field(default_factory=Card)
    began_s: float = field(default_factory=monotonic)
    failed: list[str] = field(default_factory=list)
    """The sections that ended in an exception."""

    def __post_init__(self) -> None:
        for folder in (self.out, self.work):
            folder.mkdir(parents=True, exist_ok=True)
        for name in ("report.txt", "log.jsonl"):
            (self.out / name).write_text("")

    @property
    def server(self) -> Path:
        return self.engine / "llama-server"

    @cached_property
    def env(self) -> dict[str, str]:
        """What llama.cpp's programs run with."""
        return {**clean_environment(self.environment), "XDG_CONFIG_HOME": "/dev/null"}

    def left_s(self) -> float:
        """Seconds of the budget that are left."""
        return self.budget_s - (monotonic() - self.began_s)

    def say(self, *words: object) -> None:
        """A line of the report, with the seconds since the beginning."""
        line = f"[{monotonic() - self.began_s:6.1f}] {' '.join(map(str, words))}"
        print(line, flush=True)
        with (self.out / "report.txt").open("a") as report:
            report.write(line + "\n")

    def record(self, kind: str, **figures: object) -> None:
        """A line of log.jsonl."""
        entry = {"t": round(monotonic() - self.began_s, 2), "kind": kind, **figures}
        with (self.out / "log.jsonl").open("a") as log:
            log.write(json.dumps(entry, default=str) + "\n")

    def ask(self, *command: str | Path, timeout_s: float = 60) -> "subprocess.CompletedProcess[str]":
        """What a program says; one that is not there, or does not end, has status 127 or 124."""
        try:
            return subprocess.run(
                list(map(str, command)), capture_output=True, text=True, env=self.env, timeout=timeout_s, check=False
            )
        except OSError as error:
            return subprocess.CompletedProcess(command, 127, "", str(error))
        except subprocess.TimeoutExpired:
            return subprocess.CompletedProcess(command, 124, "", f"no end within {timeout_s:.0f} s")

    def model(self, file: File, layers: int, *, random: bool = False) -> Path:
        """A sparse R1 of full dimensions; with `random`, one whose router chooses as a real one does."""
        path = self.work / f"{file}-{layers}{'-random' if random else ''}.gguf"
        if not path.exists():
            part = path.with_suffix(".part")
            (random_r1 if random else sparse_r1).build(part, mla=file == "mla", layers=layers)
            part.rename(path)
        return path
