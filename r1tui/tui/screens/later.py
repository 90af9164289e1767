"""What is imported after the first screen, for its sake: each wave of it when the first of it is wanted."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from r1tui.tui.screens.dialogs import Dialogs
    from r1tui.tui.screens.model_dialogs import ModelDialogs
    from r1tui.tui.screens.second_wave import SecondWave


def second_wave() -> type[SecondWave]:
    """What the whole chat needs."""
    from r1tui.tui.screens.second_wave import SecondWave  # noqa: PLC0415

    return SecondWave


def dialogs() -> type[Dialogs]:
    """The screens over the chat."""
    from r1tui.tui.screens.dialogs import Dialogs  # noqa: PLC0415

    return Dialogs


def model_dialogs() -> type[ModelDialogs]:
    """Those to choose and fetch models, with planner and hub."""
    from r1tui.tui.screens.model_dialogs import ModelDialogs  # noqa: PLC0415

    return ModelDialogs
