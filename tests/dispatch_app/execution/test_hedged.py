"""Hedged: a second target only when the first is silent for too long."""

import asyncio
from dataclasses import dataclass

import pytest

from dispatch_app.execution.errors import (
    DispatchError,
    RequestRejectedError,
    ServerFailedError,
    TruncatedError,
)
from dispatch_app.execution.ports import RateLimitReachedError
from policies_app.routing.codes import AttemptRole, DispatchStatus, FaultClass, Strategy
from policies_app.routing.types import Candidate, Facts
from tests.dispatch_app.execution.acting_fleet import Act
from tests.dispatch_app.execution.courses import Course, target

FAILED = Act(error=ServerFailedError(wire_status=500, is_billable=False))
DELAY_MS = 40


@dataclass(frozen=True, kw_only=True)
class SlowRefusals:
    """Implements `ModelRates`: one model's limit is reached, which takes a while to know."""

    model: str

    async def take(self, candidate: Candidate, facts: Facts) -> None:
        if candidate.model.name == self.model:
            await asyncio.sleep(0.05)
            raise RateLimitReachedError(1)


def hedged(a: Act, b: Act, c: Act = FAILED, **options: object) -> Course:
    options.setdefault("plan", {"hedge_delay_ms": DELAY_MS})
    return Course(
        strategy=Strategy.HEDGED,
        targets=[target(name, number=number) for number, name in enumerate("abc", start=1)],
        acts={"a": a, "b": b, "c": c},
        **options,
    )


@pytest.mark.parametrize("is_streamed", [False, True], ids=["plain", "stream"])
async def test_a_first_target_that_answers_in_time_is_the_only_one(is_streamed: bool) -> None:
    case = hedged(Act(text="one", pieces=3, pause_s=0.03), Act(text="two"))

    text = await (case.streamed_text() if is_streamed else case.text())

    assert text == "one"
    assert case.story == [("a", AttemptRole.PRIMARY)]


@pytest.mark.parametrize("is_streamed", [False, True], ids=["plain", "stream"])
async def test_a_silent_first_target_is_overtaken_stopped_and_charged(is_streamed: bool) -> None:
    case = hedged(Act(text="one", delay_s=5), Act(text="two"))

    text = await (case.streamed_text() if is_streamed else case.text())

    assert text == "two"
    assert case.story == [("a", AttemptRole.PRIMARY), ("b", AttemptRole.HEDGE)]
    assert case.fleet.stopped == ["a"]
    assert (case.cost("a"), case.cost("b")) == (100, 15)
    assert case.ledger.outcome.answered_by == 2
    assert case.dispatch.progress.model_name == "b"
    assert dict(case.health.faults) == {"a": FaultClass.SUPERSEDED, "b": None}


@pytest.mark.parametrize("is_streamed", [False, True], ids=["plain", "stream"])
async def test_the_first_byte_wins_also_if_it_is_the_first_targets(is_streamed: bool) -> None:
    case = hedged(Act(text="one", delay_s=0.08), Act(text="two", delay_s=5))

    text = await (case.streamed_text() if is_streamed else case.text())

    assert text == "one"
    assert case.fleet.stopped == ["b"]
    assert case.dispatch.progress.model_name == "a"


async def test_nothing_of_the_loser_reaches_the_client() -> None:
    case = hedged(
        Act(text="one one one", delay_s=0.15, pieces=4, pause_s=0.01),
        Act(text="two two two", delay_s=0.02, pieces=4, pause_s=0.05),
    )

    assert await case.streamed_text() == "two two two"


async def test_a_first_target_that_fails_early_is_no_reason_to_hedge() -> None:
    case = hedged(FAILED, Act(text="two"))

    assert await case.text() == "two"
    assert case.story == [("a", AttemptRole.PRIMARY), ("b", AttemptRole.FALLBACK)]


async def test_if_both_fail_the_others_are_asked() -> None:
    case = hedged(Act(delay_s=0.06, error=TruncatedError()), FAILED, Act(text="three"))

    assert await case.text() == "three"
    assert [role for _, role in case.story] == [
        AttemptRole.PRIMARY,
        AttemptRole.HEDGE,
        AttemptRole.FALLBACK,
    ]


async def test_a_winner_that_breaks_off_before_the_client_saw_it_is_followed_by_the_others() -> None:
    case = hedged(Act(delay_s=5), Act(text="two", error=TruncatedError(), breaks_after=1), Act(text="three"))

    assert await case.text() == "three"


async def test_a_winner_that_breaks_off_in_front_of_the_client_ends_the_dispatch() -> None:
    case = hedged(Act(delay_s=5), Act(text="two", error=TruncatedError(), breaks_after=1), Act(text="three"))

    with pytest.raises(DispatchError):
        await case.stream()

    assert case.fleet.asked == ["a", "b"]
    assert case.ledger.outcome.status is DispatchStatus.FAILED


async def test_hedges_stay_within_their_budget() -> None:
    case = hedged(Act(text="one", delay_s=0.1), Act(text="two"), hedges_earned=0)

    assert await case.text() == "one"
    assert case.fleet.asked == ["a"]


async def test_a_first_target_that_fails_while_the_second_is_being_refused_is_no_reason_for_a_third() -> None:
    case = hedged(
        Act(delay_s=0.06, error=RequestRejectedError(wire_status=400)),
        Act(text="two"),
        Act(text="three"),
        rates=SlowRefusals(model="b"),
    )

    with pytest.raises(DispatchError):
        await case.text()

    assert case.fleet.asked == ["a"]


async def test_without_a_delay_to_go_by_nobody_is_hedged() -> None:
    case = hedged(Act(text="one", delay_s=0.1), Act(text="two"), plan={"hedge_delay_ms": None})

    assert await case.text() == "one"
    assert case.fleet.asked == ["a"]


async def test_both_are_reserved_and_the_envelope_holds() -> None:
    case = hedged(Act(text="one", delay_s=0.1), Act(text="two"), max_attempts=1)

    assert await case.text() == "one"
    assert case.fleet.asked == ["a"]


async def test_a_client_that_hangs_up_stops_both() -> None:
    case = hedged(Act(delay_s=5), Act(delay_s=5))
    asyncio.get_running_loop().call_later(0.1, case.sink.abandon)

    with pytest.raises(DispatchError):
        await case.stream()

    assert case.ledger.outcome.status is DispatchStatus.CLIENT_DISCONNECTED
    assert sorted(case.fleet.stopped) == ["a", "b"]
    assert case.ledger.reserved_nanos == 0


async def test_a_ledger_that_is_lost_when_the_hedge_is_due_leaves_the_first_target_alone() -> None:
    case = hedged(Act(text="one", delay_s=0.1), Act(text="two"))
    asyncio.get_running_loop().call_later(0.02, lambda: setattr(case.ledger, "is_away", True))

    assert await case.text() == "one"
    assert case.fleet.asked == ["a"]
    assert case.ledger.outcome.status is DispatchStatus.SUCCEEDED
