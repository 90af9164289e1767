"""A program that a supervisor takes for a llama-server: ready at once, or what its script says for each of its starts.

    python tests/toy_server.py SOCKET SCRIPT.json [ARGUMENT]…

The script is a list, one object for each start, the last for all that follow: `say` (lines of log), `exit` (a status,
instead of serving), `loads` (never ready), `sleeps` (what /props says). `SCRIPT.json.starts` has a line for each start.
"""

import json
import os
import socket
import sys
import threading
from pathlib import Path
from typing import Any


def main(address: str, script: Path, arguments: list[str]) -> int:
    """One life."""
    starts = script.with_name(script.name + ".starts")
    with starts.open("a") as file:
        file.write(" ".join(arguments) + "\n")
    acts: list[dict[str, Any]] = json.loads(script.read_text())
    act = acts[min(len(starts.read_text().splitlines()), len(acts)) - 1]
    for line in act.get("say", []):
        sys.stdout.write(line + "\n")
    sys.stdout.flush()
    if "exit" in act:
        return int(act["exit"])
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(address)
        listener.listen(64)
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=answer, args=(connection, act), daemon=True).start()


def answer(connection: socket.socket, act: dict[str, Any]) -> None:
    """One request, whatever it is."""
    with connection:
        target = connection.recv(65536).split(b" ")[1].partition(b"?")[0]
        code = 503 if act.get("loads") else 404 if target == b"/v1/stream" else 200
        body = json.dumps({"is_sleeping": act.get("sleeps", False)} if target == b"/props" else [])
        connection.sendall(f"HTTP/1.1 {code} X\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())


if __name__ == "__main__":
    os._exit(main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:]))
