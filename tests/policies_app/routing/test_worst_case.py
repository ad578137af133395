"""The most that one dispatch of a route can take. The attempts are held against the strategies themselves in execution."""

from dataclasses import replace
from typing import Any

import pytest

from policies_app.routing.codes import Pick, Strategy
from policies_app.routing.document import RuleDocument, StepDocument
from policies_app.routing.types import Catalogue
from policies_app.routing.validators import JudgedAtLeast, NotRefused, SamplesAgree
from policies_app.routing.worst_case import RouteWorstCase, worst_case
from tests.policies_app.routing.builders import (
    FLEET,
    NOW,
    SMALL,
    a_default,
    a_judge,
    a_price,
    a_route,
    fleet_with,
)

JUDGE = a_judge(model="small", max_output_tokens=10, timeout_ms=700)
JUDGES = {(JUDGE.name, JUDGE.version): JUDGE}
SMALL_NANOS = 9_000 * 1_250 + 1_000 * 4_000
MID_NANOS = 2 * SMALL_NANOS
FRONTIER_NANOS = 5 * SMALL_NANOS
JUDGE_NANOS = 9_990 * 1_250 + 10 * 4_000
JUDGED = JudgedAtLeast(judge=JUDGE.reference, at_least=0.5)
TRIO = SamplesAgree(samples=3, at_least=2)


def worst(*steps: str | StepDocument, catalogue: Catalogue = FLEET, **route: Any) -> RouteWorstCase:
    rule = a_default(a_route(*steps, **{"max_attempts": 50} | route))
    return worst_case(rule=rule, catalogue=catalogue, judges=JUDGES, now=NOW)


def step(model: str, *validators: Any, **fields: Any) -> StepDocument:
    return StepDocument(model=model, validators=validators, **fields)


def cost_of(rule: RuleDocument, catalogue: Catalogue = FLEET) -> int:
    return worst_case(rule=rule, catalogue=catalogue, now=NOW).cost_nanos


def test_the_worst_case_fills_the_context_of_the_dearest_model_at_every_attempt() -> None:
    rule = a_default(a_route("small", "mid", deadline_ms=900, max_attempts=2))

    worst = worst_case(rule=rule, catalogue=FLEET, now=NOW)

    # mid: 9000 tokens at the cache-write price of 2.5 USD, 1000 of output at 8 USD per million.
    assert (worst.rule, worst.attempts, worst.duration_ms) == ("default", 2, 900)
    assert worst.cost_nanos == 2 * (9_000 * 2_500 + 1_000 * 8_000)


def test_the_worst_case_heeds_the_steps_own_output_limit() -> None:
    limited = a_default(a_route(StepDocument(model="mid", max_output_tokens=10), max_attempts=1))

    assert cost_of(limited) == 9_990 * 2_500 + 10 * 8_000


def test_the_worst_case_of_a_model_with_cheaper_output_is_all_input() -> None:
    inverted = replace(SMALL, prices=(a_price(1, output_nanos=0, reasoning_nanos=0),))

    assert cost_of(a_default(a_route(max_attempts=1)), fleet_with(inverted)) == 10_000 * 1_250


def test_a_route_that_can_call_nothing_costs_nothing() -> None:
    unpriced = fleet_with(replace(SMALL, prices=()))
    empty = worst_case(rule=a_default(replace(a_route(), steps=())), catalogue=FLEET, now=NOW)

    assert cost_of(a_default(a_route("gone", "small")), unpriced) == 0
    assert (empty.attempts, empty.cost_nanos) == (0, 0)


def test_more_attempts_than_the_route_can_come_to_are_not_counted() -> None:
    alone = worst("small", strategy=Strategy.SINGLE)

    assert (alone.attempts, alone.cost_nanos) == (2, 2 * SMALL_NANOS)


def test_samples_and_judges_of_a_cascade_are_paid_with_their_full_context() -> None:
    found = worst(step("mid", TRIO, JUDGED), "frontier", strategy=Strategy.CASCADE)

    # The last model may be asked once more after a fault.
    assert found.attempts == 3 + 1 + 1 + 1
    assert found.cost_nanos == 3 * MID_NANOS + JUDGE_NANOS + 2 * FRONTIER_NANOS


def test_validators_that_the_strategy_does_not_look_at_cost_nothing() -> None:
    assert worst(step("mid", TRIO, JUDGED), "small") == worst("mid", "small")


def test_a_judge_that_does_not_exist_is_not_asked() -> None:
    gone = JudgedAtLeast(judge=replace(JUDGE.reference, version=9), at_least=0.5)

    assert worst(step("mid", gone), "small", strategy=Strategy.CASCADE) == worst("mid", "small")


def test_all_racers_and_the_judge_that_picks_are_paid() -> None:
    route = {"strategy": Strategy.PARALLEL, "pick": Pick.JUDGE, "judge": JUDGE.reference}

    found = worst("small", "mid", "frontier", **route)

    assert found.attempts == 4
    assert found.cost_nanos == SMALL_NANOS + MID_NANOS + FRONTIER_NANOS + JUDGE_NANOS


def test_the_dearest_attempts_count_where_not_all_can_be_made() -> None:
    assert worst("small", "mid", "frontier", max_attempts=2).cost_nanos == 2 * FRONTIER_NANOS
    assert worst("small", "mid", "frontier", strategy=Strategy.PARALLEL, max_attempts=2).cost_nanos == (
        FRONTIER_NANOS + MID_NANOS
    )


def test_the_routes_own_bound_on_money_holds() -> None:
    assert worst("frontier", max_cost_nanos=5).cost_nanos == 5
    assert worst("frontier", max_attempts=1, max_cost_nanos=10**12).cost_nanos == FRONTIER_NANOS


@pytest.mark.parametrize(
    ("route", "duration_ms"),
    [
        pytest.param({"steps": ("small", step("mid", timeout_ms=10))}, 60_000, id="no timeout: the deadline"),
        pytest.param(
            {"steps": (step("small", timeout_ms=1_000), step("mid", timeout_ms=2_000))},
            1_000 + 2_000 + 10_000 + 2_000,
            id="one after the other, a pause, and the slowest again",
        ),
        pytest.param(
            {"steps": (step("small", timeout_ms=1_000), step("mid", timeout_ms=2_000)), "strategy": Strategy.PARALLEL},
            2_000,
            id="at once",
        ),
        pytest.param(
            {
                "steps": (step("small", timeout_ms=1_000), step("mid", TRIO, JUDGED, timeout_ms=2_000)),
                "strategy": Strategy.PARALLEL,
                "pick": Pick.JUDGE,
                "judge": JUDGE.reference,
            },
            2_000 + 2_000 + 700 + 700,
            id="samples at once, judges one after the other",
        ),
        pytest.param(
            {
                "steps": (
                    *(step(name, NotRefused(), timeout_ms=1_000) for name in ("small", "mid", "frontier")),
                    step("spare", timeout_ms=500),
                ),
                "strategy": Strategy.PARALLEL,
            },
            1_000 + 500 + 10_000 + 500,
            id="those that do not race, after those that do",
        ),
        pytest.param(
            {"steps": (step("small", timeout_ms=1_000),), "deadline_ms": 1_500}, 1_500, id="never past the deadline"
        ),
    ],
)  # fmt: skip
def test_the_longest_time_is_that_of_all_timeouts_within_the_deadline(
    route: dict[str, Any], duration_ms: int
) -> None:
    assert worst(*route.pop("steps"), **route).duration_ms == duration_ms
