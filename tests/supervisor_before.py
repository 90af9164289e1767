"""The supervisor of the version before, as others saw it: its lock, its state file, and what its socket said.

It speaks version 2 of the protocol by plain JSON, and answers any other version as that one did.
"""

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingUnixStreamServer
from threading import Event, Thread
from time import monotonic, sleep
from typing import Any

import msgspec

from r1tui.system.locks import locked
from r1tui.system.paths import Paths
from r1tui.system.processes import identify

REMEDY = "Restart it with this r1tui: `r1tui stop`, then `r1tui serve`."


class Before:
    """One server and what is said of it."""

    def __init__(self, paths: Paths, record: dict[str, Any]) -> None:
        self.paths = paths
        self.record = record
        self.stopping, self.ended = Event(), Event()

    def start(self) -> "subprocess.Popen[bytes]":
        """Start the server and write the state file once it answers."""
        with self.paths.server_log.open("ab") as log:
            server = subprocess.Popen(self.record["spec"]["argv"], stdout=log, stderr=log, start_new_session=True)
        while not self.paths.server_socket.exists():
            sleep(0.02)
        processes = {"keeper": identify(os.getpid()), "server": identify(server.pid)}
        self.record |= msgspec.to_builtins(processes) | {"state": "ready", "started_s": monotonic()}
        self.paths.state_file.write_text(json.dumps(self.record))
        return server

    def reply(self) -> dict[str, Any]:
        """The status."""
        spec, record = self.record["spec"], self.record
        copied = (
            "state",
            "restarts",
            "exit_status",
            "log",
            "cause",
            "remedy",
            "answers",
            "evidence",
            "kind",
            "endings",
        )
        status = {key: record[key] for key in copied} | {
            "pid": None if self.ended.is_set() else record["server"]["pid"], "keeper_pid": os.getpid(),
            "endpoint": f"unix:{spec['socket']}", "uptime_s": 1.0, "version": 2,
            **{key: spec[key] for key in ("variant", "argv", "model", "tcp", "key_file", "plan")},
        }  # fmt: skip
        return {"ok": True, "status": status, "cause": "", "remedy": "", "v": 2}

    def refusal(self, version: int) -> dict[str, Any]:
        """What was said to another version."""
        cause = f"This keeper speaks version 2 of the protocol, not {version}."
        return {"ok": False, "status": None, "cause": cause, "remedy": REMEDY, "v": 2}


class Handler(StreamRequestHandler):
    """One connection."""

    before: Before

    def handle(self) -> None:
        """Answer each line; `watch` and `stop` end the talk."""
        with suppress(OSError):
            self.answer()

    def answer(self) -> None:
        """All lines of the talk."""
        for line in self.rfile:
            request = json.loads(line)
            if request["v"] != 2:
                self.say(self.before.refusal(request["v"]))
                continue
            self.say(self.before.reply())
            if request["op"] in ("watch", "stop"):
                if request["op"] == "stop":
                    self.before.stopping.set()
                self.before.ended.wait()
                self.say(self.before.reply())
                return

    def say(self, reply: dict[str, Any]) -> None:
        """Send a line."""
        self.wfile.write(json.dumps(reply).encode() + b"\n")


def main(record_file: str) -> None:
    """Keep the server of the record until a client or SIGTERM stops it."""
    paths = Paths.from_environment()
    before = Before(paths, json.loads(Path(record_file).read_text()))
    signal.signal(signal.SIGTERM, lambda *_: before.stopping.set())
    with locked(paths.supervisor_lock, "The keeper"):
        server = before.start()
        with ThreadingUnixStreamServer(
            str(paths.supervisor_socket), type("Bound", (Handler,), {"before": before})
        ) as listener:
            Thread(target=listener.serve_forever, daemon=True).start()
            while not before.stopping.wait(0.05) and server.poll() is None:
                pass
            server.kill()
            server.wait()
            before.record |= {"state": "stopped"}
            before.ended.set()
            listener.shutdown()
        for left in (paths.supervisor_socket, paths.server_socket, paths.state_file):
            left.unlink(missing_ok=True)


if __name__ == "__main__":
    main(sys.argv[-1])
