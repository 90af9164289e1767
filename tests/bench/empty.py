"""An empty Textual app, to compare the time to the first screen with."""

from textual.app import App, ComposeResult
from textual.widgets import Label


class Empty(App[None]):
    """One word."""

    ENABLE_COMMAND_PALETTE = False

    def compose(self) -> ComposeResult:
        yield Label("empty")


if __name__ == "__main__":
    Empty().run()
