"""Pages of a list that has no rows: Textual 8.2.8 looks for one, and ends, in a terminal of one or two rows."""

from typing import Any

from textual.widgets import OptionList

_move_page = OptionList._move_page


def _move_where_seen(options: OptionList, direction: Any) -> None:
    if options.scrollable_content_region:
        _move_page(options, direction)


def guard_pages() -> None:
    """Have every list stay where it is while none of it is seen; those of Textual's own palette too."""
    OptionList._move_page = _move_where_seen  # type: ignore[assignment, method-assign]
