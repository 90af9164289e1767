"""What must stay quick to start imports nothing heavy."""

import resource
import subprocess
import sys

import pytest

from r1tui.system.paths import Paths

HEAVY = (
    "textual",
    "huggingface_hub",
    "httpx2",
    "httpx",
    "requests",
    "urllib3",
    "http.client",
    "yaml",
    "pynvml",
    "asyncio",
)


def imported_by(*arguments: str) -> set[str]:
    """The modules that a command has imported when it ends."""
    code = (
        "import sys, r1tui.cli\n"
        "try: r1tui.cli.main(sys.argv[1:])\n"
        "except SystemExit: print('\\n'.join(sys.modules), file=sys.stderr)"
    )
    ran = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    return set(ran.stderr.split())


@pytest.mark.parametrize("arguments", [("status",), ("status", "--json"), ("--version",), ("--help",)])
def test_status_and_help_import_nothing_heavy(arguments: tuple[str, ...], paths: Paths) -> None:
    assert imported_by(*arguments).isdisjoint(HEAVY)


def test_status_takes_under_a_quarter_of_a_second_of_cpu(paths: Paths) -> None:
    def cpu_s() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-m", "r1tui", "status"], check=True, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime

    assert min(cpu_s() for _ in range(3)) < 0.25
