"""What servers call their models: in lists of whatever shape, and as paths of whatever system."""

import re
from collections.abc import Sequence
from pathlib import PurePosixPath, PureWindowsPath

_WINDOWS = re.compile(r"[A-Za-z]:[\\/]|\\\\")
_FULL_PATH = re.compile(f"/|{_WINDOWS.pattern}")


def model_title(name: str) -> str:
    """A model's name; of one that is a file's path, without folders and ending, on whichever system the server runs."""
    is_gguf = name.lower().endswith(".gguf")
    if not is_gguf and not _FULL_PATH.match(name):
        return name
    is_windows = _WINDOWS.match(name) or "/" not in name
    path = PureWindowsPath(name) if is_windows else PurePosixPath(name)
    return path.stem if is_gguf else path.name


def names_of(model: object) -> list[str]:
    """The names of a list's entry, with the one to ask for first; empty where it has none."""
    said = [model.get(key) for key in ("id", "model", "name")] if isinstance(model, dict) else [model]
    aliases = model.get("aliases") if isinstance(model, dict) else None
    every = [*said, *(aliases if isinstance(aliases, list) else [])]
    return [name for name in every if isinstance(name, str) and name]


def only_model(listed: Sequence[object]) -> frozenset[str]:
    """All names of the model of a llama-server that answers with this one whatever it is asked for; empty elsewhere."""
    only = listed[0] if len(listed) == 1 else None
    if not isinstance(only, dict) or only.get("owned_by") != "llamacpp" or "status" in only:  # a router has that
        return frozenset()
    return frozenset(title for name in names_of(only) for title in (name, model_title(name)))
