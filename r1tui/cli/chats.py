"""`r1tui chats`: what the screen does with conversations, without the screen."""

import sys
from time import time
from typing import Any

import click

from r1tui.chat.export import as_markdown, as_object, iso_date, write_file, written_as
from r1tui.chat.listing import MARKS, ConversationSummary, without_marks
from r1tui.chat.store import Store
from r1tui.cli.context import WORDS, Context, json_option, pass_context, print_json, print_result, print_text, say
from r1tui.errors import R1tuiError, UsageError
from r1tui.remedies import Run
from r1tui.system.paths import expand
from r1tui.text import day, one_line, plain, shortened

MOST = 50
MOST_LISTED = 1_000_000_000
ID_CHARS = 16
"""So much of an id is enough to tell conversations apart."""


@click.group(invoke_without_command=True)
@pass_context
def chats(context: Context) -> None:
    """List, search, show, export, rename and delete the conversations of the screen.

    ID may be the first characters of an ID if they are unique, or `last`.
    """
    current = click.get_current_context()
    if current.invoked_subcommand is None:
        current.invoke(list_chats, limit=MOST, deleted=False, as_json=False)


@chats.command("list")
@click.option(
    "--limit",
    type=click.IntRange(-1, MOST_LISTED),
    default=MOST,
    show_default=True,
    help="List at most this many; -1: all.",
)
@click.option("--deleted", is_flag=True, help="List deleted conversations; they can be restored.")
@json_option
@pass_context
def list_chats(context: Context, *, limit: int, deleted: bool, as_json: bool) -> None:
    """List the conversations, the newest first."""
    with _store(context) as store:
        _print(store.newest(limit, deleted=deleted), as_json=as_json)


@chats.command()
@click.argument("text", type=WORDS, nargs=-1, required=True)
@click.option(
    "--limit", type=click.IntRange(-1, MOST_LISTED), default=MOST, show_default=True, help="List at most this many."
)
@json_option
@pass_context
def search(context: Context, text: tuple[str, ...], *, limit: int, as_json: bool) -> None:
    """List the conversations with all words of TEXT in their title or in one exchange."""
    with _store(context) as store:
        _print(store.search(" ".join(text), limit), as_json=as_json)


@chats.command()
@click.argument("conversation", type=WORDS, metavar="ID")
@click.option("--thinking", is_flag=True, help="Include the thinking.")
@json_option
@pass_context
def show(context: Context, conversation: str, *, thinking: bool, as_json: bool) -> None:
    """Print the conversation ID as Markdown."""
    with _store(context) as store:
        loaded = store.look(_id(store, conversation))
    if as_json:
        print_json(as_object(loaded))
    else:
        print_text(as_markdown(loaded.conversation, thinking=thinking), nl=False)


@chats.command()
@click.argument("conversation", type=WORDS, metavar="ID")
@click.option("--format", "kind", type=click.Choice(["markdown", "json"]), default="markdown", show_default=True)
@click.option("--output", metavar="FILE", help="Write to FILE instead of stdout.")
@click.option("--thinking", is_flag=True, help="Include the thinking; JSON always does.")
@click.option("--force", is_flag=True, help="Replace FILE if it exists.")
@json_option
@pass_context
def export(
    context: Context, conversation: str, *, kind: str, output: str | None, thinking: bool, force: bool, as_json: bool
) -> None:
    """Write the conversation ID as Markdown (the shown branch) or JSON (everything)."""
    with _store(context) as store:
        loaded = store.look(_id(store, conversation))
    text = written_as(loaded, kind, thinking=thinking)
    if output is None:
        print_text(text, nl=False)
        return
    path = expand(output)
    if not write_file(path, text, replace=force):
        raise R1tuiError(f"{path} already exists.", "Choose another file, or add --force.")
    print_result({"id": loaded.conversation.id, "file": str(path)}, f"Written to {path}.", as_json=as_json)


@chats.command()
@click.argument("conversation", type=WORDS, metavar="ID")
@click.argument("title", type=WORDS)
@json_option
@pass_context
def rename(context: Context, conversation: str, title: str, *, as_json: bool) -> None:
    """Rename the conversation ID to TITLE; an empty TITLE removes the title."""
    title = one_line(title)
    with _store(context) as store:
        found = _id(store, conversation)
        store.rename(found, title)
    print_result({"id": found, "title": title}, f"Renamed to {title}." if title else "Title removed.", as_json=as_json)


@chats.command()
@click.argument("conversation", type=WORDS, metavar="ID")
@json_option
@pass_context
def delete(context: Context, conversation: str, *, as_json: bool) -> None:
    """Delete the conversation ID; `r1tui chats restore` restores it for 30 days."""
    with _store(context) as store:
        found = _id(store, conversation)
        store.delete(found)
    print_result({"id": found}, f"Deleted. `r1tui chats restore {found}` restores it.", as_json=as_json)


@chats.command()
@click.argument("conversation", type=WORDS, metavar="[ID]", required=False)
@json_option
@pass_context
def restore(context: Context, conversation: str | None, *, as_json: bool) -> None:
    """Restore the conversation ID, or the last deleted one."""
    with _store(context) as store:
        found = store.restore(_id(store, conversation, deleted=True) if conversation is not None else None)
    print_result({"id": found}, f"Restored {found}.", as_json=as_json)


def _store(context: Context) -> Store:
    def purged(conversations: list[str]) -> None:
        from r1tui.server.prompt_cache import PromptCacheFolder  # noqa: PLC0415  for the few times that something is

        PromptCacheFolder(context.paths.kept_prompts).drop_of(conversations)

    return Store(context.paths.conversations, tell=lambda error: say(str(error), err=True), purged=purged)


def _id(store: Store, given: str, *, deleted: bool = False) -> str:
    """The id that is meant. Raises UsageError."""
    ids = [one.id for one in store.newest(deleted=deleted)]
    if given == "last" and ids:
        return ids[0]
    found = [one for one in ids if one == given] or [one for one in ids if one.startswith(given)]
    if len(found) != 1:
        many = "Several conversations start with" if found else "There is no conversation"
        raise UsageError(f"{many} {given}.", Run(f"r1tui chats list{' --deleted' if deleted else ''}", "lists them"))
    return found[0]


def _print(found: list[ConversationSummary], *, as_json: bool) -> None:
    if as_json:
        print_json({"conversations": [_listed(one) for one in found]})
        return
    if not found:
        say("No conversations.", err=True)
    for one in found:
        state = f"  (open in PID {one.open_in})" if one.open_in is not None else ""
        when, name = day(one.updated_s, time()), shortened(one.name, 60)
        say(f"{one.id[:ID_CHARS]:<{ID_CHARS}}  {when:<11}  {one.exchanges:>3}  {name}{state}")
        if one.passage:
            before, after = ("\x1b[1m", "\x1b[0m") if sys.stdout.isatty() else ("", "")
            passage = plain(one.passage).replace(MARKS[0], before).replace(MARKS[1], after)
            click.echo(f"{'':<{ID_CHARS}}  {passage}")


def _listed(one: ConversationSummary) -> dict[str, Any]:
    passage = without_marks(one.passage) or None
    return {
        "id": one.id,
        "title": one.name,
        "created": iso_date(one.created_s),
        "updated": iso_date(one.updated_s),
        "deleted": iso_date(one.deleted_s) if one.deleted_s is not None else None,
        "exchanges": one.exchanges,
        "open_in": one.open_in,
        "passage": passage,
    }
