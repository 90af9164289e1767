"""The screens over the chat, imported together when the first of them is wanted: the chat opens without them."""

from r1tui.tui.screens.ask import STAY_OR_GO, AskScreen, little_room
from r1tui.tui.screens.conversations import ConversationsScreen
from r1tui.tui.screens.keys import KeysScreen
from r1tui.tui.screens.log import LogScreen
from r1tui.tui.screens.panel import PanelScreen
from r1tui.tui.screens.prompts import PromptsScreen
from r1tui.tui.screens.sampling import SamplingScreen
from r1tui.tui.screens.save import SaveScreen
from r1tui.tui.screens.server_models import ServerModelsScreen
from r1tui.tui.screens.theme import ThemeScreen
from r1tui.tui.screens.unsaved import ElsewhereScreen, UnsavedScreen


class Dialogs:
    """They by their names."""

    ask = AskScreen
    conversations = ConversationsScreen
    elsewhere = ElsewhereScreen
    keys = KeysScreen
    little_room = staticmethod(little_room)
    log = LogScreen
    panel = PanelScreen
    prompts = PromptsScreen
    sampling = SamplingScreen
    save = SaveScreen
    server_models = ServerModelsScreen
    theme = ThemeScreen
    unsaved = UnsavedScreen
    stay_or_go = STAY_OR_GO
