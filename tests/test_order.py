"""No circle of imports, those for types and inside functions counted; import-linter checks the layers."""

from graphlib import CycleError, TopologicalSorter

import grimp
import pytest


@pytest.fixture(scope="module")
def imports() -> dict[str, set[str]]:
    """What each module imports."""
    graph = grimp.build_graph("r1tui", exclude_type_checking_imports=False, cache_dir=None)
    return {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}


def circle(imports: dict[str, set[str]]) -> list[str]:
    """Modules that know each other in a circle; empty where there are none."""
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        found: list[str] = error.args[1]
        return found
    return []


def test_the_core_has_no_circle(imports: dict[str, set[str]]) -> None:
    core = {module: known for module, known in imports.items() if not module.startswith("r1tui.tui")}
    assert len(core) > 150
    assert circle(core) == []
    client, below = "r1tui.supervisor.client", "r1tui.supervisor.protocol"
    assert below in core[client]
    assert set(circle(core | {below: core[below] | {client}})) >= {client, below}


def test_the_package_has_no_circle(imports: dict[str, set[str]]) -> None:
    assert circle(imports) == []
