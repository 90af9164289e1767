"""How other programs reach the managed server: its address and its key, once it is sure that both are this user's."""

from r1tui.errors import R1tuiError
from r1tui.messages import Status
from r1tui.remedies import AskAgain, RestartServer, ShowStatus
from r1tui.server.endpoint import Endpoint
from r1tui.supervisor.key import key_of
from r1tui.supervisor.protocol import connect
from r1tui.supervisor.trust import ForeignError
from r1tui.system.paths import Paths


def address_of(status: Status, paths: Paths) -> tuple[Endpoint, str | None]:
    """Where a server that can be asked listens, and its key, if it wants one.

    Raises ForeignError when what listens there, or the key's file, is not this user's own in the folder of his
    sockets, and R1tuiError when nothing listens. Blocks for seconds where it hangs.
    """
    endpoint = Endpoint.parse(status.endpoint or "")
    if endpoint.socket is None or endpoint.socket.parent != paths.run:
        raise ForeignError(f"{status.endpoint} is not where r1tui's servers listen.", RestartServer())
    try:
        connect(endpoint.socket).close()
    except OSError as error:
        raise R1tuiError(f"Nothing answers at {endpoint}.", ShowStatus(), "Wait a moment.", AskAgain()) from error
    return endpoint, key_of(status, paths)
