"""A machine without a GPU and with memory to spare, whatever else runs on this one."""

from r1tui.machine.hardware import Machine
from r1tui.machine.nvml import Nvidia

ROOMY = Machine("CPU", 8, 8, 64 << 30, 60 << 30, Nvidia(()), ())
