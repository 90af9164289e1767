"""NVML's Python module, held at arm's length: nothing but NvmlError leaves it.

Drivers and bindings raise anything: WSL2's driver 555 a UnicodeDecodeError for a name.
"""

from importlib import import_module
from typing import Any

from r1tui.errors import R1tuiError
from r1tui.machine.driver_values import text_line, whole_number


class NvmlError(R1tuiError):
    """NVML is missing or failed."""


class BrokenBindingError(NvmlError):
    """Not the driver's word: its Python module raised what it should not."""


class Binding:
    """The driver's library, opened; nothing of it raises anything but NvmlError."""

    def __init__(self) -> None:
        try:
            self._nvml: Any = import_module("pynvml")
        except ImportError as error:
            raise NvmlError(f"the NVML module is missing ({error})") from error
        except Exception as error:
            raise NvmlError(f"the NVML module is broken ({_words(error)})") from error
        self.call("nvmlInit")

    def call(self, name: str, *arguments: Any) -> Any:
        """The call's answer; None for what driver, card or binding do not have. Raises NvmlError."""
        try:
            return getattr(self._nvml, name)(*arguments)
        except Exception as error:
            if self._is(error, "NVMLError_NotSupported") or str(error) == "Not Supported":
                return None
            if self._is(error, "NVMLError"):
                raise NvmlError(_words(error)) from error
            raise BrokenBindingError(f"NVML failed ({_words(error)})") from error

    def ask(self, name: str, *arguments: Any) -> Any:
        """The call's answer, or None whatever was wrong with it."""
        try:
            return self.call(name, *arguments)
        except NvmlError:
            return None

    def number(self, name: str, *arguments: Any) -> int | None:
        """The call's answer where it is a number."""
        return whole_number(self.ask(name, *arguments))

    def constant(self, name: str) -> Any:
        """A constant of the binding; None when it has none of that name."""
        return getattr(self._nvml, name, None)

    def memory(self, handle: Any) -> Any:
        """The card's memory; `used` is without what the driver keeps for itself, where the driver tells that."""
        version = self.constant("nvmlMemory_v2")
        found = None if version is None else self.ask("nvmlDeviceGetMemoryInfo", handle, version)
        found = self.call("nvmlDeviceGetMemoryInfo", handle) if found is None else found
        said = [getattr(found, name) for name in ("total", "free", "used") if hasattr(found, name)]
        if None in map(whole_number, said):
            raise BrokenBindingError("NVML failed (its memory is no number)")
        return found

    def name(self, handle: Any) -> str:
        """The card's name, or one for all of them."""
        return text_line(self.ask("nvmlDeviceGetName", handle)) or "NVIDIA GPU"

    def process_name(self, pid: int) -> str:
        """The name of the program's file; empty where the driver does not say."""
        given = self.ask("nvmlSystemGetProcessName", pid)
        return text_line(given).rpartition("/")[2] if isinstance(given, str | bytes) else ""

    def pci_bus_id(self, handle: Any) -> str:
        """PCI address such as `0000:65:00.0`; empty if the driver does not report it."""
        given = text_line(getattr(self.ask("nvmlDeviceGetPciInfo", handle), "busId", ""))
        domain, colon, rest = given.lower().partition(":")
        return f"{domain[-4:]:0>4}:{rest}" if colon else ""

    def close(self) -> None:
        self.ask("nvmlShutdown")

    def _is(self, error: Exception, name: str) -> bool:
        kind = self.constant(name)
        return isinstance(kind, type) and isinstance(error, kind)


def format_error(error: Exception) -> str:
    return error.cause if isinstance(error, NvmlError) else f"NVML failed ({_words(error)})"


def _words(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
