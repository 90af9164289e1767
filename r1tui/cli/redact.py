"""Takes out of a text what a bug report must not tell: secrets, who the user is, and what was said in a chat."""

import json
import os
import pwd
import re
import socket
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import groupby
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from r1tui.system.environment import is_secret
from r1tui.system.logs import SECRETS
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
    *SECRETS,
)  # fmt: skip
_ABOUT_USER = (
    (re.compile(r"\b(GPU|MIG)-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b"), rf"\1-{OUT}"),
    (re.compile(r"/(?:home|Users)/[^/\s\"':,;]+"), "~"),
)
_PREFIX = re.compile(r"^\d+\.\d+\.\d+\.\d+ ([A-Z]) ")
_FIGURES = re.compile(r"^[\t ]+[a-z_]+ = [-\d.]+(?:, [a-z_]+ = [-\d.]+)*,?$")
_CRASH = re.compile(
    r"^(?:/?[\w./+-]+\.(?:c|cc|cpp|cu|cuh|h|hpp|m):\d+: |GGML_ASSERT|ggml_\w+: |CUDA error|ROCm error|terminate called|"
    r"  what\(\):|#\d+ |\[New LWP|\[Thread debugging|Aborted|Segmentation fault|Killed|Bus error|Illegal instruction|"
    r"[\w./-]*llama-server: |  (?:current device|in function|err|device)|load_backend: |ggml_cuda_init|  Device \d+: )"
)
_TEXTS = re.compile(
    r"(?i)last read|\b(?:old|new): \.\.\. |unparsed|next token|parsed message|\brequest: |response: |anthropic string|"
    r"\bprompt(?: = |: )['\"{\[]|\"(?:content|messages|prompt|reasoning_content|arguments|text|input)\"|grammar|"
    r"example_format|tool call|generated text|\btext: |stop(?:ping)? (?:word|string)|user_msg|\bdata: "
)


class Redactor:
    """Knows this user's secrets and names, and takes them out of texts."""

    def __init__(self, home: Path, key_files: Iterable[Path] = (), env: Mapping[str, str] | None = None) -> None:
        """`home` is where r1tui keeps its things; the content of `key_files` is secret."""
        env = os.environ if env is None else env
        users, homes = _user(env)
        ours = env.get("R1TUI_HOME", "")
        folders = dict.fromkeys(
            (one for path in homes for one in (os.path.normpath(path), os.path.realpath(path)) if path), "~"
        )
        folders |= dict.fromkeys((os.path.normpath(one) for one in (ours, home) if one), "$R1TUI_HOME" if ours else "~")
        machine = socket.gethostname()
        names = dict.fromkeys((one for one in users if len(one) >= SHORTEST - 1), "<user>")
        names |= dict.fromkeys(
            (one for one in (machine, machine.partition(".")[0]) if len(one) >= SHORTEST), "<machine>"
        )
        secrets = {one for one in (*_secrets_in(env), *_words_of(key_files)) if len(one) >= SHORTEST}
        self._replaced = [
            *((re.compile(re.escape(one)), OUT) for one in sorted(secrets, key=len, reverse=True)),
            *_SECRETS,
            *(
                (re.compile(rf"(?<![\w.~-]){re.escape(one)}(?![^/\W])"), folders[one])
                for one in sorted(folders, key=len, reverse=True)
                if one != "/"
            ),
            *_ABOUT_USER,
            *(
                (re.compile(rf"(?<![^\W_]){re.escape(one)}(?![^\W_])", re.IGNORECASE), names[one])
                for one in sorted(names, key=len, reverse=True)
                if one.lower() not in _NOBODY
            ),
        ]

    def text(self, text: str) -> str:
        """The text without secrets, home folders, names of user and machine, and control sequences."""
        text = plain(text)
        for pattern, instead in self._replaced:
            text = pattern.sub(instead, text)
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
                return {self.text(str(key)): self._named(str(key), one) for key, one in value.items()}
            case list() | tuple():
                return [self._after(before, one) for before, one in zip([None, *value], value, strict=False)]
            case _:
                return value

    def _named(self, name: str, value: Any) -> Any:
        is_hidden = isinstance(value, str | list) and value and _SECRET_KEY.match(name)
        return OUT if is_hidden else self.value(value)

    def _after(self, before: object, value: Any) -> Any:
        is_hidden = isinstance(before, str) and isinstance(value, str) and _SECRET_FLAG.match(before)
        return OUT if is_hidden and not value.startswith("--") else self.value(value)


def _secrets_in(env: Mapping[str, str]) -> Iterator[str]:
    for name, value in env.items():
        if is_secret(name):
            yield from (value, value.strip(), value.strip("'\"“”‘’ \t\r\n"))
        for user, password in re.findall(r"://([^\s/@:]*)(?::([^\s/@]*))?@", value):
            yield from (password, unquote(password), f"{user}:{password}" if password else user)


def _words_of(files: Iterable[Path]) -> Iterator[str]:
    for file in files:
        with suppress(OSError):
            yield from file.read_text(errors="replace")[:10_000].split()


def _user(env: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """The names and the home folders that this user has."""
    home = env.get("HOME", "")
    names = [env.get(name, "") for name in ("USER", "LOGNAME", "LNAME", "USERNAME", "SUDO_USER")] + [Path(home).name]
    with suppress(KeyError):
        account = pwd.getpwuid(os.getuid())
        return [*names, account.pw_name, account.pw_gecos.partition(",")[0]], [home, account.pw_dir]
    return names, [home]


def without_chat(lines: Iterable[str]) -> Iterator[str]:
    """llama-server's lines that tell of the server and not of the chat; a line in brackets counts those left out.

    Kept is only what is known to hold nothing of it. At r1tui's own verbosity (4) a text gets into the log where a
    request cannot be read, a grammar or an answer cannot be parsed, or two prompts are compared; above it, in most
    lines (b11434, tools/server and common).
    """
    for line, some in groupby(map(_kept, lines)):
        number = len(list(some))
        if line is None:
            yield f"[{number} line{'' if number == 1 else 's'} left out: may hold chat text]"
        else:
            yield from [line] * number


def _kept(line: str) -> str | None:
    """The line, or as much of it as can be kept; None for nothing."""
    found = _PREFIX.match(line)
    if found is None:
        known = not line.strip() or _FIGURES.match(line) or _CRASH.match(line)
        return line if known and not _TEXTS.search(line) else None
    if found[1] == "D":
        return None
    if "got exception: " in line:
        head, _, said = line.partition("got exception: ")
        code, kind = re.search(r'"code":(\d+)', said), re.search(r'"type":"(\w+)"', said)
        kind_only = " ".join(one[1] for one in (code, kind) if one)
        return f"{head}got exception: {kind_only or '(text left out)'}"
    return None if _TEXTS.search(line) else line
