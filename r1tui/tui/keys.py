"""The keys that there are, and what is wrong with those that the user's config gives them."""

from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from typing import NamedTuple

from textual.dom import DOMNode

from r1tui.tui.actions import bindings
from r1tui.tui.screens.ask import AskScreen
from r1tui.tui.screens.chat import ChatScreen
from r1tui.tui.screens.conversations import ConversationsScreen
from r1tui.tui.screens.download import DownloadScreen
from r1tui.tui.screens.keys import KeysScreen
from r1tui.tui.screens.line import LineScreen
from r1tui.tui.screens.log import LogScreen
from r1tui.tui.screens.panel import PanelScreen
from r1tui.tui.screens.prompts import PromptsScreen
from r1tui.tui.screens.sampling import SamplingScreen
from r1tui.tui.screens.save import SaveScreen
from r1tui.tui.screens.server_models import ServerModelsScreen
from r1tui.tui.screens.theme import ThemeScreen
from r1tui.tui.screens.variants import VariantsScreen
from r1tui.tui.widgets.prompt import Prompt
from r1tui.tui.widgets.select_bar import SelectBar
from r1tui.tui.widgets.transcript import Transcript

Nodes = tuple[type[DOMNode], ...]
TOGETHER: tuple[Nodes, ...] = (
    (ChatScreen, Prompt, Transcript),
    (SelectBar,),
    (AskScreen,),
    (ConversationsScreen,),
    (DownloadScreen,),
    (KeysScreen,),
    (LineScreen,),
    (LogScreen,),
    (PanelScreen,),
    (PromptsScreen,),
    (SamplingScreen,),
    (SaveScreen,),
    (ServerModelsScreen,),
    (ThemeScreen,),
    (VariantsScreen,),
)
"""What has the keys at a time, a screen first; a key can mean one thing there. The line that marks takes its own."""

TAKING_TURNS = ({"chat.continue", "chat.again"},)
"""Actions that may have one key, since never more than one of them is offered."""


class KeyRow(NamedTuple):
    """An action that a key can be given to: its id, and the keys it has by default."""

    name: str
    keys: str


def complaints(keys: Mapping[str, str], app: type[DOMNode]) -> Iterator[str]:
    """A sentence for each id that there is not, and for each key that would mean two things."""
    known = {row.name for nodes in TOGETHER for row in _rows((app, *nodes))}
    for name in keys:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            yield f"There is no action {name!r}." + (f" Did you mean {near[0]}?" if near else "")
    told: set[str] = set()
    for screen, widget in ((nodes[0], nodes[n : n + 1]) for nodes in TOGETHER for n in range(1, max(len(nodes), 2))):
        owners: dict[str, str] = {}
        for row in _rows((app, screen, *widget)):  # two widgets never have the focus at once
            for key in map(str.strip, keys.get(row.name, row.keys).split(",")):
                owner = owners.setdefault(key, row.name)
                clash = f"{key} is the key of {owner} and of {row.name}."
                both = {owner, row.name}
                if owner != row.name and both not in TAKING_TURNS and both & keys.keys() and clash not in told:
                    told.add(clash)
                    yield clash


def _rows(nodes: Iterable[type[DOMNode]]) -> Iterator[KeyRow]:
    for node in nodes:
        for binding in bindings(node):
            yield KeyRow(binding.id or "", binding.key)
