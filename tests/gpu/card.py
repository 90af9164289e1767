"""The memory of the cards, of all of them and of one process, now and at its peak."""

import threading
from types import TracebackType
from typing import Self

from r1tui.machine.nvml import NvmlSession
from r1tui.machine.nvml_binding import NvmlError

MIB = 1 << 20
PEAK_S = 0.02


class Card:
    """All NVIDIA cards together; without one every figure is zero and `missing` says why."""

    def __init__(self) -> None:
        self.missing = ""
        try:
            self._session: NvmlSession | None = NvmlSession()
        except NvmlError as error:
            self._session, self.missing = None, error.cause

    @property
    def is_here(self) -> bool:
        """Whether there is one."""
        return self._session is not None

    def used_mib(self) -> float:
        """What everybody holds."""
        return sum(use.used_bytes or 0 for use in self._session.read()) / MIB if self._session else 0.0

    def total_mib(self) -> float:
        """What the first card has."""
        return (self._session.read()[0].total_bytes or 0) / MIB if self._session else 0.0

    def own_mib(self, pid: int) -> float | None:
        """What the process holds; None where the driver does not say."""
        if self._session is None:
            return None
        own = [use.own_bytes for use in self._session.read(pid) if use.own_bytes is not None]
        return sum(own) / MIB if own else None


class Peak:
    """The most that was in use during a block."""

    def __init__(self, card: Card) -> None:
        self._card = card
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.mib = card.used_mib()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(PEAK_S):
            self.mib = max(self.mib, self._card.used_mib())
