"""What the tests read of the conversations on disk, beside whoever has them open."""

from r1tui.chat.conversation import Conversation
from r1tui.chat.store import Store
from r1tui.system.paths import Paths


def last_conversation(paths: Paths) -> Conversation:
    """The conversation with which the next screen would go on; nobody has it open."""
    with Store(paths.conversations) as store:
        found = store.last()
    assert found is not None
    return found.conversation


def conversations(paths: Paths) -> list[Conversation]:
    """All of them as they were written last, the newest first."""
    with Store(paths.conversations) as store:
        return [store.look(one.id).conversation for one in store.newest()]


def last_states(paths: Paths) -> list[str]:
    """The state of the last answer of each."""
    return [one.exchanges[-1].answer.state for one in conversations(paths)]
