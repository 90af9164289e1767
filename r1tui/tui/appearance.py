"""The application's appearance: its theme, with the one that was chosen last, and what a slow link leaves of it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from textual.app import App
from textual.filter import ANSIToTruecolor, LineFilter, NoColor

from r1tui.tui.screens import later
from r1tui.tui.themes import TERMINAL, chosen_theme, default_theme, find_theme, keep_theme, load_themes

if TYPE_CHECKING:
    from r1tui.config import Config
    from r1tui.system.paths import Paths

SLOW_HZ = 2.0


class ThemedApp(App[None]):
    """An application with themes of its own."""

    paths: Paths
    config: Config
    slow_link: bool = False
    """True if little is sent to the terminal."""

    def __init__(self) -> None:
        if os.environ.get("TERM", "").endswith("-direct"):  # which Rich takes for sixteen colours
            os.environ.setdefault("COLORTERM", "truecolor")
        super().__init__()

    def choose_theme(self) -> None:
        """Set the theme before the first frame (a later change draws everything twice); the others come later."""
        default = default_theme(os.environ)
        self._chosen = self._wanted = chosen_theme(self.paths.theme_choice, self.config.ui.theme) or default
        if not self._has_theme(self._chosen):
            self._chosen = default
        self.slow_link = self.config.ui.slow_link
        if self.slow_link:
            self.animation_level = "none"
        shown = TERMINAL if self.slow_link or self.no_color else self._chosen
        self._has_theme(shown)
        self.set_reactive(App.theme, shown)
        self.stylesheet.set_variables(self.get_css_variables())

    def _has_theme(self, name: str) -> bool:
        """Register the theme of this name; False if there is none."""
        if theme := find_theme(name, self.paths.config / "themes"):
            self.register_theme(theme)
        return name in self.available_themes

    async def load_other_themes(self) -> list[str]:
        """Register all themes, in their order; return complaints."""
        themes, complaints = await asyncio.to_thread(load_themes, self.paths.config / "themes")
        for theme in themes:
            self.unregister_theme(theme.name)
            self.register_theme(theme)
        if self._wanted not in self.available_themes:
            names = ", ".join(sorted(self.available_themes))
            complaints.append(f"ui.theme: unknown theme {self._wanted!r}. Themes: {names}.")
        return complaints

    def get_line_filters(self) -> Sequence[LineFilter]:
        """The current theme's filters; Textual chooses them before a theme is set. NO_COLOR drops greys too."""
        if self.no_color:
            return [NoColor()]
        filters = super().get_line_filters()
        if self.native_ansi_color:
            return [one for one in filters if not isinstance(one, ANSIToTruecolor)]
        return filters

    @property
    def refresh_hz(self) -> float:
        """The current refresh rate of an answer."""
        return min(self.config.ui.refresh_hz, SLOW_HZ) if self.slow_link else self.config.ui.refresh_hz

    def set_pace(self) -> None:
        """Set the refresh rate of the answer, the transcript and the instruments."""
        raise NotImplementedError

    def action_slow_link(self) -> None:
        self.slow_link = not self.slow_link
        self.animation_level = "none" if self.slow_link else "full"
        self.set_pace()
        if not self.no_color and self.theme in (TERMINAL, self._chosen):
            self.theme = TERMINAL if self.slow_link else self._chosen
        self.notify(f"Slow link: {'on' if self.slow_link else 'off'}.")

    def action_change_theme(self) -> None:
        if self.no_color:
            self.notify("NO_COLOR is set, so there is only one theme.")
        elif not isinstance(self.screen, later.overlays.ThemeScreen):
            self.push_screen(later.overlays.ThemeScreen(), self._keep)

    def _keep(self, theme: str | None) -> None:
        if theme is not None:
            self._chosen = theme
            self.run_worker(self._remember(theme), name="Saving the theme")

    async def _remember(self, theme: str) -> None:
        try:
            await asyncio.to_thread(keep_theme, self.paths.theme_choice, theme, self.config.ui.theme)
        except OSError as error:
            self.notify(f"The theme could not be saved: {error}", severity="warning")
