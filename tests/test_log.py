"""r1tui's own log: all its processes write it, it stays small, and it holds no secret and no chat text."""

import logging
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator

import click
import pytest

from r1tui.cli import _COMMANDS, cli, main
from r1tui.events import StageFailed, decode_event
from r1tui.system import logs as log
from r1tui.system.logs import LogHandler, as_user_error, begin_log, flush_log, log_file, log_unexpected, without_secrets
from r1tui.system.paths import Paths
from tests.supervisor_rig import until

SECRET = "hf_" + "x" * 30
TEXT = "How do I tell my sister that I am leaving?"


@pytest.fixture
def own_log(paths: Paths) -> Iterator[Paths]:
    begin_log(paths, "test")
    yield paths
    root = logging.getLogger()
    for handler in [one for one in root.handlers if isinstance(one, LogHandler)]:
        root.removeHandler(handler)


def logged(paths: Paths) -> str:
    flush_log()
    return paths.own_log.read_text()


def test_no_file_is_made_before_there_is_something_to_say(own_log: Paths) -> None:
    assert log_file() == own_log.own_log
    assert not own_log.state.exists()


def test_an_unforeseen_exception_stands_there_with_its_traceback_and_the_user_reads_where(own_log: Paths) -> None:
    try:
        _ = {"a": 1}["b"]
    except KeyError as error:
        told = log_unexpected(error, "The search")
    assert told.cause == "The search ended with an unexpected error (KeyError)."
    assert told.remedy == f"Details: {own_log.own_log}"
    said = logged(own_log)
    assert f"test[{os.getpid()}] ERROR r1tui: The search ended unexpectedly" in said
    assert "in test_an_unforeseen_exception" in said
    assert "KeyError: 'b'" in said


def test_what_the_system_refused_stands_there_with_who_asked(own_log: Paths) -> None:
    try:
        open("no/such/file")  # noqa: PTH123,SIM115  what any library might do
    except OSError as error:
        told = as_user_error(error, "The answer")
    assert told.cause == "no/such/file: No such file or directory."
    said = logged(own_log)
    assert "The answer ended: the system refused something" in said
    assert "in test_what_the_system_refused" in said


def test_the_log_and_its_folder_are_this_user_s_alone(own_log: Paths) -> None:
    before = os.umask(0)
    try:
        logging.getLogger("r1tui.x").error("something")
        flush_log()
    finally:
        os.umask(before)
    assert stat.S_IMODE(own_log.own_log.stat().st_mode) == 0o600
    assert stat.S_IMODE(own_log.logs.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    "text",
    [
        f"Authorization: Bearer {SECRET}",
        f"'authorization': 'Basic {SECRET}'",
        f'{{"Authorization": "Bearer {SECRET}"}}',
        f"proxy-authorization={SECRET}",
        f"https://user:{SECRET}@hub.example/x",
        f"http://{SECRET}@proxy:8080",
        f"api_key={SECRET} and more",
        f"--api-key='{SECRET}'",
        f'"token": "{SECRET}"',
        f"HF_TOKEN={SECRET}",
        f"password: {SECRET}",
        f"sent {SECRET} somewhere",
    ],
)
def test_secrets_are_replaced(text: str) -> None:
    assert SECRET not in without_secrets(text)
    if not text.startswith("sent"):  # where the text around it says that it is one
        assert "Zm9vYmFyCg12" not in without_secrets(text.replace(SECRET, "Zm9vYmFyCg12"))


@pytest.mark.parametrize("name", ["MY_HUB_TOKEN", "HTTP_AUTHORIZATION", "DB_PASSW", "PGPASSWORD", "my_api_key"])
def test_the_environment_s_secrets_are_replaced_wherever_they_stand(
    own_log: Paths, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "odd looking value")
    logging.getLogger("r1tui.x").error("asked with odd looking value")
    assert "odd looking" not in logged(own_log)


def test_what_people_wrote_stays_out_of_messages_causes_groups_and_other_libraries(own_log: Paths) -> None:
    try:
        try:
            int(TEXT)
        except ValueError as error:
            raise ExceptionGroup("several", [KeyError(TEXT), RuntimeError(f"line one\n{TEXT}")]) from error
    except ExceptionGroup as error:
        log_unexpected(error, "The answer")
    logging.getLogger("other").error("sent %r", TEXT)
    said = logged(own_log)
    for name in ("ValueError", "KeyError", "RuntimeError: line one", "ExceptionGroup: several", "other: sent"):
        assert name in said
    assert "sister" not in said


def test_a_log_that_is_large_is_put_aside_once_however_many_write(
    paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = (
        "import logging\n"
        "from r1tui.system import logs as log\n"
        "from r1tui.system.paths import Paths\n"
        "log.LIMIT_BYTES = 20_000\n"
        "log.FLUSH_S = 60\n"
        "log.begin_log(Paths.from_environment(), 'x')\n"
        "for n in range(300):\n"
        "    logging.getLogger('r1tui').error('%04d ' + 'x' * 100, n)\n"
    )
    writers = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(3)]
    assert [one.wait(60) for one in writers] == [0, 0, 0]
    files = sorted(paths.logs.iterdir())
    assert [one.name for one in files] == ["r1tui.log", "r1tui.log.1"] or [one.name for one in files] == ["r1tui.log.1"]
    for file in files:
        assert file.stat().st_size < 21_000
        assert {len(line.split()[-1]) for line in file.read_text().splitlines()} == {100}  # no line in another


@pytest.mark.parametrize("spoiled", ["a file", "read-only"])
def test_a_folder_that_cannot_be_written_ends_nothing(own_log: Paths, spoiled: str) -> None:
    own_log.state.mkdir(parents=True)
    if spoiled == "a file":
        own_log.logs.write_text("")
    else:
        own_log.logs.symlink_to("/proc")  # where nobody can write, root neither
    assert log_unexpected(ValueError("x"), "Something").cause
    flush_log()


def test_a_disk_that_hangs_holds_up_neither_the_caller_nor_the_end(
    own_log: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers, begun = threading.Event(), threading.Event()

    def append(handler: LogHandler, line: bytes) -> None:
        begun.set()
        answers.wait()

    monkeypatch.setattr(LogHandler, "_append", append)
    monkeypatch.setattr(log, "FLUSH_S", 0.05)
    for n in range(2000):
        logging.getLogger("r1tui").error("line %d", n)
    flush_log()
    assert begun.wait(60)
    answers.set()  # let the thread go


def test_a_pipe_in_the_log_s_place_holds_up_nobody(own_log: Paths) -> None:
    own_log.logs.mkdir(parents=True)
    os.mkfifo(own_log.own_log)  # opening it as usual waits for a reader that never comes
    logging.getLogger("r1tui").error("a line")
    flush_log()
    handler = next(one for one in logging.getLogger().handlers if isinstance(one, LogHandler))
    until(lambda: handler._lines.unfinished_tasks == 0)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_what_a_thread_raises_is_logged(own_log: Paths) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    thread = threading.Thread(target=fail, name="some-work")
    thread.start()
    thread.join()
    assert "The thread some-work ended unexpectedly" in logged(own_log)


def fail(*arguments: object, **options: object) -> None:
    raise KeyError("surprise")


def fail_in_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have every command raise what nobody expects."""
    invoke = click.Command.invoke
    monkeypatch.setattr(click.Command, "invoke", lambda self, context: (invoke if self is cli else fail)(self, context))


@pytest.mark.parametrize("name", [*_COMMANDS, None])
def test_an_unforeseen_exception_in_any_command_is_a_sentence_and_the_log_s_path(
    name: str | None, own_log: Paths, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fail_in_commands(monkeypatch)
    if name is None:
        monkeypatch.setattr("r1tui.cli.screen.run_screen", fail)
    needed = {"download": ["x"], "delete": ["x"], "inspect": ["x"], "chat": ["x"]}
    with pytest.raises(SystemExit) as left:
        main([name, *needed.get(name, [])] if name else [])
    assert left.value.code == 1
    said = capsys.readouterr()
    assert said.out == ""
    what = f"r1tui {name}" if name else "r1tui"
    assert said.err == f"Error: {what} ended with an unexpected error (KeyError).\nDetails: {own_log.own_log}\n"
    assert "in fail\n" in logged(own_log)
    assert f" {name or 'screen'}[" in logged(own_log)


def test_the_traceback_is_shown_to_who_asks_for_it(
    own_log: Paths, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("R1TUI_DEBUG", "1")
    fail_in_commands(monkeypatch)
    with pytest.raises(SystemExit):
        main(["doctor", "--json"])
    assert "Traceback (most recent call last):" in capsys.readouterr().err


def test_what_the_system_refuses_a_command_is_logged(
    own_log: Paths, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise PermissionError(13, "Permission denied", "/some/where")

    invoke = click.Command.invoke
    monkeypatch.setattr(
        click.Command, "invoke", lambda self, context: (invoke if self is cli else refuse)(self, context)
    )
    with pytest.raises(SystemExit) as left:
        main(["doctor"])
    assert left.value.code == 1
    assert capsys.readouterr().err.startswith("Error: /some/where: Permission denied.\n")
    assert "in refuse\n" in logged(own_log)


@pytest.mark.parametrize(
    ("command", "target"),
    [
        (["build", "--json"], "r1tui.cli.build.build_engine"),
        (["download", "--json", "demo"], "r1tui.cli.models.download_model"),
        (["serve", "--json", "--detach", "demo"], "r1tui.launch.stages.find_engine"),
    ],
)
def test_a_command_s_json_ends_with_a_failed_event(
    command: list[str], target: str, own_log: Paths, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(target, fail)
    monkeypatch.setattr("r1tui.cli.models._hint_at_plan", lambda *arguments: None)
    with pytest.raises(SystemExit) as left:
        main(command)
    assert left.value.code == 1
    said = capsys.readouterr()
    last = decode_event(said.out.splitlines()[-1])
    assert isinstance(last, StageFailed)
    assert last.cause.endswith("ended with an unexpected error (KeyError).")
    assert last.remedy == f"Details: {own_log.own_log}"
    assert said.err == ""
    assert logged(own_log).count("KeyError: 'surprise'") == 1


@pytest.mark.parametrize("raised", [KeyError("surprise"), OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_who_follows_a_download_in_the_foreground_sees_how_it_failed(
    raised: BaseException, own_log: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    def end(*arguments: object, **options: object) -> None:
        raise raised

    monkeypatch.setattr("r1tui.cli.models.download_model", end)
    monkeypatch.setattr("r1tui.cli.models._hint_at_plan", lambda *arguments: None)
    with pytest.raises(SystemExit) as left:
        main(["download", "demo"])
    lines = (own_log.jobs / "model-demo.jsonl").read_text().splitlines()
    event = decode_event(lines[-1])
    assert isinstance(event, StageFailed)
    assert event.exit_status == left.value.code == (130 if isinstance(raised, KeyboardInterrupt) else 1)
