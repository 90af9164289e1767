"""Takes out of a text what a bug report must not tell: secrets, who the user is, and what was said in a chat."""

import getpass
import json
import os
import pwd
import re
import socket
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from r1tui.system.environment import is_secret
from r1tui.system.logs import without_secrets
from r1tui.text import plain

SHORTEST = 4
"""Characters of a secret or a name that is looked for by its value; a shorter one would spoil every other word."""
LONGEST_LINE = 2000
OUT = "***"
_NOBODY = frozenset({"root", "localhost", "user", "users", "home", "nobody"})
"""Names that tell nothing."""

_WORDS = "api-?key|key|token|secret|password|passwd|passphrase|auth|authorization|credentials?|cookie"
_SECRET_FLAG = re.compile(rf"(?i)^--?(?:hft|(?:[\w-]*-)?(?:{_WORDS}))$")
_SECRET_KEY = re.compile(rf"(?i)^(?:\w*[_-])?(?:{_WORDS.replace('-?', '[-_]?')})$")
_VALUE = r"(?:\\*[\"'])?\s*[:=]\s*(?:\\*[\"'])?"
"""Between a name and its value, in JSON within JSON too."""
_PRIVATE_KEY = re.compile(r"(?s)-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)")
_SECRETS = (
    (_PRIVATE_KEY, OUT),
    (re.compile(rf"(?i)((?:authorization|cookie){_VALUE})[^\r\n\"']+"), rf"\1{OUT}"),
    (re.compile(r"(?i)(--?[\w-]*(?:key|token|secret|passw\w*)(?:[ =]+|\\*[\"'],\s*\\*[\"']))(?!-)[^\s\"',]+"),
     rf"\1{OUT}"),
    (re.compile(rf"(?i)((?:api[-_ ]?key|secret|passw(?:or)?d|passphrase|_token|credential){_VALUE})[^\s\"',;&]+"),
     rf"\1{OUT}"),
    (re.compile(r"\b(?:gh[pousr]_\w{8,}|github_pat_\w{8,}|glpat-[\w-]{8,}|AKIA[0-9A-Z]{12,}|xox[abp]-[\w-]{8,})"), OUT),
    (re.compile(r"\beyJ[\w-]{8,}\.[\w-]{8,}(?:\.[\w-]*)?"), OUT),
    (re.compile(r"(:/{1,2})[^\s/@\"']*@"), rf"\1{OUT}@"),
    (re.compile(r"\b[\w.-]+:[^\s/@:\"']{4,}@(?=[\w-])"), f"{OUT}@"),
    (re.compile(r"([?&][\w.%-]+=)[^&\s\"'<>#]+"), rf"\1{OUT}"),
    (re.compile(r"(api_keys: )\S+"), rf"\1{OUT}"),
)  # fmt: skip
_GPU_ID = re.compile(r"\b(GPU|MIG)-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")
_HOMES = re.compile(r"/(?:home|Users)/[^/\s\"':,;]+")


class Redactor:
    """Knows this user's secrets and names, and takes them out of texts."""

    def __init__(self, home: Path, key_files: Iterable[Path] = (), env: Mapping[str, str] | None = None) -> None:
        """`home` is where r1tui keeps its things; the content of `key_files` is secret."""
        env = os.environ if env is None else env
        found = {*_secrets_in(env), *_secret_files(key_files)}
        self._secrets = sorted((one for one in found if len(one) >= SHORTEST), key=len, reverse=True)
        homes = {path for path in (*_home_folders(env), env.get("R1TUI_HOME", ""), str(home)) if len(path) > 1}
        ours = {env.get("R1TUI_HOME", ""), str(home)}
        self._folders = [
            (one, "$R1TUI_HOME" if one in ours and env.get("R1TUI_HOME") else "~")
            for one in sorted((os.path.normpath(one) for one in homes), key=len, reverse=True)
            if one != "/"
        ]
        names = {name for name in _names(env) if len(name) >= SHORTEST - 1 and name.lower() not in _NOBODY}
        self._names = [
            (re.compile(rf"(?<![^\W_]){re.escape(name)}(?![^\W_])", re.IGNORECASE), f"<{what}>")
            for what, some in (("user", names), ("machine", _machine_names()))
            for name in sorted(some, key=len, reverse=True)
        ]

    def text(self, text: str) -> str:
        """The text without secrets, home folders, names of user and machine, and control sequences."""
        text = plain(text)
        for secret in self._secrets:
            text = text.replace(secret, OUT)
        for pattern, instead in _SECRETS:
            text = pattern.sub(instead, text)
        text = without_secrets(text)
        for folder, instead in self._folders:
            text = re.sub(rf"(?<![\w.~-]){re.escape(folder)}(?![^/\W])", instead, text)
        text = _GPU_ID.sub(r"\1-***", _HOMES.sub("~", text))
        for name, instead in self._names:
            text = name.sub(instead, text)
        return text

    def lines(self, lines: Iterable[str]) -> Iterator[str]:
        """Lines of a log, each no longer than a report needs."""
        for line in _PRIVATE_KEY.sub(OUT, "\n".join(lines)).split("\n"):
            clean = self._line(line)
            yield clean if len(clean) <= LONGEST_LINE else f"{clean[:LONGEST_LINE]}… ({len(clean)} characters)"

    def _line(self, line: str) -> str:
        if line.startswith("{"):
            with suppress(ValueError, RecursionError):
                return json.dumps(self.value(json.loads(line)), ensure_ascii=False)
        return self.text(line)

    def value(self, value: Any) -> Any:
        """A JSON value: every text in it, and all that stands under a secret's name or after a secret's flag."""
        match value:
            case str():
                return self.text(value)
            case dict():
                return {
                    self.text(str(key)): OUT if _is_secret_key(str(key), one) else self.value(one)
                    for key, one in value.items()
                }
            case list() | tuple():
                return [
                    OUT
                    if _hides_next(before) and isinstance(one, str) and not one.startswith("--")
                    else self.value(one)
                    for before, one in zip([None, *value], value, strict=False)
                ]
            case _:
                return value


def _is_secret_key(name: str, value: Any) -> bool:
    return isinstance(value, str | list) and bool(value) and _SECRET_KEY.match(name) is not None


def _hides_next(argument: object) -> bool:
    return isinstance(argument, str) and _SECRET_FLAG.match(argument) is not None


def _secrets_in(env: Mapping[str, str]) -> Iterator[str]:
    for name, value in env.items():
        if is_secret(name):
            yield from (value, value.strip(), value.strip("'\"“”‘’ \t\r\n"))
        for user, password in re.findall(r"://([^\s/@:]*)(?::([^\s/@]*))?@", value):
            yield from (password, unquote(password), f"{user}:{password}" if password else user)


def _secret_files(files: Iterable[Path]) -> Iterator[str]:
    for file in files:
        with suppress(OSError):
            yield from file.read_text(errors="replace")[:10_000].split()


def _home_folders(env: Mapping[str, str]) -> Iterator[str]:
    yield env.get("HOME", "")
    with suppress(RuntimeError, OSError):
        yield str(Path.home())
        yield str(Path.home().resolve())
    with suppress(KeyError):
        yield pwd.getpwuid(os.getuid()).pw_dir


def _names(env: Mapping[str, str]) -> Iterator[str]:
    yield from (env.get(name, "") for name in ("USER", "LOGNAME", "USERNAME", "SUDO_USER"))
    with suppress(OSError, KeyError):
        yield getpass.getuser()
    with suppress(KeyError):
        account = pwd.getpwuid(os.getuid())
        yield from (account.pw_name, account.pw_gecos.partition(",")[0])
    yield Path(env.get("HOME", "")).name


def _machine_names() -> set[str]:
    name = socket.gethostname()
    return {one for one in (name, name.partition(".")[0]) if len(one) >= SHORTEST and one.lower() not in _NOBODY}
