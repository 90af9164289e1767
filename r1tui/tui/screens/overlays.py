"""What lies over the chat for a look or one choice: prompts, a server's models, themes, the keys, all instruments."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby

from rich.console import Group
from rich.table import Table
from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.containers import Horizontal, VerticalScroll
from textual.content import Content
from textual.screen import Screen
from textual.theme import BUILTIN_THEMES, Theme
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from r1tui.chat.typed import cleaned
from r1tui.text import one_line
from r1tui.tui.beneath import Beneath
from r1tui.tui.commands import SHARED, Command, bindings_of
from r1tui.tui.keymap import keys_of
from r1tui.tui.remedies import in_keys
from r1tui.tui.screens.dialogs import Dialog
from r1tui.tui.widgets.figures import Figures
from r1tui.tui.widgets.gauges import ink_of
from r1tui.tui.widgets.instrument_rows import processes
from r1tui.tui.widgets.instruments import Board
from r1tui.tui.widgets.key_line import KeyLine

KEYS_WIDTH = 20


class PromptsScreen(Dialog[str]):
    """The prompts of the config, and the one under the cursor in full; the answer is the text of the chosen one."""

    DEFAULT_CSS = """
    PromptsScreen {
        & > Horizontal { width: 110; height: 16; max-height: 90%; padding: 0; }
        OptionList, OptionList:focus {
            width: 30%;
            min-width: 20;
            height: 1fr;
            border: none;
            border-right: solid $primary-muted;
            background: $surface;
            padding: 0 0 0 1;
        }
        VerticalScroll { width: 1fr; padding: 0 0 0 1; }
        Static { width: 1fr; }
    }
    """
    BINDINGS = bindings_of("prompts")

    def __init__(self, prompts: Mapping[str, str]) -> None:
        super().__init__()
        self._prompts = {name: cleaned(text).strip("\n") for name, text in prompts.items()}

    def compose(self) -> ComposeResult:
        with Horizontal() as box:
            box.border_title = "Prompts"
            box.border_subtitle = "Enter inserts it · prompts: in the config"
            yield OptionList(*(Option(Content(cleaned(name)), id=name) for name in self._prompts), markup=False)
            with VerticalScroll(can_focus=False):
                yield Static(Content("" if self._prompts else "The config has no prompts."))
        yield KeyLine()

    @on(OptionList.OptionHighlighted)
    def _look(self, event: OptionList.OptionHighlighted) -> None:
        self.query_one(Static).update(Content(self._prompts[event.option.id or ""]))

    @on(OptionList.OptionSelected)
    def _chosen(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(self._prompts[event.option.id or ""])


class ServerModelsScreen(Dialog[str]):
    """The models of a server of the user's own; the answer is the name of the chosen one."""

    DEFAULT_CSS = """
    ServerModelsScreen > OptionList { width: 80; max-height: 80%; }
    """
    BINDINGS = bindings_of("server_models")

    def __init__(self, names: Sequence[str], chosen: str) -> None:
        super().__init__()
        self._names = list(names)
        self._chosen_name = chosen

    def compose(self) -> ComposeResult:
        models = OptionList(*(Option(Content(one_line(name) or ascii(name))) for name in self._names), markup=False)
        models.border_title = "The server's models"
        models.border_subtitle = "Enter chooses the model for the next questions"
        yield models
        yield KeyLine()

    def on_mount(self) -> None:
        if self._chosen_name in self._names:
            self.query_one(OptionList).highlighted = self._names.index(self._chosen_name)

    @on(OptionList.OptionSelected)
    def _chosen(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(self._names[event.option_index])


class ThemeScreen(Dialog[str]):
    """The themes; the one under the cursor is shown all over the screen below. The answer is the one that is kept."""

    DEFAULT_CSS = """
    ThemeScreen {
        align: right middle;
        background: transparent;
        & > OptionList { width: 42; max-height: 80%; margin-right: 1; }
    }
    """
    BINDINGS = bindings_of("theme")

    def compose(self) -> ComposeResult:
        themes = self.app.available_themes.values()
        ours = [_option(theme) for theme in themes if theme.name not in BUILTIN_THEMES]
        textuals = [_option(theme) for theme in themes if theme.name in BUILTIN_THEMES]
        options = OptionList(*ours, None, *textuals, markup=False)
        options.border_title = "Theme"
        options.border_subtitle = in_keys("Enter keeps it, <theme.back> cancels", self.app)
        yield options

    def on_mount(self) -> None:
        self._before = self.app.theme
        options = self.query_one(OptionList)
        options.highlighted = options.get_option_index(self.app.theme)

    @on(OptionList.OptionHighlighted)
    def _show(self, message: OptionList.OptionHighlighted) -> None:
        if message.option_id is not None and message.option_id != self.app.theme:
            self.app.theme = message.option_id

    @on(OptionList.OptionSelected)
    def _keep(self, message: OptionList.OptionSelected) -> None:
        self.dismiss(message.option_id)

    def action_back(self) -> None:
        self.app.theme = self._before
        self.dismiss(None)


class KeysScreen(Dialog[None]):
    """The keys of what is on the screen: what each does, and the id by which the config gives it another."""

    DEFAULT_CSS = """
    KeysScreen {
        & > VerticalScroll { width: 104; max-height: 90%; }
        Static { width: 1fr; }
    }
    """
    BINDINGS = bindings_of("keys")

    def __init__(self, rows: Iterable[Command], own: Mapping[str, str]) -> None:
        """List the commands that have keys; `own` are the user's keys."""
        super().__init__()
        self._rows = sorted((row for row in rows if row.keys), key=lambda row: row.context in SHARED)
        self._own = own

    def compose(self) -> ComposeResult:
        shown: list[Text | Table | str] = []
        for heading, rows in groupby(self._rows, lambda row: row.heading):
            table = Table.grid(padding=(0, 1))
            table.add_column(width=KEYS_WIDTH)
            table.add_column()
            for keys, does, name in self._lines(rows):
                table.add_row(Text(keys, "bold"), Text.assemble(does, "  ", (name, "dim italic")))
            shown += [*([""] if shown else []), Text(heading, "bold underline"), table]
        with VerticalScroll() as frame:
            frame.border_title = "Keys"
            frame.border_subtitle = "ui.keys in the config changes keys by id"
            yield Static(Group(*shown))

    def _lines(self, rows: Iterable[Command]) -> Iterator[tuple[str, str, str]]:
        """Keys, sentence and id of each command; a row of alike ones is one line."""
        for _, group in groupby(rows, lambda row: row.help if row.is_numbered else row.id):
            first, *others = group
            keys, name = keys_of(first, self._own), first.id
            if others:
                keys, name = f"{keys} … {keys_of(others[-1], self._own)}", f"{name} …"
            yield keys, in_keys(first.help, self.app), name


class FiguresScreen(Dialog[None]):
    """All that is known of an answer."""

    DEFAULT_CSS = """
    FiguresScreen {
        & > VerticalScroll { width: 76; max-height: 90%; padding: 1 0 1 2; }
        Static { width: 1fr; }
    }
    """
    BINDINGS = bindings_of("figures")

    def __init__(self, figures: Mapping[str, str]) -> None:
        super().__init__()
        self._figures = figures

    def compose(self) -> ComposeResult:
        table = Table.grid(padding=(0, 2))
        for name, value in self._figures.items():
            table.add_row(Text(name, "dim"), Text(value))
        with VerticalScroll() as frame:
            frame.border_title = "The answer"
            frame.border_subtitle = in_keys("<figures.back> goes back", self.app)
            yield Static(table)


class ProcessesScreen(Dialog[None]):
    """Everything that holds VRAM, by name."""

    DEFAULT_CSS = """
    ProcessesScreen {
        & > VerticalScroll { width: 76; max-height: 90%; padding: 1 2; }
        Static { width: 1fr; }
    }
    """
    BINDINGS = bindings_of("processes")

    def __init__(self, figures: Figures) -> None:
        super().__init__()
        self._figures = figures

    def compose(self) -> ComposeResult:
        with VerticalScroll() as frame:
            frame.border_title = "GPU processes"
            frame.border_subtitle = in_keys("<processes.back> goes back", self.app)
            yield Static()

    def on_mount(self) -> None:
        self.set_interval(1.0, self._show)
        self.call_after_refresh(self._show)

    def _show(self) -> None:
        shown = self.query_one(Static)
        shown.update(Content("\n").join(processes(self._figures, shown.size.width, ink_of(self.app))))


class PanelScreen(Beneath, Screen[None]):
    """All that is known of server, answer, GPUs and machine; the chat collects it meanwhile."""

    DEFAULT_CSS = """
    PanelScreen { overflow: hidden; }
    """
    BINDINGS = bindings_of("panel")

    def __init__(self, figures: Figures) -> None:
        super().__init__()
        self._figures = figures

    def compose(self) -> ComposeResult:
        yield Board(self._figures)
        yield KeyLine()


def _option(theme: Theme) -> Option:
    kind = "16 colours" if theme.ansi else "dark" if theme.dark else "light"
    return Option(Content.assemble(f"{theme.name:<22} ", (kind, "italic")), id=theme.name)
