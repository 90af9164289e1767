"""Prints what the measurement imports, pinned, for `pip download`: `python -m tests.gpu.needs [WITHOUT …]`."""

import sys
from importlib.metadata import packages_distributions, requires, version

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import tests.gpu.__main__
import tests.random_r1  # noqa: F401

BUILDERS = {"cmake", "ninja", "pip", "setuptools"}


def needed(without: list[str]) -> list[str]:
    """NAME==VERSION of each distribution that is imported and of what it requires."""
    owners = packages_distributions()
    loaded = {owner for name in list(sys.modules) for owner in owners.get(name.partition(".")[0], [])}
    left, found = [*loaded, "r1tui"], set[str]()
    while left:
        name = str(canonicalize_name(left.pop()))
        if name in BUILDERS or name in without or name in found:
            continue
        found.add(name)
        wanted = [Requirement(text) for text in requires(name) or []]
        left += [one.name for one in wanted if one.marker is None or one.marker.evaluate({"extra": ""})]
    return [f"{name}=={version(name)}" for name in sorted(found - {"r1tui"})]


if __name__ == "__main__":
    print("\n".join(needed(sys.argv[1:])))
