"""Screens that go on beneath others: what changes there and can be seen is painted, and no more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from textual.screen import Screen

if TYPE_CHECKING:
    from textual.geometry import Region

    Base = Screen[Any]
else:
    Base = object  # a mixin that were a DOMNode would hide the CSS of the class beside it


class Beneath(Base):
    """A mixin of screens.

    Textual takes a screen for visible below one that covers it all, and below a dialog it paints again, with every
    message that comes there, all that was ever painted since the dialog opened.
    """

    @property
    def is_current(self) -> bool:
        """True if anything of it can be seen: it is on top, or under dialogs alone."""
        stack = self.app.screen_stack
        return self in stack and all(one.styles.background.a < 1 for one in _above(self, stack))

    def _compositor_refresh(self) -> None:
        """Paint; under dialogs have them paint what shines through. Textual has no public hook for it."""
        above = _above(self, self.app.screen_stack)
        if not above:
            super()._compositor_refresh()
            return
        changed, self._dirty_widgets = set(self._compositor._dirty_regions), set()
        self._compositor._dirty_regions.clear()
        seen = [region for region in changed if not _is_covered(region, above)]
        if seen:
            for one in above:
                one._set_dirty(*seen)
                one._layout_cache.clear()  # with the screen that it took for the one beneath it
            for one in above[:-1]:
                one._exchange_repaint_regions()  # it is the topmost that paints them
            above[-1]._dirty_widgets.add(above[-1])  # `refresh` would forget what changes in its own widgets
            above[-1].check_idle()


def _above(screen: Screen[Any], stack: Sequence[Screen[Any]]) -> Sequence[Screen[Any]]:
    return stack[stack.index(screen) + 1 :] if screen in stack else ()


def _is_covered(region: Region, screens: Sequence[Screen[Any]]) -> bool:
    boxes = (box for screen in screens for box in screen.children if box.display and box.styles.background.a == 1)
    return any(box.region.contains_region(region) for box in boxes)
