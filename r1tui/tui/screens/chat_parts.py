"""What the chat screen is composed of, made after the first screen for its sake."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from r1tui.tui.controllers.answers import AnswerController
from r1tui.tui.controllers.conversations import ConversationController
from r1tui.tui.controllers.models import ModelController
from r1tui.tui.furniture import Furniture
from r1tui.tui.screens.chat_port import ChatPort
from r1tui.tui.screens.model_port import ModelPort
from r1tui.tui.screens.stopping import Stopping
from r1tui.tui.screens.views import Views
from r1tui.tui.services.local_models import LocalModels

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from textual.screen import Screen

    from r1tui.tui.services.shared import Services
    from r1tui.tui.widgets.composer import Composer
    from r1tui.tui.widgets.instruments import Instruments


class Part(Protocol):
    """A part of the chat with keys of its own."""

    def do(self, what: Any) -> object:
        """Do this, whose name is the part's own; what it returns may be awaited."""

    def can(self, what: Any) -> bool:
        """Whether that does something now."""


class ChatParts(NamedTuple):
    """Controllers, what they show themselves through, and widgets, most of them not mounted yet."""

    port: ChatPort
    views: Views
    answers: AnswerController
    conversations: ConversationController
    models: ModelController
    furniture: Furniture
    keyed: Mapping[str, Part]
    """Those with keys of their own, by their names in the table of commands."""


def parts_of(screen: Screen[None], instruments: Instruments, composer: Composer, services: Services) -> ChatParts:
    """Those of this screen, which has instruments and composer already."""
    session, saved = services.session, services.saved
    chat, attached = session.chat, session.attached
    port = ChatPort(screen, session)
    answers = AnswerController(chat, saved, port)
    conversations = port.conversations = ConversationController(saved, answers, chat, port)
    furniture = port.furniture = Furniture(instruments, composer, answers.may_change, attached=attached)
    model_port = ModelPort(screen, furniture, services)
    local = LocalModels(lambda: services.catalog, services.paths, services.config)
    models = ModelController(session.launcher, services.monitor, chat, local, model_port, attached=attached)
    port.models = model_port.models = models
    views = Views(screen, furniture, services, conversations, models)
    keyed: dict[str, Part] = {
        "answers": answers,
        "composer": composer,
        "models": models,
        "selection": furniture.selection,
        "stopping": Stopping(screen, furniture, answers, models),
        "views": views,
    }
    return ChatParts(port, views, answers, conversations, models, furniture, keyed)
