"""The Python packages that r1tui is made of, as its own metadata lists them."""

import importlib.metadata
import re


def missing_packages() -> list[str]:
    """The requirements that are not met in this environment; empty where r1tui runs without being installed."""
    try:
        wanted = importlib.metadata.requires("r1tui") or []
    except importlib.metadata.PackageNotFoundError:
        return []
    return [one for one in wanted if not _is_met(one)]


def _is_met(requirement: str) -> bool:
    try:
        from packaging.requirements import InvalidRequirement, Requirement  # noqa: PLC0415  missing too, perhaps
    except ImportError:
        return _is_there(re.split(r"[^\w.-]", requirement, maxsplit=1)[0]) or "extra" in requirement.partition(";")[2]
    try:
        parsed = Requirement(requirement)
    except InvalidRequirement:
        return True
    if parsed.marker is not None and not parsed.marker.evaluate({"extra": ""}):
        return True
    try:
        return parsed.specifier.contains(importlib.metadata.version(parsed.name), prereleases=True)
    except importlib.metadata.PackageNotFoundError:
        return False


def _is_there(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
