"""The order of modules: those that take long begin first, and those that share a gateway come together.

Workers take module after module from one queue. One that takes a minute and comes last would leave the other workers idle.
"""

from enum import IntEnum

import pytest

from tests.shared_gateway import fixtures_of


class Group(IntEnum):
    """Modules by what they start, the most expensive ones first."""

    OWN_PROCESSES = 0
    SHARED_GATEWAY = 1
    NOTHING = 2


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    modules: dict[object, list[pytest.Item]] = {}
    for item in items:
        modules.setdefault(item.path, []).append(item)
    items[:] = [item for module in sorted(modules.values(), key=_place) for item in module]


def _place(module: list[pytest.Item]) -> tuple[Group, bool]:
    return _group(module), not _has(module, "long")


def _group(module: list[pytest.Item]) -> Group:
    if any("shared_gateway" in fixtures_of(item) for item in module):
        return Group.SHARED_GATEWAY
    return Group.OWN_PROCESSES if _has(module, "processes") or _has(module, "browser") else Group.NOTHING


def _has(module: list[pytest.Item], marker: str) -> bool:
    return any(item.get_closest_marker(marker) for item in module)
