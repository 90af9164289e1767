"""What a download costs, and what a kill costs it.

`python -m tests.bench.download rate` fetches a file with r1tui and with curl in turn from one server on loopback: GB/s,
CPU seconds per GB, peak memory, without the second that r1tui takes to start. r1tui syncs what it writes, curl does
not, so let --folder be a tmpfs to compare them. `… kills` kills r1tui twenty times at random moments and counts what
was fetched twice. `… huge` begins, kills and goes on with a 131 GiB model that is one large hole.
"""

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep

import msgspec

from r1tui.catalog.variants import Variant
from r1tui.cli import main as main_command
from r1tui.config import Config
from r1tui.hub.download.staging import unfinished
from r1tui.system.paths import Paths
from r1tui.text import size
from tests.hub_server import Faults, Hub, Repository, running_hub

REPO = "acme/Bench-GGUF"
FILE = "Bench-Q1.gguf"
SMALL = Variant(f"hf:{REPO}:Q0", repo=REPO, pattern="*Q0*")
VARIANT = Variant(f"hf:{REPO}:Q1", repo=REPO, pattern="*Q1*")
GB = 1e9
CONNECTIONS = 4
BOUND_BYTES = CONNECTIONS * 16 << 20


@contextmanager
def serving(file: Path, sha256: str | None) -> Iterator[str]:
    """The hub in a process of its own, so that its work is nobody's else; its address."""
    command = [sys.executable, "-m", "tests.bench.download", "serve", "--file", str(file)]
    command += [] if sha256 is None else ["--sha256", sha256]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True) as server:
        assert server.stdout
        try:
            yield server.stdout.readline().strip()
        finally:
            server.terminate()


def serve(file: Path, sha256: str | None) -> None:
    """Until stdin ends."""
    with running_hub() as hub:
        hub.repositories[REPO] = repository(file, sha256)
        hub.faults = Faults(redirect=True)
        print(hub.url, flush=True)
        sys.stdin.read()


def repository(file: Path, sha256: str | None) -> Repository:
    """The file as a model."""
    return Repository({FILE: file, "Bench-Q0.gguf": b"GGUF small"}, sha256={} if sha256 is None else {FILE: sha256})


def measured(command: list[str], env: dict[str, str]) -> tuple[float, float, float]:
    """A command's seconds, CPU seconds and peak MiB."""
    started_s = monotonic()
    process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr
    said = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, said
    return monotonic() - started_s, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def r1tui_command(variant: Variant = VARIANT) -> list[str]:
    """The download's command."""
    return [sys.executable, "-m", "r1tui", "download", "--json", variant.name]


def environment(home: Path, url: str) -> dict[str, str]:
    """An r1tui of its own that asks our hub."""
    return os.environ | {"R1TUI_HOME": str(home), "HF_ENDPOINT": url, "HF_HOME": str(home / "hf")}


def rate(folder: Path, n_bytes: int, rounds: int) -> None:
    """Ours, with and without the check, and curl's, in turn."""
    file = folder / "served.gguf"
    with file.open("wb") as served:
        for _ in range(n_bytes >> 24):
            served.write(os.urandom(1 << 24))
        served.seek(0)
        served.write(b"GGUF")
    target = folder / "curl.out"
    print(f"{size(n_bytes)} per download, {CONNECTIONS} connections; load {os.getloadavg()[0]:.1f}")
    print(f"{'':<24}{'GB/s':>8}{'CPU s/GB':>10}{'peak MiB':>10}")
    with serving(file, None) as checked, serving(file, "") as unchecked:
        for _ in range(rounds):
            for name, url in (("r1tui, bytes alone", unchecked), ("curl", unchecked), ("r1tui, with sha256", checked)):
                if name == "curl":
                    command = ["curl", "-sSfL", "-o", str(target), f"{url}/{REPO}/resolve/main/{FILE}"]
                    figures = measured(command, dict(os.environ))
                    target.unlink()
                else:
                    with tempfile.TemporaryDirectory(dir=folder) as home:
                        idle = measured(r1tui_command(SMALL), environment(Path(home), url))
                        all_of_it = measured(r1tui_command(), environment(Path(home), url))
                        figures = (all_of_it[0] - idle[0], all_of_it[1] - idle[1], all_of_it[2])
                seconds, cpu_s, peak_mib = figures
                print(f"{name:<24}{n_bytes / GB / seconds:>8.2f}{cpu_s / n_bytes * GB:>10.2f}{peak_mib:>10.0f}")


def kill_often(folder: Path, n_bytes: int, kills: int, seed: int) -> None:
    """Kill it at random moments, then let it end."""
    data = b"GGUF" + os.urandom(n_bytes - 4)
    moments = random.Random(seed)  # noqa: S311
    home = folder / "home"
    os.environ |= {"R1TUI_HOME": str(home), "HF_HOME": str(home / "hf")}
    paths = Paths.from_environment()
    with running_hub() as hub:
        hub.repositories[REPO] = Repository({FILE: data})
        hub.faults = Faults(redirect=True)
        print(f"{size(n_bytes)}, {CONNECTIONS} connections, at most {size(BOUND_BYTES)} a kill")
        for kill in range(1, kills + 1):
            left = n_bytes - (unfinished(VARIANT, paths, Config()) or (0, 0))[0]
            lost = killed(hub, paths, moments.randrange(left // (kills + 2 - kill)), moments.random() * 0.05)
            print(f"kill {kill:>2}: {size(n_bytes - left):>10} here before, {size(lost):>10} sent and not kept")
            assert lost <= BOUND_BYTES
        subprocess.run(r1tui_command(), env=environment(home, hub.url), check=True, stdout=subprocess.DEVNULL)
        arrived = (paths.models / REPO / FILE).read_bytes()
        twice = hub.sent.total() - n_bytes
        print(
            f"identical: {arrived == data}; fetched twice in all {size(twice)} of {size(kills * BOUND_BYTES)} allowed"
        )
        assert arrived == data


def killed(hub: Hub, paths: Paths, after_bytes: int, after_s: float, command: list[str] | None = None) -> int:
    """Run it until so much has been sent, kill it a little later; the bytes that were sent and are not kept."""
    kept, _ = unfinished(VARIANT, paths, Config()) or (0, 0)
    before = hub.sent.total()
    env = environment(paths.data.parent, hub.url)
    with subprocess.Popen(
        command or r1tui_command(), env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        while hub.sent.total() - before <= after_bytes and process.poll() is None:
            sleep(0.001)
        sleep(after_s)
        process.kill()
    sleep(0.3)  # what the server still sends into the closed connections counts against us
    return hub.sent.total() - before - ((unfinished(VARIANT, paths, Config()) or (0, 0))[0] - kept)


def huge(folder: Path, n_bytes: int) -> None:
    """The full-size R1 without weights: planned from its header, begun, killed, gone on with; never completed."""
    from tests.sparse_r1 import build  # noqa: PLC0415

    model = build(folder / "sparse.gguf", mla=False)
    home = folder / "home"
    os.environ |= {"R1TUI_HOME": str(home), "HF_HOME": str(home / "hf")}
    paths = Paths.from_environment()
    with running_hub() as hub:
        hub.repositories[REPO] = Repository({FILE: model}, sha256={FILE: "0" * 64})
        env = environment(home, hub.url)
        plan = subprocess.run(
            [sys.executable, "-m", "r1tui", "plan", VARIANT.name], env=env, capture_output=True, text=True, check=False
        )
        print(f"served: {size(model.stat().st_size)}; sent for the plan: {size(hub.sent.total())}")
        print(plan.stdout or plan.stderr)
        refused = subprocess.run(r1tui_command(), env=env, capture_output=True, text=True, check=False)
        print(f"on this disk: {last_cause(refused.stdout)}")
        for _ in range(2):
            before = (unfinished(VARIANT, paths, Config()) or (0, 0))[0]
            lost = killed(hub, paths, n_bytes, 0.1, command=[sys.executable, "-m", "tests.bench.download", "roomy"])
            kept = (unfinished(VARIANT, paths, Config()) or (0, 0))[0]
            print(f"{size(before)} here; {size(kept - before)} more kept until a kill, {size(lost)} sent and not kept")


def roomy() -> None:
    """The download on a disk that says it has room for everything."""
    usage = shutil.disk_usage
    shutil.disk_usage = lambda path: usage(path)._replace(free=1 << 40)
    main_command(r1tui_command()[3:])


def last_cause(stdout: str) -> str:
    """Why the command failed."""
    return str(msgspec.json.decode(stdout.splitlines()[-1]).get("cause", "accepted"))


def main() -> None:
    """Run one of the campaigns."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["rate", "kills", "huge", "serve", "roomy"])
    parser.add_argument("--folder", type=Path, help="where the files go; default: the temporary folder")
    parser.add_argument("--mib", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=3407)
    parser.add_argument("--file", type=Path)
    parser.add_argument("--sha256")
    given = parser.parse_args()
    if given.what == "serve":
        serve(given.file, given.sha256)
        return
    if given.what == "roomy":
        roomy()
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        match given.what:
            case "rate":
                rate(Path(folder), given.mib << 20, given.rounds)
            case "kills":
                kill_often(Path(folder), given.mib << 20, given.kills, given.seed)
            case _:
                huge(Path(folder), given.mib << 20)


if __name__ == "__main__":
    main()
