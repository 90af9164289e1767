"""Modules that are imported at their first use: `from r1tui.system.lazy import httpx2` at the top costs nothing."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__all__ = [
    "asyncio", "cmake", "httpcore2", "httpx2", "hub_constants", "hub_errors", "hub_utils", "huggingface_hub",
    "markdown_it", "ninja", "platformdirs", "psutil", "shutil", "urllib_request", "yaml",
]  # fmt: skip


class LazyModule:
    """Stands for a module, which is imported when something of it is used."""

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
    asyncio = LazyModule("asyncio")  # `r1tui status` needs none
    cmake = LazyModule("cmake")
    httpcore2 = LazyModule("httpcore2")
    httpx2 = LazyModule("httpx2")  # a quarter of a second
    hub_constants = LazyModule("huggingface_hub.constants")
    hub_errors = LazyModule("huggingface_hub.errors")
    hub_utils = LazyModule("huggingface_hub.utils")
    huggingface_hub = LazyModule("huggingface_hub")  # half a second
    markdown_it = LazyModule("markdown_it")
    ninja = LazyModule("ninja")
    platformdirs = LazyModule("platformdirs")  # a tenth of `r1tui status`
    psutil = LazyModule("psutil")  # on Linux, little needs it
    shutil = LazyModule("shutil")
    urllib_request = LazyModule("urllib.request")  # http.client, email
    yaml = LazyModule("yaml")
