"""Locales that are not UTF-8: nothing ends in a traceback, what is typed is understood, JSON and files are UTF-8."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from r1tui.chat.store import Store
from r1tui.cli.context import WORDS
from r1tui.errors import unwritable
from r1tui.system.paths import Paths
from tests.odd_server import Reply, chunk, events, odd_server
from tests.store_rig import said, whole
from tests.test_cli_screen import in_terminal

EVERY_HELP = """
import sys
from r1tui import cli
for name in ("", *cli._COMMANDS):
    assert cli.run([*filter(None, [name]), "--help"]) == 0, name
    sys.stdout.flush()
"""
OTHER_COMMANDS = """
import sys
from r1tui import cli
for line in ("chats show c1", "chats", "doctor", "status", "variants"):
    assert cli.run(line.split()) in (0, 1), line
    sys.stdout.flush()
"""
EMOJI = Reply(events(chunk("a😀→日"), chunk(finish="stop")))


@dataclass(frozen=True)
class Locale:
    """An encoding, and the variables that say it."""

    encoding: str
    variables: dict[str, str]

    def run(self, *arguments: str | bytes, stdin: bytes = b"") -> "subprocess.CompletedProcess[bytes]":
        """`r1tui` under it."""
        return self._run(["-m", "r1tui", *arguments], stdin)

    def python(self, program: str) -> "subprocess.CompletedProcess[bytes]":
        """A program under it, which calls several commands: a process for each takes its time."""
        beginning = "from r1tui.system.own_process import forgive_streams; forgive_streams()"
        return self._run(["-c", beginning + program], b"")

    def _run(self, arguments: list[str | bytes], stdin: bytes) -> "subprocess.CompletedProcess[bytes]":
        command = [sys.executable, *arguments]
        env = os.environ | {"PYTHONUTF8": "0"} | self.variables
        return subprocess.run(command, capture_output=True, input=stdin, env=env, timeout=300, check=False)


@pytest.fixture(scope="session")
def locales(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with locales of this test's own."""
    folder = tmp_path_factory.mktemp("locales")
    program = shutil.which("localedef")
    for language, charmap in (("de_DE", "ISO-8859-1"), ("ja_JP", "EUC-JP")) if program else ():
        subprocess.run([str(program), "-f", charmap, "-i", language, folder / f"{language}.{charmap}"], check=False)
    return folder


@pytest.fixture(params=["ISO-8859-1", "EUC-JP", "PYTHONIOENCODING=latin-1", "PYTHONIOENCODING=euc_jp:strict", "ASCII"])
def locale(request: pytest.FixtureRequest, locales: Path, paths: Paths, monkeypatch: pytest.MonkeyPatch) -> Locale:
    name: str = request.param
    for variable in ("LC_ALL", "LC_CTYPE", "LANG", "PYTHONIOENCODING", "PYTHONUTF8"):
        monkeypatch.delenv(variable, raising=False)
    if name == "ASCII":
        return Locale("ascii", {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0"})
    if "=" in name:
        variable, _, value = name.partition("=")
        return Locale(value.partition(":")[0], {variable: value, "LC_ALL": "C.UTF-8"})
    found = next((folder.name for folder in locales.iterdir() if folder.name.endswith(name)), None)
    if found is None:
        pytest.skip("this machine cannot make the locale")
    return Locale(name, {"LC_ALL": found, "LOCPATH": str(locales)})


def test_every_help_is_shown(locale: Locale) -> None:
    ran = locale.python(EVERY_HELP)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.count(b"Usage: ") == 15
    shown = locale.run("plan", "--help")
    assert shown.returncode == 0, shown.stderr
    assert b"Usage: r1tui plan" in shown.stdout


def test_an_answer_with_an_emoji_is_shown(locale: Locale) -> None:
    with odd_server(EMOJI) as server:
        shown = locale.run("chat", "--attach", server.url, "Hi")
        as_json = locale.run("chat", "--attach", server.url, "--json", "Hi")
    assert shown.returncode == 0, shown.stderr
    assert b"Traceback" not in shown.stderr
    assert "a😀→日".encode(locale.encoding, "replace") in shown.stdout or "a😀→日".encode() in shown.stdout
    assert as_json.returncode == 0, as_json.stderr
    told = [json.loads(line) for line in as_json.stdout.decode().splitlines()]
    assert "a😀→日" in "".join(str(event.get("text", "")) for event in told)


def test_what_is_typed_or_piped_in_is_understood(locale: Locale) -> None:
    text = {"EUC-JP": "日本語", "ISO-8859-1": "Grüße"}.get(locale.encoding, "日本語 Grüße 😀")
    raw = text.encode(locale.encoding if locale.encoding in ("EUC-JP", "ISO-8859-1") else "utf-8")
    with odd_server() as server:
        for ran in (locale.run("chat", "--attach", server.url, raw),
                    locale.run("chat", "--attach", server.url, "-", stdin=raw),
                    locale.run("chat", "--attach", server.url, "-", stdin=text.encode())):  # fmt: skip
            assert ran.returncode == 0, ran.stderr
        asked = [one.json["messages"][-1]["content"] for one in server.chats]
    assert asked == [text] * 3


def test_files_and_json_are_utf_8(locale: Locale, paths: Paths, tmp_path: Path) -> None:
    with Store(paths.conversations) as store:
        store.write([whole(said("c1", "日本語 😀"))])
    exported = locale.run("chats", "export", "c1", "--output", str(tmp_path / "out.md"))
    assert exported.returncode == 0, exported.stderr
    assert "日本語 😀" in (tmp_path / "out.md").read_text("utf-8")
    listed = locale.run("chats", "list", "--json")
    assert "日本語 😀" in listed.stdout.decode()
    json.loads(listed.stdout)
    others = locale.python(OTHER_COMMANDS)
    assert others.returncode == 0, others.stderr
    for ran in (others, locale.run("no-such-→".encode())):
        assert b"Traceback" not in ran.stderr
        assert b"unexpected" not in ran.stderr


def test_the_screen_says_that_it_needs_utf_8(locale: Locale) -> None:
    status, shown = in_terminal(100, 30, PYTHONUTF8="0", TERM="xterm-256color", **locale.variables)
    assert status == 1
    assert "the screen needs UTF-8" in shown
    assert ("Unset PYTHONIOENCODING" if "PYTHONIOENCODING" in locale.variables else "LC_ALL=C.UTF-8") in shown


def test_a_name_that_the_locale_has_no_letters_for_is_an_error_in_words(locale: Locale, tmp_path: Path) -> None:
    if "PYTHONIOENCODING" in locale.variables or locale.encoding == "ascii":
        pytest.skip("names are not written in this encoding")
    config = tmp_path / "config.yaml"
    config.write_text("model_folders: [/models/😀]\n", "utf-8")
    ran = locale.run("--config", str(config), "variants")
    assert b"Traceback" not in ran.stderr
    assert ran.returncode == 0 or b"LC_ALL=C.UTF-8" in ran.stderr


def test_bytes_of_no_character() -> None:
    assert WORDS.convert("a\udcff\udcc3\udcbc", None, None) == "a\ufffdü"
    with pytest.raises(UnicodeEncodeError) as caught:
        "x😀".encode("latin-1")
    assert unwritable(caught.value).cause.startswith("A name has the character \\U0001f600")
