"""A machine without a GPU and with memory to spare, whatever else runs on this one."""

import pytest

from r1tui.machine.hardware import Machine
from r1tui.machine.nvml import Nvidia
from r1tui.planning import request

ROOMY = Machine("CPU", 8, 8, 64 << 30, 60 << 30, Nvidia(()), ())


@pytest.fixture
def roomy_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plans are for that machine."""
    monkeypatch.setattr(request, "detect_machine", lambda: ROOMY)
