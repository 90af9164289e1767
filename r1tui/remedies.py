"""Remedies as data: what mends a failure. The command line says a remedy with its command, the screen with its key.

`command` and `action` (the id of a binding of the screen) follow from the kind; JSON has both.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from typing import Any, TypeAlias

import msgspec
from msgspec.structs import force_setattr


def snake(name: str) -> str:
    """The tag of a class, by its name."""
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name).lstrip("_")


class Remedy(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="kind", tag=snake):
    """Base of all remedies; immutable."""

    command: str = ""
    """The command for a shell; empty where no command does it."""
    action: str = ""
    """The id of the screen's action that does it; empty where none does."""

    def __post_init__(self) -> None:
        force_setattr(self, "command", self._command() or self.command)
        force_setattr(self, "action", self._action())

    def _command(self) -> str:
        return _KNOWN[type(self)][0] if type(self) in _KNOWN else ""

    def _action(self) -> str:
        return _KNOWN[type(self)][1] if type(self) in _KNOWN else ""

    def words(self) -> str:
        """The sentence that the command line says."""
        return _KNOWN[type(self)][2].format(self.command)


class Advice(Remedy, frozen=True):
    """A sentence that names no command and no key."""

    text: str

    def words(self) -> str:
        """The sentence itself."""
        return self.text


class Run(Remedy, frozen=True):
    """A command that no action of the screen stands for; `purpose` goes on after it: "`dmesg` says more"."""

    command: str
    purpose: str

    def words(self) -> str:
        """The command and its purpose."""
        return f"`{self.command}` {self.purpose}."


class AskAgain(Remedy, frozen=True):
    """Ask the same question again."""


class ContinueAnswer(Remedy, frozen=True):
    """Go on with an answer that has a beginning."""


class AskAnew(Remedy, frozen=True):
    """Ask an earlier question anew."""


class NewChat(Remedy, frozen=True):
    """Begin a new conversation."""


class StartServer(Remedy, frozen=True):
    """Start the server that ended."""


class StopServer(Remedy, frozen=True):
    """Stop the server that runs."""


class RestartServer(Remedy, frozen=True):
    """Stop the server that runs, and start it again; the screen does both at once for one that `hangs`."""

    hangs: bool = False


class ShowLog(Remedy, frozen=True):
    """Read the server's log."""


class ShowStatus(Remedy, frozen=True):
    """Look at what runs."""


class GiveUp(Remedy, frozen=True):
    """Stop waiting for what is being done."""


class ListModels(Remedy, frozen=True):
    """See which models there are."""


class ListConversations(Remedy, frozen=True):
    """See which conversations there are."""


class ChooseModel(Remedy, frozen=True):
    """Choose one of the models of a server of somebody else's."""


class CheckMachine(Remedy, frozen=True):
    """Have the machine, the driver and the engine checked."""


class BuildEngine(Remedy, frozen=True):
    """Build the engine; `options` are of the command."""

    options: str = ""

    def _command(self) -> str:
        return f"r1tui build {self.options}".strip()


class ShowPlan(Remedy, frozen=True):
    """See what goes where in memory."""

    variant: str = ""

    def _command(self) -> str:
        return shlex.join(filter(None, ("r1tui", "plan", self.variant)))


class FetchModel(Remedy, frozen=True):
    """Fetch a model, or with `verify` check all of it and fetch what is wrong."""

    variant: str = "VARIANT"
    verify: bool = False

    def _command(self) -> str:
        return f"r1tui download {shlex.quote(self.variant)}" + (" --verify" if self.verify else "")

    def _action(self) -> str:
        return "" if self.verify else "chat.variants"

    def words(self) -> str:
        """The command and its purpose."""
        return f"`{self.command}` {'checks it and downloads damaged files again' if self.verify else 'downloads it'}."


AnyRemedy: TypeAlias = (
    Advice
    | Run
    | AskAgain
    | ContinueAnswer
    | AskAnew
    | NewChat
    | StartServer
    | StopServer
    | RestartServer
    | ShowLog
    | ShowStatus
    | GiveUp
    | ListModels
    | ListConversations
    | ChooseModel
    | CheckMachine
    | BuildEngine
    | ShowPlan
    | FetchModel
)
Remedies: TypeAlias = tuple[AnyRemedy, ...]

_KNOWN: dict[type[Remedy], tuple[str, str, str]] = {
    AskAgain: ("", "chat.again", "Ask again."),
    ContinueAnswer: ("", "chat.continue", "Ask again."),
    AskAnew: ("", "chat.select", "Ask again."),
    NewChat: ("", "chat.new", "Start a new conversation."),
    StartServer: ("r1tui serve", "chat.start", "Start it again with `{}`."),
    StopServer: ("r1tui stop", "chat.stop_server", "`{}` stops it."),
    RestartServer: ("r1tui stop && r1tui serve", "chat.stop_server",
                    "Restart it with this r1tui: `r1tui stop`, then `r1tui serve`."),
    ShowLog: ("r1tui logs", "chat.log", "`{}` shows why."),
    ShowStatus: ("r1tui status", "chat.whole_panel", "`{}` shows the server."),
    GiveUp: ("", "chat.stop", "Ctrl+C cancels."),
    ListModels: ("r1tui variants", "chat.variants", "`{}` lists the models."),
    ListConversations: ("r1tui chats", "chat.conversations", "`{}` lists the conversations."),
    ChooseModel: ("", "chat.variants", "Choose one of the server's models: --model-name NAME."),
    CheckMachine: ("r1tui doctor", "", "`{}` checks the driver and the engine."),
    BuildEngine: ("r1tui build", "", "`{}` builds the engine."),
    ShowPlan: ("r1tui plan", "chat.variants", "`{}` shows the memory plan."),
}  # fmt: skip
"""By kind: the command, the id of the screen's action, and the command line's sentence with the command."""
_PLAIN: Remedies = tuple(kind() for kind in _KNOWN)  # type: ignore[misc]
"""Remedies whose sentence is always the same."""


def as_remedies(given: Iterable[str | AnyRemedy]) -> Remedies:
    """The remedies that these are; a text is advice, an empty one none."""
    return tuple(Advice(one) if isinstance(one, str) else one for one in given if one)


def in_commands(remedies: Iterable[Remedy]) -> str:
    """The sentences of all, as the command line says them."""
    return " ".join(remedy.words() for remedy in remedies)


def with_variant(remedies: Remedies, variant: str) -> Remedies:
    """The remedies with the variant that is to be fetched, where that is known."""
    return tuple(
        msgspec.structs.replace(one, variant=variant) if isinstance(one, FetchModel) and variant else one
        for one in remedies
    )


def read(text: str) -> Remedies:
    """The remedies of a text that `in_commands` has made: as saved with an answer, or by a version before."""
    found: list[AnyRemedy] = []
    left = text.strip()
    while left:
        start, length, known = min(
            ((left.find(one.words()), len(one.words()), one) for one in _PLAIN if one.words() in left),
            default=(len(left), 0, None),
            key=lambda place: place[0],
        )
        found += as_remedies([left[:start].strip()])
        found += [known] if known is not None else []
        left = left[start + length :].strip()
    return tuple(found)


def settle(struct: Any) -> None:
    """Give a struct both `remedy` and `remedies` where it has one, as its `__post_init__`.

    What a version before has written has the text alone.
    """
    if struct.remedies:
        force_setattr(struct, "remedy", in_commands(struct.remedies))
    elif struct.remedy:
        force_setattr(struct, "remedies", read(struct.remedy))
