"""The screens over the chat, imported when the first of a kind is wanted: the chat opens without them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from r1tui.tui.screens.dialogs import Dialogs
    from r1tui.tui.screens.model_dialogs import ModelDialogs


def dialogs() -> type[Dialogs]:
    """The screens over the chat."""
    from r1tui.tui.screens.dialogs import Dialogs  # noqa: PLC0415

    return Dialogs


def model_dialogs() -> type[ModelDialogs]:
    """Those to choose and fetch models, with planner and hub."""
    from r1tui.tui.screens.model_dialogs import ModelDialogs  # noqa: PLC0415

    return ModelDialogs
