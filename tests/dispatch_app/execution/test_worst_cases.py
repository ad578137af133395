"""The worst case that `verify` states of a route is what its strategy can come to, and no more."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import pytest

from dispatch_app.execution import onward
from dispatch_app.execution.errors import DispatchError, ServerFailedError
from policies_app.routing import worst_case
from policies_app.routing.codes import Pick, Strategy
from policies_app.routing.document import RouteDocument, RuleDocument, StepDocument
from policies_app.routing.validators import JudgedAtLeast, SamplesAgree
from tests.dispatch_app.execution.acting_fleet import Act
from tests.dispatch_app.execution.courses import JUDGE, Course, planned, target
from tests.policies_app.routing.builders import NOW

DOWN = Act(error=ServerFailedError(wire_status=503, is_billable=False))
FINE = Act(text="Four.")
STRICT = Act(text="0")
PAIR = SamplesAgree(samples=2, at_least=2)
TRIO = SamplesAgree(samples=3, at_least=2)
JUDGED = JudgedAtLeast(judge=JUDGE.reference, at_least=0.7)
BY_JUDGE = {"pick": Pick.JUDGE, "judge": JUDGE.reference}


def steps(*stated: str | StepDocument) -> tuple[StepDocument, ...]:
    return tuple(step if isinstance(step, StepDocument) else StepDocument(model=step) for step in stated)


def stated_attempts(route: RouteDocument) -> int:
    models = [target(step.model).model for step in route.steps] + [planned().model]
    rule = RuleDocument(name="default", is_default=True, route=route)
    return worst_case.worst_case(
        rule=rule,
        catalogue={model.name: model for model in models},
        judges={(JUDGE.name, JUDGE.version): JUDGE},
        now=NOW,
    ).attempts


@pytest.mark.parametrize(
    ("strategy", "stated", "acts", "plan", "attempts"),
    [
        pytest.param(Strategy.SINGLE, steps("a"), {"a": DOWN}, {}, 2, id="single: once more"),
        pytest.param(
            Strategy.FAILOVER,
            steps("a", "b", "c"),
            {"a": DOWN, "b": DOWN, "c": DOWN},
            {},
            4,
            id="failover: the last one once more",
        ),
        pytest.param(
            Strategy.CASCADE,
            steps(
                StepDocument(model="a", validators=(TRIO, JUDGED)), StepDocument(model="b", validators=(JUDGED,))
            ),
            {"a": FINE, "b": [DOWN, FINE], "judge": STRICT},
            {},
            7,
            id="cascade: samples and judges, and the last one once more",
        ),
        pytest.param(
            Strategy.PARALLEL,
            steps(StepDocument(model="a", validators=(PAIR,)), "b", "c"),
            {"a": FINE, "b": FINE, "c": FINE, "judge": Act(text="A")},
            BY_JUDGE,
            5,
            id="parallel: all answer and a judge picks",
        ),
        pytest.param(
            Strategy.PARALLEL,
            steps("a", "b", "c", "d", "e"),
            dict.fromkeys("abcde", DOWN),
            {},
            6,
            id="parallel: all fail, and the others are asked in order",
        ),
        pytest.param(
            Strategy.HEDGED,
            steps("a", "b", "c"),
            {"a": Act(delay_s=0.05, error=DOWN.error), "b": DOWN, "c": DOWN},
            {"hedge_delay_ms": 10},
            4,
            id="hedged: all fail",
        ),
    ],
)  # fmt: skip
async def test_a_strategy_comes_to_the_attempts_that_are_stated_and_to_no_more(
    strategy: Strategy,
    stated: Sequence[StepDocument],
    acts: dict[str, Act],
    plan: dict[str, Any],
    attempts: int,
) -> None:
    course = Course(
        strategy=strategy,
        targets=[
            target(step.model, *step.validators, number=number) for number, step in enumerate(stated, start=1)
        ],
        acts=acts,
        plan={"judges": (planned(),), **plan},
        max_attempts=20,
        retries=20,
    )
    route = RouteDocument(strategy=strategy, steps=tuple(stated), max_attempts=20, **plan)

    with suppress(DispatchError):
        await course.complete()

    assert (len(course.fleet.calls), stated_attempts(route)) == (attempts, attempts)


def test_the_core_and_the_strategies_go_by_the_same_figures() -> None:
    assert worst_case.LONGEST_RETRY_WAIT_MS == 1_000 * onward.MOST_WAIT_S
