"""What of a dispatch's cost its own strategy caused beside the answer, so that finance can credit it."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from dispatch_app.execution.errors import DispatchError, TruncatedError
from policies_app.routing.codes import Strategy
from policies_app.routing.validators import JudgedAtLeast, JudgeReference, NotRefused
from tests.dispatch_app.execution.acting_fleet import USAGE, Act
from tests.dispatch_app.execution.courses import JUDGE, Course, planned, target

COST = USAGE.input_tokens + USAGE.output_tokens
GOOD = Act(text="good")
REFUSED = Act(text="x", finish_reason="content_filter")
RATED = JudgedAtLeast(judge=JudgeReference(name=JUDGE.name, version=JUDGE.version), at_least=0.5)


def course(strategy: Strategy, first: Act, second: Act, *, validator: Any = None, **options: Any) -> Course:
    validators = () if validator is None else (validator,)
    return Course(
        strategy=strategy,
        targets=[target("a", *validators, number=1), target("b", number=2)],
        acts={"a": first, "b": second, "judge": Act(text="9")},
        **options,
    )


async def test_the_loser_of_a_hedge_is_waste() -> None:
    case = course(Strategy.HEDGED, Act(delay_s=5), GOOD, plan={"hedge_delay_ms": 20})

    await case.text()

    assert case.ledger.outcome.wasted_nanos == case.cost("a") > 0


async def test_answers_of_a_race_that_are_not_taken_are_waste() -> None:
    case = course(Strategy.PARALLEL, GOOD, Act(delay_s=5))

    await case.text()

    assert case.ledger.outcome.wasted_nanos == case.cost("b") > 0


async def test_an_answer_that_is_rejected_is_waste() -> None:
    case = course(Strategy.CASCADE, REFUSED, GOOD, validator=NotRefused())

    await case.text()

    assert case.ledger.outcome.wasted_nanos == COST


async def test_checks_and_the_answer_that_passes_them_are_none() -> None:
    case = course(Strategy.CASCADE, GOOD, GOOD, validator=RATED, plan={"judges": (planned(),)})

    await case.text()

    assert case.cost("judge") > 0
    assert case.ledger.outcome.wasted_nanos == 0


async def test_what_a_vendors_fault_costs_is_none() -> None:
    case = course(Strategy.FAILOVER, Act(error=TruncatedError(wire_status=200)), GOOD)

    await case.text()

    assert case.cost("a") > 0
    assert case.ledger.outcome.wasted_nanos == 0


@pytest.mark.parametrize(
    ("end", "is_waste"),
    [(lambda case: case.dispatch.shut_down(), True), (lambda case: case.sink.abandon(), False)],
    ids=["a stop", "a hang-up"],
)
async def test_what_a_stop_cuts_is_waste_and_what_a_client_leaves_is_none(
    end: Callable[[Course], None], is_waste: bool
) -> None:
    case = course(Strategy.FAILOVER, Act(text="01", pause_s=5), GOOD)
    asyncio.get_running_loop().call_later(0.03, end, case)

    with pytest.raises(DispatchError):
        await case.stream()

    assert case.ledger.outcome.wasted_nanos == (case.cost("a") if is_waste else 0)
    assert case.cost("a") > 0
