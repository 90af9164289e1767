"""All that a key or the palette can do, in one table: bindings, footer, help, palette and texts take it from here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from msgspec import Struct
from msgspec.structs import replace
from textual.binding import Binding, BindingType

OWN_RANK = 20
"""The rank of the keys of the smaller screens, which stand in the footer in the table's order."""


class Command(Struct, frozen=True):
    """One action that a key or the palette runs."""

    id: str
    """By which `ui.keys` gives it another key: its context, a dot, its name."""
    keys: str
    """The default ones, as Textual names them, separated by commas; none: the palette alone has it."""
    title: str
    action: str
    """Textual action on the focused screen or widget."""
    help: str
    """A sentence; an id in angle brackets stands for its key."""
    short: str = ""
    """The footer's word; none: not in the footer."""
    synonyms: str = ""
    """Other words that people look for."""
    rank: int = OWN_RANK
    """The smaller, the sooner it is in the footer where room is short."""
    always: bool = False
    """True if its key comes before those of the focused widget, as all of the application and the chat do."""
    display: str | None = None
    """Keys as shown in the footer, if not as Textual shows them."""
    heading: str = ""
    """Under which the help and the README have it."""

    @property
    def context(self) -> str:
        """The name of the screen or widget that has the keys."""
        return self.id.partition(".")[0]

    @property
    def is_numbered(self) -> bool:
        """True for one of a numbered series, such as `chat.model1`."""
        return self.id[-1].isdigit()

    @property
    def only_moves(self) -> bool:
        """True when it only moves a view or the selection."""
        return self.heading in (SELECTING, READING, LISTS)

    def binding(self) -> Binding:
        """The binding for its screen or widget."""
        return Binding(
            self.keys,
            self.action,
            self.short or self.title,
            show=bool(self.short),
            key_display=self.display,
            priority=self.always or self.context in ("app", "chat"),
            id=self.id,
        )


SELECTING, READING = "Moving the selection", "Reading (conversation focused)"
LISTS = "In a list"


def _under(heading: str, *commands: Command) -> tuple[Command, ...]:
    return tuple(replace(command, heading=heading) for command in commands)


_TABLE: tuple[Command, ...] = (
    *_under(
        "Basics",
        Command("prompt.send", "enter", "Send", "submit", "Send the question.",
                synonyms="ask submit question", always=True),
        Command("prompt.newline", "ctrl+j,alt+enter", "New line", "newline", "Start a new line.",
                synonyms="break multi-line", always=True),
        Command("chat.stop", "escape", "Stop", "do('stopping', 'stop')",
                "Stop the answer and keep its text; or cancel the launch, which continues later.",
                short="Stop", rank=12, synonyms="cancel abort halt end interrupt escape"),
        Command("app.commands", "ctrl+p", "Commands", "command_palette", "Search all actions and run one.",
                short="Commands", rank=27, synonyms="palette search find actions"),
        Command("app.keys", "f1", "Help", "keys", "Show or hide the list of keys.",
                short="Help", rank=0, synonyms="keys shortcuts keyboard bindings manual"),
        Command("app.quit", "ctrl+q", "Quit", "leave",
                "Quit. The config says whether the server stops, keeps running, or you are asked.",
                short="Quit", rank=21, synonyms="exit leave close stop server"),
    ),
    *_under(
        "Your question",
        Command("prompt.older", "up", "Earlier question", "older",
                "Go up one row; from the first row, to the previous question.",
                synonyms="history previous last recall"),
        Command("prompt.newer", "down", "Later question", "newer",
                "Go down one row; from the last row, to the next question or your draft.",
                synonyms="history next recall"),
        Command("chat.edit", "ctrl+g", "Editor", "do('composer', 'edit')", "Write the question in your editor.",
                synonyms="vim nano emacs external write"),
        Command("chat.attach", "ctrl+f", "Attach a file", "do('composer', 'attach')",
                "Attach a text file: type the start of its name.",
                synonyms="upload include document text"),
        Command("chat.prompts", "f12", "Prompts", "do('views', 'prompts')", "Choose a prompt from the config.",
                synonyms="library templates examples presets snippets"),
        Command("chat.sampling", "ctrl+s", "Sampling", "do('views', 'sampling')",
                "Set temperature, seed, token limits and other sampling values for the next answers; "
                "on the second page context, layers, experts, cache and threads.",
                synonyms="temperature top_p top-p min_p min-p seed max_tokens limit budget settings options parameters "
                "random thinking context ctx layers experts gpu offload cache kv threads restart"),
    ),
    *_under(
        "Answers",
        Command("chat.thinking", "ctrl+t", "Thinking", "do('views', 'thinking')", "Open or close the thinking.",
                short="Thinking", rank=23, synonyms="reasoning thoughts fold unfold expand collapse show hide"),
        Command("chat.end_thinking", "ctrl+d", "End thinking", "do('answers', 'end_thinking')",
                "End the thinking; the answer begins.",
                short="End thinking", rank=13, synonyms="reasoning skip stop enough"),
        Command("chat.continue", "f8", "Continue", "do('answers', 'go_on')",
                "Continue the answer that was cut off, stopped or failed.",
                short="Continue", rank=14, synonyms="resume more cut"),
        Command("chat.again", "f8", "Ask again", "do('answers', 'ask_again')",
                "Ask the last question again; the unfinished answer stays as a branch.",
                short="Ask again", rank=15, synonyms="retry regenerate repeat redo resend"),
        Command("chat.interrupt", "ctrl+c", "Interrupt", "do('stopping', 'interrupt')",
                "Stop the answer, never the server; with no answer running, copy the selected text; twice: clear the "
                "prompt.",
                synonyms="cancel abort stop copy clear"),
        Command("chat.select", "ctrl+y", "Select", "do('selection', 'select')",
                "Select a question with its answer, or a code block; again: stop selecting.", short="Select", rank=25,
                synonyms="mark choose copy code"),
        Command("chat.copy_last", "ctrl+right_square_bracket,alt+c", "Copy last answer", "do('selection', 'copy_last')",
                "Copy the last answer as Markdown, without its thinking.", synonyms="clipboard yank"),
        Command("chat.copy_code", "", "Copy the last code block", "do('selection', 'copy_code')",
                "Copy the last code block, whatever is selected.", synonyms="clipboard"),
        Command("chat.save_code", "", "Save the last code block", "do('selection', 'save_code')",
                "Save the last code block, whatever is selected.", synonyms="write file"),
    ),
    *_under(
        "Conversations",
        Command("chat.new", "ctrl+n", "New chat", "do('views', 'new')", "Start a new conversation.",
                short="New chat", rank=26, synonyms="conversation clear reset begin context"),
        Command("chat.conversations", "ctrl+l", "Conversations", "do('views', 'conversations')",
                "List the conversations and open one.", short="Chats", rank=24,
                synonyms="chats history list open search find rename title delete export markdown json restore"),
    ),
    *_under(
        "Models and server",
        Command("chat.variants", "f2", "Models", "do('views', 'models')", "List the models and start one.",
                short="Models", rank=22,
                synonyms="variants switch change choose download fetch load quantisation quant list delete"),
        Command("chat.previous", "f3", "Previous model", "do('models', 'previous')",
                "Switch to the previous model on disk.", synonyms="switch change variant"),
        Command("chat.next", "f4", "Next model", "do('models', 'next')", "Switch to the next model on disk.",
                synonyms="switch change variant"),
        Command("chat.start", "ctrl+r", "Start", "do('models', 'start')",
                "Start the last model again, or restart a server that hangs.",
                short="Start", rank=16, synonyms="restart reload server model"),
        Command("chat.stop_server", "alt+s,ctrl+circumflex_accent", "Stop server", "do('models', 'stop_server')",
                "Stop the server and stay here; asks first if an answer or a long load would be lost.",
                synonyms="end free memory vram unload kill halt shut down"),
        Command("chat.back", "f9", "Bring back", "do('models', 'bring_back')",
                "Go back to the model, or the settings, from before a failed start.",
                short="Bring back", rank=17, synonyms="restore previous model switch"),
        Command("chat.download", "f7", "Download", "do('models', 'find_download')",
                "Show the running download, or the last model's unfinished one.",
                synonyms="fetch pull progress pause model"),
        Command("chat.log", "f6", "Log", "do('views', 'log')",
                "Show the server's or the build's log; <log.notices> there shows all notices.",
                synonyms="logs output debug errors server build notices messages notifications"),
        *(Command(f"chat.model{n}", f"alt+{n}", f"Model {n}", f"do('models', {n})",
                "Switch to the model with this number in the list of models.", synonyms="switch variant")
          for n in range(1, 10)),
    ),
    *_under(
        "View",
        Command("chat.panel", "f5", "Side panel", "do('views', 'side_panel')", "Show or hide the instruments.",
                synonyms="instruments sidebar hide show gpu memory speed"),
        Command("chat.whole_panel", "ctrl+o", "All instruments", "do('views', 'instruments')",
                "Show all instruments on the full screen.",
                synonyms="full-screen fullscreen gpu vram cpu memory context cache server status dashboard tokens"),
        Command("chat.dismiss", "escape,alt+x", "Dismiss the notice", "do('stopping', 'dismiss')",
                "Dismiss the notice above the prompt; the log keeps it.",
                short="Dismiss", rank=12, synonyms="close hide message error warning notification clear"),
        Command("chat.processes", "f11,alt+g", "GPU processes", "do('views', 'processes')",
                "List everything that holds VRAM: name, process and size.",
                synonyms="vram memory who holds nvidia-smi programs others pid"),
        Command("app.theme", "ctrl+underscore,ctrl+slash", "Theme", "change_theme",
                "Preview the themes and choose one.", synonyms="colours colors dark light appearance"),
        Command("app.slow_link", "f10,ctrl+backslash", "Slow link", "slow_link",
                "Send less to the terminal (on or off): 2 frames/s, no animation, 16 colours.",
                synonyms="ssh bandwidth latency refresh animation"),
    ),
    *_under(
        "While selecting",
        Command("select.copy", "y", "Copy answer or code", "copy",
                "Copy the code block, or the answer as Markdown, without its thinking.",
                short="Copy", rank=2, synonyms="clipboard yank"),
        Command("select.save", "s", "Save answer or code", "save",
                "Save the code block, or the answer, to a file.", short="Save", rank=3, synonyms="write file"),
        Command("select.check", "c", "Check code", "check",
                "Check the syntax of Python code and show the first wrong line.",
                short="Check", rank=4, synonyms="parse syntax lint python"),
        Command("select.edit", "e", "Edit question", "choose('edit')",
                "Edit the question; sending it starts a branch.",
                short="Edit", rank=5, synonyms="change rewrite"),
        Command("select.anew", "r", "Retry", "choose('anew')",
                "Ask the same question again; the old answer stays as a branch.",
                short="Retry", rank=6, synonyms="regenerate retry another redo"),
        Command("select.thinking", "t", "Thinking of the answer", "thinking",
                "Open or close the thinking of the selected answer.",
                short="Thinking", rank=10, synonyms="reasoning thoughts"),
        Command("select.figures", "i", "Figures of the answer", "figures",
                "Show every figure of the answer: model, server, sampling, tokens, speeds, its end.",
                short="Figures", rank=11, synonyms="info details statistics tokens speed model sampling"),
        Command("select.branch_before", "left,h", "Previous branch", "branch(-1)",
                "Show the previous branch; from the first, the last.",
                synonyms="version alternative other"),
        Command("select.branch_after", "right,l", "Next branch", "branch(1)",
                "Show the next branch; from the last, the first.",
                short="Branch", rank=8, display="←→", synonyms="version alternative other"),
        Command("select.delete", "d", "Delete question", "delete",
                "Delete the question and its answer from the conversation.", short="Delete", rank=7,
                synonyms="remove message turn exchange"),
        Command("select.undo", "u", "Undo the deletion", "undo", "Restore the last deleted question and answer.",
                short="Undo", rank=9, synonyms="restore back"),
        Command("select.leave", "escape,q", "End the selection", "leave", "Stop selecting.",
                short="Done", rank=1, synonyms="leave"),
    ),
    *_under(
        SELECTING,
        Command("select.up", "up,k", "Select the previous", "step(-1)", "Select the previous one.",
                synonyms="mark scroll"),
        Command("select.down", "down,j", "Select the next", "step(1)", "Select the next one.",
                synonyms="mark scroll"),
        Command("select.first", "home,g", "Select the first", "end(0)", "Select the first one.",
                synonyms="mark scroll"),
        Command("select.last", "end,G", "Select the last", "end(-1)", "Select the last one.",
                synonyms="mark scroll"),
        Command("select.page_up", "pageup", "Page up", "page(-1)",
                "Scroll up a page; the selection stays.", synonyms="mark scroll"),
        Command("select.page_down", "pagedown", "Page down", "page(1)",
                "Scroll down a page; the selection stays.", synonyms="mark scroll"),
    ),
    *_under(
        READING,
        Command("transcript.line_up", "up,k", "Line up", "scroll('line', -1)", "Scroll up one row."),
        Command("transcript.line_down", "down,j", "Line down", "scroll('line', 1)", "Scroll down one row."),
        Command("transcript.half_up", "ctrl+up,u", "Half a page up", "scroll('half', -1)", "Scroll up half a page."),
        Command("transcript.half_down", "ctrl+down,d", "Half a page down", "scroll('half', 1)",
                "Scroll down half a page."),
        Command("transcript.page_up", "pageup,b", "Page up", "scroll('page', -1)",
                "Scroll up a page, minus one row."),
        Command("transcript.page_down", "pagedown,space", "Page down", "scroll('page', 1)",
                "Scroll down a page, minus one row."),
        Command("transcript.start", "home,g", "To the start", "scroll('all', -1)", "Scroll to the beginning."),
        Command("transcript.end", "end,G", "To the end", "scroll('all', 1)", "Scroll to the end and stay there."),
    ),
    *_under("In a question", Command("ask.back", "escape", "Back", "dismiss", "Close without choosing.", short="Back")),
    *_under(
        "In the list of conversations",
        Command("conversations.back", "escape", "Back", "back", "End the search; with no search, close the list.",
                short="Back"),
        Command("conversations.choose", "enter", "Open", "choose", "Open the conversation under the cursor.",
                short="Open"),
        Command("conversations.search", "slash", "Search", "search",
                "Show only conversations with these words; going back shows all.", short="Search"),
        Command("conversations.rename", "r", "Rename", "rename",
                "Rename the conversation under the cursor.", short="Rename"),
        Command("conversations.delete", "d", "Delete", "delete",
                "Delete the conversation under the cursor; undo restores it.", short="Delete"),
        Command("conversations.restore", "u,ctrl+z", "Undo", "restore",
                "Restore the last deleted conversation.", short="Undo"),
        Command("conversations.export", "x", "Export", "export",
                "Save the conversation under the cursor to a file.", short="Export"),
        Command("conversations.to_list", "down", "To the list", "to_list", "Go from the search to the matches."),
    ),
    *_under(
        "In a download",
        Command("download.pause", "p", "Pause/resume", "pause",
                "Pause the download and keep its files, or resume it.", short="Pause/resume"),
        Command("download.give_up", "x", "Cancel", "give_up",
                "Cancel the download and delete its files; asks first.", short="Cancel"),
        Command("download.choose", "enter", "Start", "choose", "Start the model.", short="Start"),
        Command("download.back", "escape,q", "Back", "dismiss", "Close; the download continues.", short="Back"),
    ),
    *_under(
        "In the figures of an answer",
        Command("figures.back", "escape,q,i", "Back", "dismiss", "Go back.", short="Back"),
    ),
    *_under("In the help", Command("keys.back", "escape,q", "Back", "dismiss", "Go back.", short="Back")),
    *_under("In a line", Command("line.back", "escape", "Back", "dismiss", "Close without an answer.", short="Back")),
    *_under(
        "In the log",
        Command("log.back", "escape,q", "Back", "back", "End the search; with no search, close the log.", short="Back"),
        Command("log.notices", "n", "Notices", "notices", "Show all notices, newest first, or the log again.",
                short="Notices"),
        Command("log.search", "slash", "Search", "search",
                "Show only lines with these words; going back shows all.", short="Search"),
        Command("log.level", "l", "Level", "level", "Show all lines, warnings and errors, or errors only.",
                short="Level"),
    ),
    *_under(
        "In the GPU processes",
        Command("processes.back", "escape,q,f11,alt+g", "Back", "dismiss", "Go back to the chat.", short="Back"),
    ),
    *_under(
        "In the instruments",
        Command("panel.back", "escape,q,ctrl+o", "Back", "dismiss", "Go back to the chat.", short="Back"),
    ),
    *_under(
        "In the prompts",
        Command("prompts.back", "escape", "Back", "dismiss", "Close without choosing.", short="Back"),
    ),
    *_under(
        "In the sampling",
        Command("sampling.back", "escape", "Back", "back", "Close; a wrong value is not used.",
                short="Back"),
        Command("sampling.reset", "ctrl+r", "Reset to config", "reset", "Use the config's values for this model again.",
                short="Reset to config", always=True),
        Command("sampling.page", "pagedown,pageup", "Other page", "page",
                "Show the other page: sampling, or what needs a restart: context, layers, experts, cache, threads.",
                short="Other page", display="pgdn", rank=OWN_RANK - 1, always=True),
        Command("settings.apply", "enter", "Apply and restart", "apply",
                "Keep the settings for this model and restart it with them; asks where something would be lost.",
                short="Apply", always=True),
        Command("settings.auto", "ctrl+r", "Back to auto", "auto",
                "Empty all fields of the second page: the plan chooses.", short="Back to auto", always=True),
        Command("sampling.up", "up", "Previous field", "app.focus_previous", "Go to the previous field."),
        Command("sampling.down", "down", "Next field", "app.focus_next", "Go to the next field."),
        Command("switch.change", "right,space,enter,plus", "Change", "turn(1)",
                "Show the next value: one more, or twice the context."),
        Command("switch.change_back", "left,minus", "Change back", "turn(-1)",
                "Show the previous value: one less, or half the context."),
    ),
    *_under(
        "When saving a file",
        Command("save.back", "escape", "Back", "dismiss", "Close without saving.", short="Back"),
    ),
    *_under(
        "In a server's models",
        Command("server_models.back", "escape", "Back", "dismiss", "Close without choosing.", short="Back"),
    ),
    *_under(
        "In the themes",
        Command("theme.back", "escape", "Back", "back", "Close and keep the old theme.", short="Back"),
    ),
    *_under(
        LISTS,
        Command("list.up", "up,k", "Row up", "cursor_up", "Go up one row."),
        Command("list.down", "down,j", "Row down", "cursor_down", "Go down one row."),
        Command("list.first", "home,g,ctrl+home", "First row", "scroll_top", "Go to the first row."),
        Command("list.last", "end,G,ctrl+end", "Last row", "scroll_bottom", "Go to the last row."),
        Command("list.page_up", "pageup", "Page up", "page_up", "Go up one page."),
        Command("list.page_down", "pagedown", "Page down", "page_down", "Go down one page."),
    ),
    *_under(
        "In the list of models",
        Command("variants.choose", "enter", "Start", "choose", "Start the model under the cursor.",
                short="Start"),
        Command("variants.back", "escape", "Back", "dismiss", "Close without choosing.", short="Back"),
        Command("variants.delete", "d", "Delete", "delete",
                "Delete the files of the model under the cursor; asks first.", short="Delete"),
        Command("variants.ask_hub", "r", "Ask the hub", "ask_hub",
                "Read sizes and the model's header from the hub.", short="Ask the hub"),
        *(Command(f"variants.pick{n}", str(n), f"Model {n}", f"pick({n})",
                  "Start the model with this number; those on this machine have one.")
          for n in range(1, 10)),
    ),
)  # fmt: skip

COMMANDS: Mapping[str, Command] = MappingProxyType({command.id: command for command in _TABLE})
"""By their ids, in the order of the help and the palette: the most important first."""

SHARED = ("app", "chat", "prompt", "transcript", "select")
"""The contexts of the application and the chat; each of the others is a screen of its own."""
FOCUSED_ON = {
    "prompt": ("chat",),
    "transcript": ("chat",),
    "switch": ("sampling",),
    "settings": ("sampling",),
    "list": ("variants", "conversations"),
}
"""The widgets that share their keys with screens while they have the focus; the selection takes all for itself."""


def of_context(context: str) -> Iterator[Command]:
    """The commands of a screen or widget."""
    return (command for command in COMMANDS.values() if command.context == context)


def bindings_of(context: str) -> list[BindingType]:
    """The `BINDINGS` of a screen or widget."""
    return [command.binding() for command in of_context(context) if command.keys]
