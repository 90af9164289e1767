"""Plans for the settings that the user tries: by formulas at once, then by the engine; the newest alone is answered."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress

from r1tui.catalog.variants import Variant
from r1tui.config import Config
from r1tui.errors import R1tuiError
from r1tui.messages import Status
from r1tui.plan import Plan
from r1tui.planning.kept import AUTO, ModelSettings, find_kept, keep
from r1tui.planning.trial import Trial
from r1tui.system.paths import Paths

SETTLED_S = 0.5
"""The engine is asked when nothing was changed for so long."""


class Trials:
    """The settings of one model: kept ones, and what a plan with others would be."""

    trial: Trial
    """There after `begin`."""

    def __init__(self, variant: Variant, config: Config, paths: Paths) -> None:
        self.variant = variant
        self.kept = AUTO
        """The settings that were kept for it when this began."""
        self._config = config
        self._paths = paths
        self._asked: asyncio.Task[Plan | None] | None = None

    async def begin(self, server: Status) -> ModelSettings:
        """Look at machine and model; the settings that are kept for it. Raises R1tuiError."""
        self.trial = await asyncio.to_thread(Trial.begin, self.variant, self._config, self._paths, server)
        self.kept = await asyncio.to_thread(find_kept, self.variant, self._config, self._paths)
        return self.kept

    async def plans(self, settings: ModelSettings) -> AsyncGenerator[Plan]:
        """The plan by formulas, and after a pause the engine's, where it can say more."""
        yield await asyncio.to_thread(self.trial.by_formulas, settings)
        if self.trial.asks_engine:
            await asyncio.sleep(SETTLED_S)
            if self._asked is not None:  # one process at a time, whoever waits for it
                await asyncio.wait([self._asked])
            self._asked = asyncio.create_task(asyncio.to_thread(self._ask, settings))
            if (plan := await asyncio.shield(self._asked)) is not None:
                yield plan

    def _ask(self, settings: ModelSettings) -> Plan | None:
        with suppress(R1tuiError):  # the formulas' answer stays
            return self.trial.by_engine(settings)
        return None

    async def keep(self, settings: ModelSettings) -> None:
        """Keep the settings for the model's next starts. Raises R1tuiError."""
        await asyncio.to_thread(keep, self.variant, settings, self._config, self._paths)
