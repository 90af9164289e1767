"""Faults of server, supervisor and model's file: killed, cut short, too little memory, a library or a worker gone."""

import shutil
import signal
import subprocess
from collections.abc import Callable
from contextlib import suppress
from time import monotonic

import msgspec

from r1tui.messages import Status
from r1tui.supervisor import client
from r1tui.system.processes import identify
from tests.bench.faults_rig import PATIENCE_S, RESTARTS, Home, kill, told
from tests.engine_figures import running_worker
from tests.provoked import memory_cgroup, without_library
from tests.supervisor_rig import SocketConnection, call, open_stream, spec_for, until, watch
from tests.tiny_r1 import build


def _started_again(here: Home) -> Status:
    until(lambda: client.status(here.paths).restarts, PATIENCE_S)
    now = here.settled()
    assert now.state == "ready", told(now)
    return now


def killed_idle(here: Home) -> str:
    """kill -9 of an idle server."""
    kill(here.ready().pid)
    return told(_started_again(here))


def killed_loading(here: Home) -> str:
    """kill -9 of a server that loads."""
    spec = spec_for(here.server, here.model, here.paths, restart_delays_s=RESTARTS)
    client.start(spec, here.paths)
    kill(until(lambda: client.status(here.paths).pid))
    return told(here.settled())


def killed_answering(here: Home) -> str:
    """kill -9 of a server in the middle of an answer."""
    pid = here.ready().pid
    open_stream(here.paths.server_socket, "c1").close()
    kill(pid)
    return told(_started_again(here))


def killed_keeper_answering(here: Home) -> str:
    """kill -9 of the supervisor in the middle of an answer, then the next r1tui."""
    before = here.ready(max_tokens=2000)
    client.answer_started(here.paths, "c1")
    open_stream(here.paths.server_socket, "c1").close()
    kill(before.supervisor_pid)
    after = client.adopt(here.paths)
    assert after.pid == before.pid
    until(lambda: not client.status(here.paths).answers, PATIENCE_S)
    return f"{told(here.settled())}, same server, answer recorded to its end"


def killed_both(here: Home) -> str:
    """kill -9 of supervisor and server."""
    before = here.ready()
    kill(before.supervisor_pid)
    kill(before.pid)
    return told(client.status(here.paths))


def stopped_server(here: Home) -> str:
    """SIGSTOP of a ready server, then Ctrl+R."""
    pid = here.ready(silence_s=1.0).pid
    kill(pid, signal.SIGSTOP)
    hanging = next(status for status in watch(here.paths) if status.hangs)
    client.restart(here.paths)
    until(lambda: (now := client.status(here.paths)).pid not in (None, pid) and now.state == "ready", PATIENCE_S)
    return f"{hanging.cause} then {told(client.status(here.paths))}"


def stopped_keeper(here: Home) -> str:
    """SIGSTOP of the supervisor, then a stop."""
    kill(here.ready().supervisor_pid, signal.SIGSTOP)
    started_s = monotonic()
    after = client.stop(here.paths)
    return f"{told(after)} after {monotonic() - started_s:.1f} s"


def broken_file(here: Home, change: Callable[[bytearray], None]) -> str:
    """A model's file that is not what it should be."""
    data = bytearray(here.model.read_bytes())
    change(data)
    here.model = here.model.parent / "broken.gguf"
    here.model.write_bytes(data)
    client.start(spec_for(here.server, here.model, here.paths, restart_delays_s=RESTARTS), here.paths)
    return told(here.settled())


def cut(data: bytearray) -> None:
    """Half of it is missing."""
    del data[len(data) // 2 :]


def zeroed(data: bytearray) -> None:
    """Its second half is zeros, which only a checksum tells."""
    data[len(data) // 2 :] = bytes(len(data) - len(data) // 2)


def missing_shard(here: Home) -> str:
    """The second shard is not there."""
    folder = here.paths.state.parent
    first = build(folder / "tiny.gguf", shard_tensors=40)
    for shard in first.parent.glob("*-00002-of-*"):
        shard.unlink()
    here.model = first
    client.start(spec_for(here.server, first, here.paths, restart_delays_s=RESTARTS), here.paths)
    return told(here.settled())


def removed_run_folder(here: Home) -> str:
    """The folder of the sockets is removed under a ready server."""
    ready = here.ready()
    pid = ready.pid
    shutil.rmtree(here.paths.run)
    before = client.adopt(here.paths)
    assert (before.pid, before.supervisor_pid) == (ready.pid, ready.supervisor_pid)
    client.stop(here.paths)
    assert pid is None or identify(pid) is None
    return f"{told(before)}; one stop ended it"


def full_disk(here: Home) -> str:
    """The disk under log and state is full (a tmpfs of 256 KiB)."""
    here.paths.state.mkdir(parents=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", here.paths.state], check=False, capture_output=True
    )
    if mounted.returncode:
        return "not tried: no right to mount"
    try:
        here.ready()
        with (here.paths.state / "filler").open("wb", buffering=0) as filler, suppress(OSError):
            while filler.write(bytes(4096)) == 4096:
                pass
        connection = SocketConnection(here.paths.server_socket)
        body = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 200}
        code = call(connection, "POST", "/v1/chat/completions", body)[0]
        return f"{told(client.status(here.paths))}; it answers {code}; {told(client.stop(here.paths))}"
    finally:
        client.stop(here.paths)
        subprocess.run(["umount", here.paths.state], check=False)


def too_little_memory(here: Home) -> str:
    """ulimit -v makes loading fail."""
    spec = spec_for(
        here.server, here.model, here.paths, "--ctx-size", "8000000", "--fit", "off", restart_delays_s=RESTARTS
    )
    limited = ["/bin/sh", "-c", 'ulimit -v 3000000; exec "$@"', "sh", *spec.argv]
    client.start(msgspec.structs.replace(spec, argv=limited), here.paths)
    return told(here.settled())


def lost_worker(here: Home) -> str:
    """The RPC worker is killed in the middle of an answer."""
    with running_worker(here.server) as worker:
        here.ready("--rpc", worker, "--n-gpu-layers", "99")
        stream = open_stream(here.paths.server_socket, "c1")
    until(lambda: client.status(here.paths).state == "failed", PATIENCE_S)
    stream.close()
    return told(client.status(here.paths))


def missing_library(here: Home) -> str:
    """A library that llama-server is linked with is not there."""
    spec = spec_for(here.server, here.model, here.paths, restart_delays_s=RESTARTS)
    broken = without_library(here.server, here.paths.state.parent / "llama-server")
    client.start(msgspec.structs.replace(spec, argv=[str(broken), *spec.argv[1:]]), here.paths)
    return told(here.settled())


def killed_for_memory(here: Home) -> str:
    """The kernel kills a loading server for want of memory (a memory cgroup)."""
    spec = spec_for(here.server, here.model, here.paths, "--ctx-size", "131072", restart_delays_s=RESTARTS)
    with memory_cgroup(40 << 20) as limited:
        if limited is None:
            return "not tried: no right to make a memory cgroup"
        client.start(msgspec.structs.replace(spec, argv=limited(spec.argv)), here.paths)
        end = told(here.settled())
        client.stop(here.paths)
        return end
