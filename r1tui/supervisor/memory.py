"""Memory that runs out: recent kills by the kernel, and plans that were too large."""

import threading
from collections import deque

from r1tui.machine.hardware import oom_kills
from r1tui.messages import ServerSpec
from r1tui.planning.history import remember_out_of_memory
from r1tui.system.paths import Paths

RECENT_LOOKS = 60
"""Looks are a second apart. A killed server may take that long to give its memory back, and only then it has ended."""
LEARN_S = 10.0


class OomWatch:
    """Tells a kill for want of memory of the last minute from one of long ago, which was of something else."""

    def __init__(self) -> None:
        self._seen = deque([oom_kills()], maxlen=RECENT_LOOKS)

    def look(self) -> None:
        """Take note of the kills until now; once a second."""
        self._seen.append(oom_kills())

    def killed(self) -> bool:
        """Whether the kernel has killed something since the oldest look that counts."""
        return oom_kills() > self._seen[0]


def learn_too_large(paths: Paths, spec: ServerSpec) -> None:
    """Have the next plan know that a GPU's memory did not suffice for this one; bounded, also when a driver hangs."""

    learning = threading.Thread(target=remember_out_of_memory, args=(paths, spec), daemon=True)
    learning.start()
    learning.join(LEARN_S)
