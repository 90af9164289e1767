"""The common part of all commands: the folders, the settings, options, and printing."""

import json
import sys
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import click

from r1tui.errors import R1tuiError
from r1tui.system.paths import Paths, expand
from r1tui.text import plain, safe_json

if TYPE_CHECKING:
    from r1tui.config import Config

    _Type = click.ParamType[str]
else:
    _Type = click.ParamType  # no generic before click 8.3


@dataclass
class Context:
    """The command line's own options."""

    config_file: str | None = None

    def __post_init__(self) -> None:
        """Raises ConfigError for a file that is not there, also for commands that read no config."""
        if self.config_file is not None and not expand(self.config_file).exists():
            _ = self.config

    @cached_property
    def paths(self) -> Paths:
        return Paths.from_environment()

    def begin_log(self, who: str) -> None:
        """Have this command log to r1tui's own log; without a home folder there is none."""
        from r1tui.system.logs import begin_log  # noqa: PLC0415  logging, queue: not for --help

        with suppress(R1tuiError):
            begin_log(self.paths, who)

    @cached_property
    def config(self) -> "Config":
        """The settings; raises ConfigError."""
        from r1tui.config import load_config  # noqa: PLC0415  `status` and `stop` work with a broken config too

        if self.config_file is not None:
            return load_config(Path(self.config_file), required=True)
        return load_config(self.paths.config_file)


class _Words(_Type):
    """Text of any kind; bytes of it that are no UTF-8 become U+FFFD, since nothing else could be done with them."""

    name = "text"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        return value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


WORDS = _Words()
"""The type of arguments that are no paths."""
pass_context = click.make_pass_decorator(Context)
json_option = click.option("--json", "as_json", is_flag=True, help="Print only JSON on stdout.")
model_name_option = click.option(
    "--model-name",
    type=WORDS,
    metavar="NAME",
    help="A model of the server at --attach; default: its only one.",
)


def is_terminal(stream: TextIO | None) -> bool:
    """True where somebody reads or types; a stream that was closed is None."""
    return stream is not None and not stream.closed and stream.isatty()


def print_json(value: object) -> None:
    """One JSON object on one line of stdout."""
    print_json_line(safe_json(json.dumps(value, ensure_ascii=False)))


def print_json_line(line: str) -> None:
    """JSON on a line of stdout, which is UTF-8 whatever encoding the terminal has."""
    click.echo(line.encode())


def format_table(rows: Sequence[Sequence[str]], right: Collection[int] = ()) -> list[str]:
    """The lines of a table; the columns `right` are aligned there."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    align = [">" if n in right else "<" for n in range(len(widths))]
    cells = ([f"{cell:{side}{width}}" for cell, side, width in zip(row, align, widths, strict=True)] for row in rows)
    return ["  ".join(line).rstrip() for line in cells]


def say(*lines: str, err: bool = False) -> None:
    """Lines for a person, as a terminal may have them."""
    for line in lines:
        click.echo(plain(line), err=err)


def print_result(value: object, *lines: str, as_json: bool) -> None:
    """Print a command's result: as JSON, or in lines for a person."""
    if as_json:
        print_json(value)
    else:
        say(*lines)


def print_text(text: str, *, nl: bool = True) -> None:
    """Text on stdout: as a terminal may have it where that is one, else as it is."""
    click.echo(plain(text) if is_terminal(sys.stdout) else text, nl=nl)
