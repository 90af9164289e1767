"""What a server's errors mean, and what mends them: of our own llama-server, and of somebody else's."""

from dataclasses import dataclass

from r1tui.server import wire
from r1tui.server.wire import ServerError
from r1tui.text import duration

SERVER_STOPPED = ("The server was stopped.", "Start it, and ask again.")
OWN_LOG = "See `r1tui logs`."
FOREIGN_LOG = "Its own log may say more; `--attach` must name the server's address."
NAME_A_MODEL = "Name one of the server's models: --model-name NAME."


@dataclass(frozen=True)
class Whose:
    """Whose server it is: the words for its remedies. r1tui's own commands say nothing about another's."""

    name: str = "llama-server"
    is_ours: bool = True

    @property
    def subject(self) -> str:
        """Its name at the beginning of a sentence."""
        return f"The {self.name}" if self.name == "server" else self.name

    @property
    def log(self) -> str:
        """Where more is said about a failure."""
        return OWN_LOG if self.is_ours else FOREIGN_LOG

    @property
    def after_break(self) -> str:
        """What to do after an answer that broke off."""
        return "`r1tui logs` shows why." if self.is_ours else "Ask again."

    @property
    def look(self) -> str:
        """How to find out whether a server is there."""
        if self.is_ours:
            return "`r1tui status` says what runs; or check the address."
        return "Check that the server runs, and its address."


OURS = Whose()
FOREIGN = Whose("server", is_ours=False)
FOREIGN_SOCKET = Whose(is_ours=False)
"""On a Unix socket nothing but a llama-server listens."""


def explain(error: ServerError, whose: Whose = OURS) -> tuple[str, str]:
    """Cause and remedy of an error that a server reports."""
    match error.type:
        case wire.TOO_LONG_ERROR if error.n_prompt_tokens and error.n_ctx:
            larger = (
                "set a larger plan.ctx_size and start the server again" if whose.is_ours else "give it a larger one"
            )
            return (
                f"The conversation has {error.n_prompt_tokens} tokens and the context holds {error.n_ctx}.",
                f"Start a new conversation, or {larger}.",
            )
        case "authentication_error":
            return "The server wants another key.", "Set LLAMA_API_KEY to the key that it was started with."
        case "unavailable_error" if whose.is_ours:
            return "The model is still loading.", "Wait until `r1tui status` says ready."
        case wire.SERVER_STOPPED_ERROR:
            return SERVER_STOPPED
        case wire.ENDED_ERROR:
            return "llama-server ended in the middle of the answer.", "`r1tui logs` shows why; ask again."
        case wire.LOST_ERROR:
            return "A part of the answer was lost while no keeper recorded it.", "Ask again."
        case wire.UNRECORDED_ERROR:
            return "The rest of the answer could not be recorded, by an error in r1tui.", "Its log says why; ask again."
        case _:
            return _refused(error, whose)


def _refused(error: ServerError, whose: Whose) -> tuple[str, str]:
    status = f" ({error.status})" if error.status else ""
    said = error.message or error.type
    words = f": {said.rstrip('.')}." if said else " and says no reason."
    cause = f"The server refused{status}{words}"
    if error.status in (401, 403):
        return cause, "Set LLAMA_API_KEY to the server's key."
    if whose.is_ours:
        return cause, OWN_LOG
    if error.status == 503 and "load" in said.lower():
        return cause, "Wait until its model is loaded, and ask again."
    if error.status in (429, 503):
        return cause, f"Wait {duration(error.wait_s) if error.wait_s else 'a little'}, and ask again."
    if error.status in (400, 404, 422) and "model" in said.lower():
        return cause, NAME_A_MODEL
    return cause, FOREIGN_LOG
