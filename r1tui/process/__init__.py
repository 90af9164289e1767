"""A detached child: spawn it, know it again, wait for its end, stop it, follow its log; and named jobs made of one.

What runs detached outlives the terminal and the program that started it, so a process is known by pid *and* start:
a pid alone may belong to somebody else by now.
"""

from r1tui.messages import ProcessId
from r1tui.process.child import (
    STOP_WAITS_S,
    alive,
    boot_id,
    command_line,
    find_command,
    has_open,
    identify,
    kill_session,
    leads_session,
    parent,
    runs_command,
    spawn,
    spawn_detached,
    stop,
    variable,
    wait,
    wait_ended,
)
from r1tui.process.job import Job
from r1tui.process.log import LogReader, follow, older_log

__all__ = [
    "STOP_WAITS_S",
    "Job",
    "LogReader",
    "ProcessId",
    "alive",
    "boot_id",
    "command_line",
    "find_command",
    "follow",
    "has_open",
    "identify",
    "kill_session",
    "leads_session",
    "older_log",
    "parent",
    "runs_command",
    "spawn",
    "spawn_detached",
    "stop",
    "variable",
    "wait",
    "wait_ended",
]
