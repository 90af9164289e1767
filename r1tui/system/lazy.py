"""Modules that are imported at their first use: `from r1tui.system.lazy import httpx2` at the top costs nothing."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__all__ = [
    "asyncio", "cmake", "httpcore2", "httpx2", "hub_constants", "hub_errors", "hub_utils", "huggingface_hub",
    "markdown_it", "ninja", "platformdirs", "psutil", "shutil", "urllib_request", "yaml",
]  # fmt: skip


class _Lazy:
    """Stands for a module."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        return getattr(import_module(self._name), name)


if TYPE_CHECKING:
    import asyncio
    import shutil
    import urllib.request as urllib_request

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
else:
    asyncio = _Lazy("asyncio")  # `r1tui status` needs none
    cmake = _Lazy("cmake")
    httpcore2 = _Lazy("httpcore2")
    httpx2 = _Lazy("httpx2")  # a quarter of a second
    hub_constants = _Lazy("huggingface_hub.constants")
    hub_errors = _Lazy("huggingface_hub.errors")
    hub_utils = _Lazy("huggingface_hub.utils")
    huggingface_hub = _Lazy("huggingface_hub")  # half a second
    markdown_it = _Lazy("markdown_it")
    ninja = _Lazy("ninja")
    platformdirs = _Lazy("platformdirs")  # a tenth of `r1tui status`
    psutil = _Lazy("psutil")  # on Linux, little needs it
    shutil = _Lazy("shutil")
    urllib_request = _Lazy("urllib.request")  # http.client, email
    yaml = _Lazy("yaml")
