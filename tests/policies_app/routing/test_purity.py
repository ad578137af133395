"""The core depends on its arguments alone, and is quick."""

import ast
import random
import socket
import time
import timeit
from pathlib import Path

import pytest

import policies_app.routing
from policies_app.routing.choose import choose
from policies_app.routing.compilation import compile_policy
from policies_app.routing.conditions import InputTokensBetween, TaskIs
from policies_app.routing.explain import explain
from policies_app.routing.verify import verify
from tests.policies_app.routing.builders import (
    CALM,
    FLEET,
    NOW,
    a_default,
    a_policy,
    a_route,
    a_rule,
    some_facts,
)

ALLOWED = {
    "bisect",
    "collections",
    "dataclasses",
    "datetime",
    "enum",
    "functools",
    "hashlib",
    "heapq",
    "itertools",
    "math",
    "operator",
    "types",
    "typing",
    "msgspec",
    "policies_app",
    "zoneinfo",
}


def long_policy(rules: int):
    """So many rules that do not match, and a default with three steps."""
    misses = [
        a_rule(f"rule-{n}", TaskIs(tasks=(f"task-{n}",)), InputTokensBetween(minimum=1))
        for n in range(rules - 1)
    ]
    return a_policy(*misses, a_default(a_route("small", "mid", "frontier")))


def test_a_decision_asks_neither_clock_nor_chance_nor_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **named: object) -> None:
        raise AssertionError("the routing core reached outside")

    document = long_policy(5)
    for module, names in ((time, ("time", "monotonic", "time_ns")), (random, ("random", "randrange"))):
        for name in names:
            monkeypatch.setattr(module, name, refuse)
    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr("builtins.open", refuse)

    compiled = compile_policy(document=document, version=1, catalogue=FLEET)
    decision = choose(document=compiled, facts=some_facts(), situation=CALM, now=NOW, seed=1)

    assert explain(decision=decision)
    assert [seen.rule for seen in decision.trace][-1] == "default"
    assert verify(document=document, catalogue=FLEET, now=NOW) == ()


MODULES = sorted(Path(policies_app.routing.__file__).parent.rglob("*.py"))


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_a_module_of_the_core_imports_what_is_pure(path: Path) -> None:
    imported = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            imported |= {name.name.split(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add((node.module or "").split(".")[0])
            is_own = not (node.module or "").startswith("policies_app") or (node.module or "").startswith(
                "policies_app.routing"
            )
            assert is_own, node.module

    assert imported <= ALLOWED


def test_deciding_grows_gently_with_the_number_of_rules() -> None:
    times_us = {}
    for rules in (1, 20, 200):
        compiled = compile_policy(document=long_policy(rules), version=1, catalogue=FLEET)
        facts = some_facts()

        def decide(compiled=compiled, facts=facts) -> None:
            choose(document=compiled, facts=facts, situation=CALM, now=NOW, seed=1)

        times_us[rules] = min(timeit.repeat(decide, number=200, repeat=15)) / 200 * 1e6

    print("µs a decision by number of rules:", {rules: round(us, 1) for rules, us in times_us.items()})
    # About 10, 11 and 12 µs at best; the bounds leave room for a busy one, not for another complexity.
    assert times_us[20] < 50
    assert times_us[200] < 150
