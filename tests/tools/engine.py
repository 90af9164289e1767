"""The llama-server of the tests, built with its progress where it is not there yet: python -m tests.tools.engine."""

import os
from pathlib import Path

from r1tui.cli.stages import Printer
from r1tui.config import EngineSettings
from r1tui.engine.make import build_engine
from r1tui.events import Emit
from r1tui.system.paths import Paths


def engine_for_tests(emit: Emit, paths: Paths | None = None) -> Path:
    """The llama-server that our recipe builds, kept in the user's cache; `$R1TUI_TEST_SERVER` names another."""
    if given := os.environ.get("R1TUI_TEST_SERVER"):
        return Path(given)
    return build_engine(EngineSettings(), paths or Paths.from_environment(), emit).server


if __name__ == "__main__":
    engine_for_tests(Printer())
