"""Requests that are made to fit what is left of a budget. A token costs a nano-dollar; the prompt has 100, and 50 are asked for."""

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from dispatch_app.execution.errors import DispatchError, ErrorCode, ServerFailedError
from dispatch_app.execution.shrinking import Room, shrunk
from policies_app.routing.codes import Strategy
from tests.dispatch_app.execution.acting_fleet import Act
from tests.dispatch_app.execution.courses import Course, target
from tests.dispatch_app.execution.in_memory_ledger import InMemoryLedger
from tests.dispatch_app.routing_values import make_facts


def room(left_nanos: int, least: int = 1) -> Room:
    return Room(left_nanos=left_nanos, least_output_tokens=least)


def course(*told: int, left_nanos: int, least: int = 1, **options: Any) -> Course:
    """The ledger has `left_nanos`; what is told of it is as in `told`, one figure after the other, the last for good."""
    figures = list(told)
    return Course(
        **{
            "strategy": Strategy.FAILOVER,
            "targets": [target("a")],
            "acts": {"a": Act()},
            "ledger": InMemoryLedger(limit_nanos=left_nanos),
            "rooms": lambda: [room(figures.pop(0) if len(figures) > 1 else figures[0], least)],
        }
        | options
    )


def limits(case: Course) -> list[int]:
    return [call.candidate.output_tokens_limit for call in case.fleet.calls]


async def test_a_request_is_made_to_fit_what_is_left() -> None:
    case = course(130, left_nanos=130)

    await case.complete()

    assert limits(case) == [30]
    assert [attempt.reserved_nanos for attempt in case.ledger.attempts] == [130]
    assert case.dispatch.progress.candidate is not None
    assert case.dispatch.progress.candidate.is_shrunk


async def test_what_fits_is_asked_as_it_is() -> None:
    case = course(150, left_nanos=150)

    await case.complete()

    assert limits(case) == [50]
    assert case.dispatch.progress.candidate is not None
    assert not case.dispatch.progress.candidate.is_shrunk


async def test_what_others_took_in_the_meantime_is_left_out_of_the_next_try() -> None:
    case = course(200, 140, 120, left_nanos=120)

    await case.complete()

    assert limits(case) == [20]


@pytest.mark.parametrize("told", [[119], [500, 119], [100], [0], [-5]])
async def test_an_answer_too_short_to_be_of_use_is_refused(told: list[int]) -> None:
    case = course(*told, left_nanos=min(told), least=20)

    with pytest.raises(DispatchError) as refused:
        await case.complete()

    assert refused.value.code is ErrorCode.INSUFFICIENT_QUOTA
    assert case.fleet.asked == []
    assert case.ledger.attempts == []


async def test_what_a_refused_request_asked_of_the_route_is_given_back() -> None:
    broken = Act(error=ServerFailedError(wire_status=500, is_billable=False))
    targets = [target("a"), target("b", number=2)]
    case = course(
        200,
        130,
        left_nanos=130,
        targets=targets,
        acts={"a": broken, "b": Act()},
        plan={"max_cost_nanos": 150},
    )

    await case.complete()

    assert case.fleet.asked == ["a", "b"]


def test_of_several_budgets_the_one_with_least_left_decides() -> None:
    candidate, facts = target("a"), make_facts()

    fitted = shrunk(candidate, facts=facts, rooms=[room(140), room(120), room(130)])

    assert fitted is not None
    assert (fitted.output_tokens_limit, fitted.bound_nanos) == (20, 120)
    assert shrunk(candidate, facts=facts, rooms=[room(140), room(120, least=21)]) is None


def test_what_costs_nothing_fits_an_overdrawn_budget() -> None:
    free = target("a", cost=0)

    assert shrunk(free, facts=make_facts(), rooms=[room(-1)]) is free


def test_an_answer_that_costs_nothing_is_not_shortened_for_a_prompt_that_does() -> None:
    candidate = target("a")
    price = replace(candidate.price, output_nanos=0, reasoning_nanos=0)
    candidate = msgspec.structs.replace(candidate, price=price, bound_nanos=100)

    assert shrunk(candidate, facts=make_facts(), rooms=[room(99)]) is None
