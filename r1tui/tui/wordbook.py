"""How people look for an action: the heading that the help has it under, its name where there is room, other words."""

import re
from collections.abc import Mapping

HEADINGS: Mapping[str, Mapping[str, str]] = {
    "First of all": {
        "prompt.send": "ask submit question",
        "prompt.newline": "break multi-line",
        "chat.stop": "cancel abort halt end interrupt escape",
        "app.commands": "palette search find actions",
        "app.keys": "keys shortcuts keyboard bindings manual",
        "app.quit": "exit leave close stop server",
    },
    "Your question": {
        "prompt.older": "history previous last recall",
        "prompt.newer": "history next recall",
        "chat.edit": "vim nano emacs external write",
        "chat.attach": "upload include document text",
        "chat.prompts": "library templates examples presets snippets",
        "chat.sampling": "temperature top_p top-p min_p min-p seed max_tokens limit budget settings options parameters "
        "random thinking",
    },
    "Answers": {
        "chat.thinking": "reasoning thoughts fold unfold expand collapse show hide",
        "chat.end_thinking": "reasoning skip stop enough",
        "chat.continue": "resume more cut",
        "chat.again": "retry regenerate repeat redo resend",
        "chat.interrupt": "cancel abort stop copy",
        "chat.select": "mark choose copy code",
        "copy_code": "clipboard",
        "save_code": "write file",
    },
    "Conversations": {
        "chat.new": "conversation clear reset begin context",
        "chat.conversations": "chats history list open search find rename title delete export markdown json restore",
    },
    "Models and server": {
        "chat.variants": "variants switch change choose download fetch load quantisation quant list delete",
        "chat.previous": "switch change variant",
        "chat.next": "switch change variant",
        "chat.start": "restart reload server model",
        "chat.back": "restore previous model switch",
        "chat.download": "fetch pull progress pause model",
        "chat.log": "logs output debug errors server build",
        **{f"chat.model{number}": "switch variant" for number in range(1, 10)},
    },
    "View": {
        "chat.panel": "instruments sidebar hide show gpu memory speed",
        "chat.whole_panel": "full-screen fullscreen gpu vram cpu memory context cache server status dashboard tokens",
        "app.theme": "colours colors dark light appearance",
        "app.slow_link": "ssh bandwidth latency refresh animation",
    },
    "While selecting": {
        "select.copy": "clipboard yank",
        "select.save": "write file",
        "select.check": "parse syntax lint python",
        "select.edit": "change rewrite",
        "select.anew": "regenerate retry another redo",
        "select.thinking": "reasoning thoughts",
        "select.branch_before": "version alternative other",
        "select.branch_after": "version alternative other",
        "select.delete": "remove message turn",
        "select.undo": "restore back",
        "select.leave": "leave",
    },
    "Moving the selection": dict.fromkeys(
        [f"select.{move}" for move in ("up", "down", "first", "last", "page_up", "page_down")], "mark scroll"
    ),
    "Reading, with the conversation focused": dict.fromkeys(
        [f"transcript.{what}_{where}" for what in ("line", "half", "page") for where in ("up", "down")]
        + ["transcript.start", "transcript.end"],
        "scroll",
    ),
}
"""By the ids of bindings, what matters most first. What a screen of its own has is under `HERE`."""

HERE = "Here"
MOVING = tuple(HEADINGS)[-2:]
"""The headings of what only moves something."""

TITLES = {
    "chat.conversations": "Conversations",
    "select.leave": "End the selection",
    "select.copy": "Copy answer or code",
    "select.save": "Save answer or code",
    "select.check": "Check code",
    "select.edit": "Edit question",
    "select.thinking": "Thinking of the exchange",
    "select.branch_before": "Branch before",
    "select.branch_after": "Branch after",
    "select.delete": "Delete exchange",
    "select.undo": "Undo the deletion",
    "select.up": "Select the one before",
    "select.down": "Select the next",
    "select.first": "Select the first",
    "select.last": "Select the last",
}
"""Names longer than the footer's word."""

PLACES = {name: (heading, words) for heading, names in HEADINGS.items() for name, words in names.items()}


def heading_of(name: str) -> str:
    """The heading that the help has an action under, by the id of its binding."""
    return PLACES.get(name, (HERE, ""))[0]


def place_of(name: str) -> int:
    """Where an action stands among all; those of a screen of its own come first."""
    return list(PLACES).index(name) if name in PLACES else -1


def other_words(name: str) -> str:
    """What an action is also looked for by."""
    return PLACES.get(name, (HERE, ""))[1]


def words(text: str) -> list[str]:
    """The words of a text, in small letters."""
    return re.findall(r"[\w-]+", text.casefold())
