"""The index finds what a walk over all rules would find."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies_app.routing.codes import Capability, LatencyMeasure, StickyBy
from policies_app.routing.conditions import (
    Condition,
    InputTokensBetween,
    LatencyAbove,
    NeedsAll,
    OutputTokensBetween,
    ShareOf,
    TagsMatch,
    TaskIs,
    TenantIs,
)
from policies_app.routing.index import index_rules
from policies_app.routing.types import Facts, Situation
from tests.policies_app.routing.builders import CALM, NOW, some_facts
from tests.policies_app.routing.strategies import conditions, facts, situations

rules_of_conditions = st.lists(st.lists(conditions, max_size=4).map(tuple), max_size=12)


def walk(rules: list[tuple[Condition, ...]], request: Facts, situation: Situation) -> list[int]:
    return [
        place
        for place, stated in enumerate(rules)
        if all(condition.holds(request, situation, NOW) for condition in stated)
    ]


def matches(
    rules: list[tuple[Condition, ...]], request: Facts | None = None, situation: Situation = CALM
) -> list[int]:
    return list(index_rules(rules).sift(request or some_facts(), situation, NOW).matches())


def first_failures(rules: list[tuple[Condition, ...]], request: Facts, situation: Situation) -> list[str]:
    return [
        next((stated.kind for stated in each if not stated.holds(request, situation, NOW)), "")
        for each in rules
    ]


@settings(max_examples=300, deadline=None)
@given(
    rules_of_conditions, st.lists(st.tuples(facts, situations), min_size=1, max_size=3), st.integers(0, 12)
)
def test_the_index_tells_of_one_request_after_the_other_what_a_walk_tells(
    rules: list[tuple[Condition, ...]], met: list[tuple[Facts, Situation]], length: int
) -> None:
    index = index_rules(rules)

    for request, situation in met:
        sifting = index.sift(request, situation, NOW)
        assert list(sifting.matches()) == walk(rules, request, situation)
        assert (
            sifting.failed_kinds(min(length, len(rules)))
            == first_failures(rules, request, situation)[:length]
        )


@settings(max_examples=200, deadline=None)
@given(rules_of_conditions, situations, st.data())
def test_the_index_finds_them_for_figures_at_the_bounds_too(
    rules: list[tuple[Condition, ...]], situation: Situation, data: st.DataObject
) -> None:
    stated = [condition for each in rules for condition in each]
    ranges = [each for each in stated if isinstance(each, InputTokensBetween | OutputTokensBetween)]
    ends = {end for each in ranges for end in (each.minimum, each.maximum) if end is not None} or {0}
    figures = st.sampled_from(sorted(ends)).flatmap(lambda end: st.sampled_from((end - 1, end, end + 1)))
    request = replace(
        data.draw(facts), input_tokens=data.draw(figures), output_tokens=data.draw(st.none() | figures)
    )

    assert matches(rules, request, situation) == walk(rules, request, situation)


@pytest.mark.parametrize(
    ("rules", "found"),
    [
        ([], []),
        ([()], [0]),
        ([(TaskIs(tasks=("code",)),), (TaskIs(tasks=("support",)),), ()], [1, 2]),
        ([(TaskIs(tasks=("a", "support")), TaskIs(tasks=("support", "b")))], [0]),
        ([(TaskIs(tasks=("a", "support")), TaskIs(tasks=("a", "b")))], []),
        ([(TaskIs(tasks=("a",)), TaskIs(tasks=("support",)), TaskIs(tasks=("support",)))], []),
        ([(TaskIs(tasks=("support",)), TenantIs(tenants=("globex",)))], []),
        ([(TagsMatch(tags={"plan": ("pro",)}), TagsMatch(tags={"area": ("eu",)}))], []),
        ([(TagsMatch(tags={"plan": ("pro",)}), TagsMatch(tags={"area": ("eu",), "plan": ("pro",)}))], []),
        ([(InputTokensBetween(minimum=100),), (InputTokensBetween(maximum=100),)], [0, 1]),
        ([(InputTokensBetween(minimum=90), InputTokensBetween(maximum=80))], []),
        ([(OutputTokensBetween(minimum=0),)], []),
        ([(NeedsAll(capabilities=(Capability.TOOLS,)),), ()], [1]),
    ],
)  # fmt: skip
def test_rules_are_found_by_facts(rules: list[tuple[Condition, ...]], found: list[int]) -> None:
    assert matches(rules) == found


def test_equal_conditions_of_many_rules_are_tried_once(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = LatencyAbove(model="small", measure=LatencyMeasure.TOTAL, percentile=99, above_ms=9)
    everybody = ShareOf(name="all", percent=100, sticky_by=StickyBy.TENANT)
    tried = []
    for kind, name in ((LatencyAbove, "holds"), (ShareOf, "figure")):
        looked_at = getattr(kind, name)

        def counted(self: Condition, *met: object, looked_at: object = looked_at) -> object:
            tried.append(self.kind)
            return looked_at(self, *met)

        monkeypatch.setattr(kind, name, counted)

    smaller = replace(everybody, percent=50)
    rules = [(everybody, slow)] * 50 + [(smaller, slow), (everybody,)]
    sifting = index_rules(rules).sift(some_facts(), CALM, NOW)

    assert list(sifting.matches()) == [51]
    assert sifting.failed_kinds(51)[:50] == ["latency"] * 50
    assert sorted(tried) == ["latency", "share"]
