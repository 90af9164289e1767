"""What the tests of unforeseen exceptions share: what fails, the screen with its log, what it says."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from r1tui.system.logs import begin_log, flush_log
from tests.screen_rig import StillApp


class SurpriseError(Exception):
    """What nobody expects."""


def fail(*arguments: object, **options: object) -> None:
    raise SurpriseError


async def fail_async(*arguments: object, **options: object) -> None:
    raise SurpriseError


async def fail_while_iterated(*arguments: object, **options: object) -> AsyncIterator[None]:
    for wanted in (False,):
        if not wanted:
            raise SurpriseError
        yield


@pytest.fixture
def app(tmp_path: Path) -> StillApp:
    app = StillApp(tmp_path)
    begin_log(app.paths, "screen")
    return app


def logged(app: StillApp) -> str:
    flush_log()
    return app.paths.own_log.read_text() if app.paths.own_log.exists() else ""
