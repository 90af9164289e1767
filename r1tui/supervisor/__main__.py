"""`python -m r1tui.supervisor SPECFILE` starts a server; `--adopt SPECFILE` takes over one without a supervisor.

SPECFILE is removed once the server is spawned and the state is written. A start that fails leaves a `Refusal` in it.
"""

import sys
from contextlib import suppress
from pathlib import Path
from time import strftime

import msgspec

from r1tui.errors import R1tuiError
from r1tui.messages import Refusal, ServerSpec, Status, decode_own
from r1tui.supervisor.running import adopt_server, run_supervisor
from r1tui.system.files import keep_others_out, write_json
from r1tui.system.logs import as_user_error, begin_log
from r1tui.system.own_process import forgive_streams
from r1tui.system.paths import Paths


def main(arguments: list[str]) -> int:
    """Run the supervisor; the exit status says whether the server was stopped on purpose."""
    adopts, spec_file = arguments[0] == "--adopt", Path(arguments[-1])
    keep_others_out()
    forgive_streams("utf-8")  # they are the log
    paths = Paths.from_environment()
    begin_log(paths, "supervisor")

    def note(status: Status) -> None:
        if status.state != "starting":
            spec_file.unlink(missing_ok=True)
        detail = f": {status.cause}" if status.cause else ""
        sys.stderr.write(f"{strftime('%F %T')} {status.state} (llama-server {status.pid}){detail}\n")
        sys.stderr.flush()

    if not adopts and not spec_file.exists():
        return 1  # the starter was killed, and a stop came before this supervisor did
    try:
        if adopts:
            last = adopt_server(paths, note, detached=True)
        else:
            last = run_supervisor(_read_spec(spec_file), paths, note, detached=True)
    except Exception as error:
        why = as_user_error(error, "The supervisor")
        _refuse(Refusal(why.cause, remedies=why.remedies), spec_file)
        return why.exit_status
    return 0 if last.state == "stopped" else 1


def _refuse(refusal: Refusal, spec_file: Path) -> None:
    try:
        if spec_file.exists():
            write_json(spec_file, refusal)
    except OSError:
        with suppress(OSError):
            spec_file.write_bytes(msgspec.json.encode(refusal))  # a full disk has no room for a second file


def _read_spec(file: Path) -> ServerSpec:
    try:
        spec = decode_own(file.read_bytes(), ServerSpec)
    except (OSError, msgspec.DecodeError) as error:
        raise R1tuiError(f"The start request cannot be read: {error}.", "Start it again.") from error
    if not spec.argv:
        raise R1tuiError("The start request has no command.", "Start it again.")
    return spec


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
