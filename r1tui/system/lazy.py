"""Modules that are imported at their first use: `from r1tui.system.lazy import httpx2` at the top costs nothing."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__all__ = [
    "asyncio", "cmake", "futures", "httpcore2", "httpx2", "hub_constants", "hub_errors", "hub_utils",
    "huggingface_hub", "logging", "markdown_it", "ninja", "platformdirs", "psutil", "shutil", "unicodedata",
    "urllib_parse", "urllib_request", "yaml",
]  # fmt: skip

if TYPE_CHECKING:
    import asyncio
    import logging
    import shutil
    import unicodedata
    import urllib.parse as urllib_parse
    import urllib.request as urllib_request
    from concurrent import futures

    import cmake
    import httpcore2
    import httpx2
    import huggingface_hub
    import markdown_it
    import ninja
    import platformdirs
    import psutil
    import yaml
    from huggingface_hub import constants as hub_constants
    from huggingface_hub import errors as hub_errors

    hub_utils: Any  # it does not declare what it exports

_FULL_NAMES = {
    "futures": "concurrent.futures",
    "hub_constants": "huggingface_hub.constants",
    "hub_errors": "huggingface_hub.errors",
    "hub_utils": "huggingface_hub.utils",
    "urllib_parse": "urllib.parse",
    "urllib_request": "urllib.request",
}


class LazyModule:
    """Stands for a module, which is imported when something of it is used."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        return getattr(import_module(self._name), name)


if not TYPE_CHECKING:

    def __getattr__(name: str) -> LazyModule:
        if name.startswith("__"):  # what `import` asks for itself
            raise AttributeError(name)
        return LazyModule(_FULL_NAMES.get(name, name))
