"""The user's own keys: what is wrong with those that the config names, in sentences."""

from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches

from textual.binding import Binding
from textual.dom import DOMNode

from r1tui.tui.screens.ask import AskScreen
from r1tui.tui.screens.chat import ChatScreen
from r1tui.tui.screens.log import LogScreen
from r1tui.tui.screens.variants import VariantsScreen
from r1tui.tui.widgets.prompt import Prompt
from r1tui.tui.widgets.transcript import Transcript

Nodes = tuple[type[DOMNode], ...]
TOGETHER: tuple[Nodes, ...] = ((ChatScreen, Prompt, Transcript), (AskScreen,), (LogScreen,), (VariantsScreen,))
"""What is on the screen at a time; a key can mean one thing there."""


def complaints(keys: Mapping[str, str], app: type[DOMNode]) -> Iterator[str]:
    """A sentence for each id that there is not, and for each key that would mean two things."""
    known = {name for nodes in TOGETHER for name, _ in _default_keys((app, *nodes))}
    for name in keys:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            yield f"There is no action {name!r}." + (f" Did you mean {near[0]}?" if near else "")
    told: set[str] = set()
    for nodes in TOGETHER:
        owners: dict[str, str] = {}
        for name, default in _default_keys((app, *nodes)):
            for key in map(str.strip, keys.get(name, default).split(",")):
                owner = owners.setdefault(key, name)
                clash = f"{key} is the key of {owner} and of {name}."
                if owner != name and {owner, name} & keys.keys() and clash not in told:
                    told.add(clash)
                    yield clash


def _default_keys(nodes: Iterable[type[DOMNode]]) -> Iterator[tuple[str, str]]:
    """The ids of their own bindings, and the keys that they have by default."""
    for node in nodes:
        for binding in node.BINDINGS:
            if isinstance(binding, Binding) and binding.id:
                yield binding.id, binding.key
