"""`r1tui chat`: one answer on stdout, its thinking on stderr."""

import asyncio
import locale
import os
import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass

import click
import msgspec

from r1tui import events
from r1tui.chat.typed import defuse
from r1tui.cli.context import (
    WORDS,
    Context,
    is_terminal,
    json_option,
    model_name_option,
    pass_context,
    print_json,
    print_json_line,
    say,
)
from r1tui.cli.stages import Printer, check_ready, join, show
from r1tui.cli.target import attached_endpoint, check_same_model, needed_variant, wanted_variant
from r1tui.errors import R1tuiError, UsageError
from r1tui.launch.stages import Launch
from r1tui.planning.history import remember_answer
from r1tui.remedies import Run
from r1tui.server.client import ChatRequest, Message, ServerClient
from r1tui.server.endpoint import Endpoint
from r1tui.server.sampling import for_question
from r1tui.supervisor import client as supervisor
from r1tui.supervisor.key import address_of
from r1tui.supervisor.protocol import is_asked_by_others, new_conversation_id
from r1tui.system.environment import KEY_VARIABLE
from r1tui.system.own_process import run_async
from r1tui.system.processes import identify
from r1tui.text import percent, plain


@click.command()
@click.argument("prompt", type=WORDS, required=False)
@click.option(
    "--variant", type=WORDS, metavar="V", help="The variant to ask; default: the running one, else the config's."
)
@click.option("--model", metavar="FILE", help="A GGUF file instead of a variant.")
@click.option(
    "--attach", type=WORDS, metavar="URL", help="Ask the server at http://HOST:PORT or unix:/path/x.sock instead."
)
@model_name_option
@json_option
@pass_context
def chat(
    context: Context,
    prompt: str | None,
    *,
    variant: str | None,
    model: str | None,
    attach: str | None,
    model_name: str | None,
    as_json: bool,
) -> None:
    """Ask one question; without PROMPT, or with `-`, it is read from stdin.

    The running server answers if it has that model. If none is running, one is started, and stopped afterwards.
    """
    if attach and (variant or model):
        raise UsageError("--attach was given together with a model.", "The running server already has its model.")
    endpoint = attached_endpoint(attach, model_name)
    text = _read_prompt(prompt)
    show_answer = _ShowJson() if as_json else _ShowText()
    run_async(_chat(context, text, _Wanted(variant, model, endpoint, model_name or ""), show_answer))


@dataclass(frozen=True)
class _Wanted:
    variant: str | None
    model: str | None
    endpoint: Endpoint | None
    model_name: str
    """One of the endpoint's models."""


def _read_prompt(prompt: str | None) -> str:
    if prompt is None or prompt == "-":
        if sys.stdin is None or is_terminal(sys.stdin):
            raise UsageError("No question was given.", Run('r1tui chat "…"', "asks one"), "Or pipe it in.")
        raw = sys.stdin.buffer.read()
        try:
            prompt = raw.decode()
        except UnicodeDecodeError:
            prompt = raw.decode(locale.getpreferredencoding(do_setlocale=False), "replace")
    if not prompt.strip():
        raise UsageError("The question is empty.", Run('r1tui chat "…"', "asks one"))
    return prompt


async def _chat(context: Context, prompt: str, wanted: _Wanted, output: "_ShowText | _ShowJson") -> None:
    harmless, found = defuse(prompt)
    if found:
        say(f"Control tokens in the question sent as plain text: {' '.join(found)}", err=True)
    async with _server(context, wanted) as (endpoint, key, kept):
        conversation_id = new_conversation_id()
        async with ServerClient(endpoint, key, ours=wanted.endpoint is None, model=wanted.model_name) as client:
            await client.need_model()
            variant = None if wanted.endpoint is not None else supervisor.status(context.paths).variant
            sampling = for_question(context.config.sampling, context.config, variant)
            request = ChatRequest([Message("user", harmless)], sampling)
            if kept:
                await _tell_supervisor(context, conversation_id, running=True)
            whole = False
            try:
                async with aclosing(_events(client, request, conversation_id, live=output.is_live)) as stream:
                    async for event in stream:
                        output(event)
                        if isinstance(event, events.Failed):
                            raise R1tuiError(event.cause, *event.remedies)
                        if isinstance(event, events.Finished) and kept:
                            remember_answer(context.paths, supervisor.status(context.paths), event)
                whole = True
            finally:
                output.end()
                if not whole:
                    with suppress(R1tuiError):
                        await client.stop_answer(conversation_id)
                if kept:
                    await _tell_supervisor(context, conversation_id, running=False)


async def _events(
    client: ServerClient, request: ChatRequest, conversation_id: str, *, live: bool
) -> AsyncGenerator[events.StreamEvent, None]:
    """The answer's events. Not `live`, content that may turn out to be thinking is held back until that is known."""
    held: list[events.StreamEvent] = []
    async with aclosing(client.stream_chat(request, conversation_id)) as stream:
        async for event in stream:
            if isinstance(event, events.ContentWasThinking) and not live:
                held = [events.Reasoning(one.text) if isinstance(one, events.Content) else one for one in held]
            elif not isinstance(event, events.Begun):
                held.append(event)
            is_end = isinstance(event, events.Reasoning | events.ContentWasThinking | events.Finished | events.Failed)
            live = live or is_end or client.knows_prompt(request.sampling)
            if live:
                for one in held:
                    yield one
                held.clear()


@asynccontextmanager
async def _server(context: Context, wanted: _Wanted) -> AsyncGenerator[tuple[Endpoint, str | None, bool], None]:
    """The endpoint, its key, and True with a supervisor; a server started for this is stopped again."""
    if wanted.endpoint is not None:
        yield wanted.endpoint, os.environ.get(KEY_VARIABLE), False
        return
    now = supervisor.adopt(context.paths)
    if now.running:
        is_named = wanted.variant is not None or wanted.model is not None
        variant = wanted_variant(context, wanted.variant, wanted.model) if is_named else None
        check_same_model(now, variant, context)
        now = await join(context, now)
        check_ready(now)
        yield *address_of(now, context.paths), True
        return
    variant = needed_variant(context, wanted.variant, wanted.model)
    owner = identify(os.getpid())
    launch = Launch(variant, context.config, context.paths, config_file=context.config_file, owner=owner)
    try:
        await show(launch.run(), Printer())
        assert launch.status is not None  # noqa: S101  show() raised otherwise
        check_ready(launch.status)
        yield *address_of(launch.status, context.paths), True
    finally:
        if launch.started and not is_asked_by_others(supervisor.status(context.paths).answers, os.getpid()):
            await asyncio.to_thread(supervisor.stop, context.paths)
        elif launch.started:
            say("The server stops when another client's answer has finished.", err=True)


async def _tell_supervisor(context: Context, conversation_id: str, *, running: bool) -> None:
    """Tell the supervisor of the answer; only a stop in the middle of it would miss that."""
    tell = supervisor.answer_started if running else supervisor.answer_ended
    try:
        await asyncio.to_thread(tell, context.paths, conversation_id)
    except R1tuiError as error:
        say(f"{error.cause} {error.remedy}", err=True)


class _ShowText:
    """The answer on stdout, the thinking on stderr; on a terminal without control sequences."""

    def __init__(self) -> None:
        self._last = {False: "\n", True: "\n"}
        self._safe = {False: is_terminal(sys.stdout), True: is_terminal(sys.stderr)}
        self._progress_shown = False
        self._has_text = False
        self.is_live = self._safe[False]
        """True where somebody watches the answer come, so that nothing is held back."""

    def __call__(self, event: events.StreamEvent) -> None:
        match event:
            case events.ContentWasThinking():
                self.end()
                self._write("(The text above was the model's thinking.)\n\n", err=True)
                self._has_text = False
            case events.PromptProgress(total, _, processed) if self._safe[True] and total:
                click.echo(f"\r\x1b[Kreading the question: {percent(processed / total)}", nl=False, err=True)
                self._progress_shown = True
            case events.Reasoning(text):
                self._write(text, err=True)
            case events.Content(text):
                if self._last[False] == "\n" and self._last[True] != "\n":
                    self._write("\n", err=True)
                self._write(text, err=False)
            case events.Finished():
                self.end()
                if event.finish_reason == "length":
                    say("Cut off at the token limit (sampling.max_tokens), or because the context is full.", err=True)
                elif not self._has_text:
                    say("The answer has no text.", err=True)
                self._show_figures(event)
            case _:
                pass

    def _show_figures(self, event: events.Finished) -> None:
        if self._safe[True]:
            thought = f" ({event.reasoning_tokens} of them thinking)" if event.reasoning_tokens else ""
            answer = f"{_figure(event.completion_tokens)} tokens{thought} at {_figure(events.telling_tps(event))}/s"
            prompt = f"prompt {_figure(event.prompt_tokens)} at {_figure(event.prompt_tps)}/s"
            click.secho(f"{answer}, {prompt}", err=True, dim=True)

    def end(self) -> None:
        """Leave both streams at the beginning of a line."""
        for err in (True, False):
            if self._last[err] != "\n":
                self._write("\n", err=err)

    def _write(self, text: str, *, err: bool) -> None:
        if self._progress_shown:
            click.echo("\r\x1b[K", nl=False, err=True)
            self._progress_shown = False
        shown = plain(text) if self._safe[err] else text
        if not shown:
            return
        if err and self._safe[True]:
            click.secho(shown, nl=False, err=True, dim=True)
        else:
            click.echo(shown, nl=False, err=err)
        self._last[err] = shown[-1]
        self._has_text = self._has_text or not err


class _ShowJson:
    """Every event as a JSON line; the last line is the statistics."""

    is_live = False

    def __call__(self, event: events.StreamEvent) -> None:
        if isinstance(event, events.Finished):
            print_json({key: value for key, value in msgspec.structs.asdict(event).items() if key != "waited_ms"})
        else:
            print_json_line(events.encode_event(event))

    def end(self) -> None:
        """Nothing is left open."""


def _figure(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.1f}" if isinstance(value, float) else str(value)
