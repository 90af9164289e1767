"""What a server's errors mean, and what mends them: of our own llama-server, and of somebody else's."""

from dataclasses import dataclass

from r1tui.errors import R1tuiError
from r1tui.remedies import (
    Advice,
    AnyRemedy,
    AskAgain,
    ChooseModel,
    NewChat,
    Remedies,
    ShowLog,
    ShowStatus,
    StartServer,
)
from r1tui.server import wire
from r1tui.server.wire import ServerError
from r1tui.text import duration

FOREIGN_LOG = Advice("Its own log may say more; --attach must name the server's address.")


@dataclass(frozen=True)
class Whose:
    """Whose server it is: the words for its remedies. r1tui's own commands say nothing about another's."""

    name: str = "llama-server"
    is_ours: bool = True

    @property
    def subject(self) -> str:
        return f"The {self.name}" if self.name == "server" else self.name

    @property
    def log(self) -> AnyRemedy:
        """The remedy that leads to more about a failure."""
        return ShowLog() if self.is_ours else FOREIGN_LOG

    @property
    def after_break(self) -> AnyRemedy:
        """The remedy after an answer that broke off."""
        return ShowLog() if self.is_ours else AskAgain()

    @property
    def look(self) -> Remedies:
        """The remedies that find out whether a server is there."""
        if self.is_ours:
            return ShowStatus(), Advice("Or check the address.")
        return (Advice("Check that the server runs, and its address."),)


OURS = Whose()
FOREIGN = Whose("server", is_ours=False)
FOREIGN_SOCKET = Whose(is_ours=False)
"""On a Unix socket nothing but a llama-server listens."""


def server_stopped() -> R1tuiError:
    """The error of an answer whose server was stopped in order."""
    return R1tuiError("The server was stopped.", StartServer(), AskAgain())


def explain(error: ServerError, whose: Whose = OURS) -> R1tuiError:
    """Cause and remedies of an error that a server reports."""
    match error.type:
        case wire.TOO_LONG_ERROR if error.n_prompt_tokens and error.n_ctx:
            ours = "Or set a larger plan.ctx_size and start the server again."
            return R1tuiError(
                f"The conversation has {error.n_prompt_tokens} tokens and the context holds {error.n_ctx}.",
                NewChat(),
                ours if whose.is_ours else "Or give the server a larger context.",
            )
        case "authentication_error":
            return R1tuiError("The server does not accept this key.", "Set LLAMA_API_KEY to the server's key.")
        case "unavailable_error" if whose.is_ours:
            return R1tuiError("The model is still loading.", "Wait until it is loaded.", ShowStatus())
        case wire.SERVER_STOPPED_ERROR:
            return server_stopped()
        case wire.ENDED_ERROR:
            return R1tuiError("llama-server ended in the middle of the answer.", ShowLog(), AskAgain())
        case wire.LOST_ERROR:
            return R1tuiError("Part of the answer was lost while no supervisor recorded it.", AskAgain())
        case wire.UNRECORDED_ERROR:
            return R1tuiError(
                "The rest of the answer could not be recorded, by an error in r1tui.", "Its log says why.", AskAgain()
            )
        case _:
            return _refused(error, whose)


def _refused(error: ServerError, whose: Whose) -> R1tuiError:
    status = f" ({error.status})" if error.status else ""
    said = error.message or error.type
    words = f": {said.rstrip('.')}." if said else " and says no reason."
    cause = f"The server refused{status}{words}"
    if error.status in (401, 403):
        return R1tuiError(cause, "Set LLAMA_API_KEY to the server's key.")
    if not whose.is_ours and error.status == 503 and "load" in said.lower():
        return R1tuiError(cause, "Wait until its model is loaded.", AskAgain())
    if not whose.is_ours and error.status in (429, 503):
        return R1tuiError(cause, f"Wait {duration(error.wait_s) if error.wait_s else 'a little'}.", AskAgain())
    if not whose.is_ours and error.status in (400, 404, 422) and "model" in said.lower():
        return R1tuiError(cause, ChooseModel())
    return R1tuiError(cause, whose.log)
