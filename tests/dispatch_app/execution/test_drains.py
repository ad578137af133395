"""What becomes of an answer whose client hangs up, where the rule has it read on."""

import asyncio
from typing import Any

import pytest

from dispatch_app.execution.drains import Drains
from dispatch_app.execution.errors import DispatchError
from policies_app.routing.codes import DispatchStatus, FaultClass, Strategy
from policies_app.routing.types import Usage
from policies_app.routing.validators import NotRefused
from tests.dispatch_app.execution.acting_fleet import USAGE, Act
from tests.dispatch_app.execution.courses import Course, target
from tests.dispatch_app.routing_values import make_candidate

COST = USAGE.input_tokens + USAGE.output_tokens
SLOW = Act(text="0123456789", pieces=10, pause_s=0.01)
LEAVES_S = 0.03


def course(
    *acts: Act, strategy: Strategy = Strategy.FAILOVER, drain_ms: int | None = 5_000, **options: Any
) -> Course:
    names = ("small", "mid")[: len(acts)]
    targets = [
        make_candidate(name, number=number, bills_after_cut=True)
        for number, name in enumerate(names, start=1)
    ]
    plan = {"drain_ms": drain_ms, **options.pop("plan", {})}
    return Course(
        strategy=strategy,
        targets=options.pop("targets", targets),
        acts=dict(zip(names, acts, strict=True)),
        plan=plan,
        **options,
    )


async def hung_up(case: Course) -> None:
    asyncio.get_running_loop().call_later(LEAVES_S, case.sink.abandon)
    await case.stream()


async def hung_up_in_vain(case: Course) -> None:
    with pytest.raises(DispatchError):
        await hung_up(case)


@pytest.mark.parametrize(("usage", "cost"), [(USAGE, COST), (Usage(), 0)], ids=["usage", "an explicit zero"])
async def test_an_answer_that_is_read_on_costs_what_the_vendor_counts_in_the_end(
    usage: Usage, cost: int
) -> None:
    case = course(Act(text="0123456789", pieces=10, pause_s=0.01, usage=usage))

    await hung_up(case)

    (settlement,) = case.ledger.settlements
    assert (settlement.cost_nanos, settlement.estimated, settlement.fault) == (cost, False, None)
    assert case.ledger.outcome.status is DispatchStatus.CLIENT_DISCONNECTED
    assert case.fleet.stopped == []


async def test_without_leave_it_is_cut_at_once_and_costs_what_was_reserved() -> None:
    case = course(SLOW, drain_ms=None)

    await hung_up_in_vain(case)

    (settlement,) = case.ledger.settlements
    assert (settlement.cost_nanos, settlement.fault) == (
        case.targets[0].bound_nanos,
        FaultClass.CLIENT_DISCONNECTED,
    )
    assert case.fleet.stopped == ["small"]


async def test_an_answer_is_read_on_for_so_long_and_no_longer() -> None:
    case = course(Act(text="01", pause_s=30.0), drain_ms=50)

    async with asyncio.timeout(5):
        await hung_up_in_vain(case)

    assert case.ledger.settlements[0].cost_nanos == case.targets[0].bound_nanos
    assert case.ledger.outcome.status is DispatchStatus.CLIENT_DISCONNECTED
    assert case.fleet.stopped == ["small"]


async def test_nothing_more_is_asked_for_a_client_that_hung_up() -> None:
    refused = Act(text="x", pause_s=0.1, finish_reason="content_filter")
    targets = [target("small", NotRefused(), number=1), target("mid", number=2)]
    case = course(refused, Act(), strategy=Strategy.CASCADE, targets=targets)

    await hung_up_in_vain(case)

    assert case.fleet.asked == ["small"]


async def test_a_process_reads_on_only_so_many_answers_at_once() -> None:
    drains = Drains(most=1)
    first, second, third = (course(SLOW, drains=drains) for _ in range(3))

    await asyncio.gather(hung_up(first), hung_up_in_vain(second))
    await hung_up(third)

    assert second.fleet.stopped == ["small"]
    assert (first.ledger.settlements[0].cost_nanos, third.ledger.settlements[0].cost_nanos) == (COST, COST)


async def test_what_is_read_on_is_cut_when_the_process_ends() -> None:
    case = course(Act(text="01", pause_s=30.0))

    def end() -> None:
        case.dispatch.shut_down()

    asyncio.get_running_loop().call_later(2 * LEAVES_S, end)

    async with asyncio.timeout(5):
        await hung_up_in_vain(case)

    assert case.ledger.settlements[0].fault is FaultClass.SHUT_DOWN


async def test_a_plain_dispatch_that_is_hedged_is_read_on_too() -> None:
    case = course(SLOW, SLOW, strategy=Strategy.HEDGED, plan={"hedge_delay_ms": 10_000})

    def leave() -> None:
        case.dispatch.hang_up()

    asyncio.get_running_loop().call_later(LEAVES_S, leave)

    await case.complete()

    assert case.ledger.settlements[0].cost_nanos == COST
    assert case.ledger.outcome.status is DispatchStatus.CLIENT_DISCONNECTED
