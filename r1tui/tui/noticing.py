"""The one place that all notices go through, and the line of the topmost screen that shows them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from textual.app import App

from r1tui.tui.notices import Notices, Severity
from r1tui.tui.remedies import format_remedies, in_keys
from r1tui.tui.widgets.notice_line import NoticeLine
from r1tui.tui.widgets.once import call_after
from r1tui.tui.widgets.transcript_rows import safe_text

if TYPE_CHECKING:
    from asyncio import TimerHandle

    from textual.screen import Screen

    from r1tui.errors import R1tuiError


LONGEST_CHARS = 2_000
"""Of a longer notice only the beginning is kept."""


class NoticingApp(App[None]):
    """An application whose notices cover nothing: one line above the prompt, or at the bottom of another screen."""

    def __init__(self) -> None:
        super().__init__()
        self.notices = Notices()
        self._disable_notifications = True  # Textual's, which cover what they speak of
        self._next_look: TimerHandle | None = None
        self._is_stale = False
        """True if a notice has come or gone since the line was shown anew."""

    def notify(
        self, message: str, *, title: str = "", severity: Severity = "information", topic: str = "", **_: Any
    ) -> None:
        """Show a notice: plain text, with keys in place of the actions that it names; from any thread."""
        told = f"{title}: {message}" if title else message
        if len(told) > LONGEST_CHARS:
            told = f"{told[:LONGEST_CHARS]}… ({len(told):,} characters)"
        self.notices.tell(safe_text(in_keys(told, self)).strip(), severity, topic)
        self._show_soon()

    def show_error(self, error: R1tuiError, topic: str = "") -> None:
        """Show a notice: what happened, and what mends it."""
        self.notify(f"{error.cause}\n{format_remedies(error.remedies, self)}", severity="error", topic=topic)

    def end_notice(self, topic: str) -> None:
        """What notices of this topic tell of is over."""
        if self.notices.end(topic):
            self._show_soon()

    def action_dismiss_notice(self) -> None:
        self.notices.dismiss()
        self._refresh_notifications()

    def _show_soon(self) -> None:
        """Show the newest, once for all that are told meanwhile."""
        if not self._is_stale:
            self._is_stale = True
            self.call_later(self._refresh_notifications)

    def _refresh_notifications(self) -> None:
        """Show the newest on the topmost screen; Textual calls it when another one is that."""
        self._is_stale = False
        if not (self._running and self.screen_stack and self.screen.is_mounted and self.screen.is_attached):
            return
        had_any = any(line.display for line in self.screen.query(NoticeLine))
        wait_s = self.notices.look()
        if self._next_look is not None:
            self._next_look.cancel()
        self._next_look = None if wait_s is None else call_after(self, wait_s, self._refresh_notifications)
        for screen in self.screen_stack[:-1]:
            for line in screen.query(NoticeLine):
                line.show(None)
        waiting = self.notices.waiting
        if waiting or had_any:
            _line_of(self.screen).show(waiting[0] if waiting else None, len(waiting) - 1)
        if had_any != bool(waiting):
            self.screen.refresh_bindings()
        if (show := getattr(self.screen, "show_notices", None)) is not None:
            show()


def _line_of(screen: Screen[Any]) -> NoticeLine:
    """The screen's line, made when it is first wanted: above the prompt where there is one."""
    for line in screen.query(NoticeLine):
        return line
    line, composer = NoticeLine(), getattr(screen, "composer", None)
    if composer is None:
        line.add_class("-below")
        line.set_class(bool(screen.query("KeyLine")), "-above-keys")
    screen.mount(line, before=composer)
    return line
