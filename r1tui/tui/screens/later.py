"""The screens over the chat, each imported when it is first wanted: the chat opens without them."""

from typing import TYPE_CHECKING

from r1tui.system.lazy import LazyModule

__all__ = ["conversations", "dialogs", "download", "log", "models", "overlays", "sampling", "unsaved"]

if TYPE_CHECKING:
    from r1tui.tui.screens import conversations, dialogs, download, log, models, overlays, sampling, unsaved
else:
    for _name in __all__:
        globals()[_name] = LazyModule(f"r1tui.tui.screens.{_name}")
