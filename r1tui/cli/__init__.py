"""The command line. A command's module is imported when it runs, so that `r1tui status` stays quick."""

import io
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from types import FrameType
from typing import NoReturn

import click

from r1tui import __version__
from r1tui.cli.context import WORDS, Context, model_name_option, say
from r1tui.errors import CancelledError, R1tuiError, unwritable
from r1tui.system.files import keep_others_out, take_damages
from r1tui.system.own_process import end_process, forgive_streams
from r1tui.text import plain

_COMMANDS = {
    "demo": ("r1tui.cli.screen", "Open the screen with a small model: build, download, chat."),
    "build": ("r1tui.cli.build", "Build llama.cpp's llama-server."),
    "variants": ("r1tui.cli.models", "List the models: size, what is on disk, what fits this machine."),
    "download": ("r1tui.cli.models", "Download and verify a model."),
    "delete": ("r1tui.cli.models", "Delete a model that r1tui downloaded."),
    "inspect": ("r1tui.cli.models", "Show the header of a GGUF file."),
    "plan": ("r1tui.cli.plan", "Show how a model would run on this machine, and why."),
    "serve": ("r1tui.cli.serve", "Start a variant's server and keep it running."),
    "chat": ("r1tui.cli.chat", "Ask one question; the answer goes to stdout."),
    "chats": ("r1tui.cli.chats", "List, search, show, export and delete conversations."),
    "status": ("r1tui.cli.running", "Show the running server."),
    "stop": ("r1tui.cli.running", "Stop the running server."),
    "logs": ("r1tui.cli.running", "Show the server's log."),
    "doctor": ("r1tui.cli.doctor", "Check this machine and show how to fix problems."),
}


class _LazyGroup(click.Group):
    """A group that knows its commands' names and help without importing them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command = getattr(import_module(_COMMANDS[cmd_name][0]), cmd_name)
        assert isinstance(command, click.Command)  # noqa: S101  the table above names commands
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in _COMMANDS.items()])


@click.group(
    cls=_LazyGroup,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option("--config", "config_file", metavar="FILE", help="Use this config file.")
@click.option(
    "--variant", type=WORDS, metavar="NAME", help="The model to start; default: the running one, else the config's."
)
@click.option(
    "--attach", type=WORDS, metavar="URL", help="Use a running llama-server: http://HOST:PORT or unix:/path/x.sock."
)
@model_name_option
@click.option("--no-mouse", is_flag=True, help="Leave the mouse to the terminal.")
@click.version_option(__version__, message="r1tui %(version)s")
@click.pass_context
def cli(
    context: click.Context,
    *,
    config_file: str | None,
    variant: str | None,
    attach: str | None,
    model_name: str | None,
    no_mouse: bool,
) -> None:
    """Run DeepSeek-R1 on your own GPU box: build the engine, download the model, plan the memory, serve, chat.

    Without a command, r1tui opens its screen.
    """
    context.obj = Context(config_file)
    context.obj.begin_log(context.invoked_subcommand or "screen")
    if context.invoked_subcommand is None:
        from r1tui.cli.screen import run_screen  # noqa: PLC0415

        run_screen(context.obj, variant, attach, model_name, mouse=not no_mouse)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run a command and exit: 0 done, 1 failed, 2 usage or config, 130 interrupted."""
    keep_others_out()
    forgive_streams()
    signal.signal(signal.SIGTERM, _interrupt)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, _interrupt)
    status = run(arguments)
    end_process(status)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def run(arguments: Sequence[str] | None) -> int:
    """The exit status of a command, which has run in this process."""
    try:
        result = cli.main(arguments, prog_name="r1tui", standalone_mode=False)
        if sys.stdout is not None:
            sys.stdout.flush()  # a full disk is noticed here, not when Python ends
    except click.ClickException as error:
        said = io.StringIO()
        error.show(said)
        click.echo(plain(said.getvalue()), err=True, nl=False)
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return CancelledError.exit_status
    except R1tuiError as error:
        return _print_error(error)
    except UnicodeEncodeError as error:  # what is printed never is the reason: a file's name
        return _print_error(unwritable(error))
    except Exception as error:
        if isinstance(error, OSError):
            _drop_output()
        return 1 if isinstance(error, BrokenPipeError) else _print_error(_log_error(error, arguments))
    finally:
        with suppress(OSError, ValueError):
            say(*(damage.notice() for damage in take_damages()), err=True)
    return result if isinstance(result, int) else 0


def _print_error(error: R1tuiError) -> int:
    with suppress(OSError, ValueError):  # stderr was closed, or its disk is full
        say(*filter(None, (error.cause and f"Error: {error.cause}", error.remedy)), err=True)
    return error.exit_status


def _log_error(error: Exception, arguments: Sequence[str] | None) -> R1tuiError:
    from r1tui.system.logs import as_user_error, log_file  # noqa: PLC0415  logging: not for --help

    if os.environ.get("R1TUI_DEBUG"):
        traceback.print_exception(error)
    words = sys.argv[1:] if arguments is None else arguments
    name = next((one for one in words if one in _COMMANDS), "")
    if log_file() is None:
        Context().begin_log(name or "r1tui")
    return as_user_error(error, f"r1tui {name}".strip())


def _drop_output() -> None:
    """Forget what cannot be written; else Python complains once more when it ends."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except (OSError, ValueError):
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
