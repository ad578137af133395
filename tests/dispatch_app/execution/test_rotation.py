"""Several credentials of a provider: which a dispatch goes with, and what becomes of it where one is at fault."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from dispatch_app.execution.credentials import in_order
from dispatch_app.execution.errors import (
    CredentialGoneError,
    CredentialRefusedError,
    DispatchError,
    ErrorCode,
    QuotaExhaustedError,
    RateLimitedError,
    ServerFailedError,
    UpstreamError,
)
from dispatch_app.execution.ports import Credential
from policies_app.routing.codes import AttemptRole, FaultClass, Strategy
from tests.dispatch_app.execution.acting_fleet import Act
from tests.dispatch_app.execution.courses import Course, target
from tests.dispatch_app.execution.health import ScriptedHealth
from tests.dispatch_app.routing_values import make_facts

ONE, TWO, THREE = (Credential(id=number, name=f"key-{number}") for number in (1, 2, 3))
FAULTS = [
    CredentialRefusedError(wire_status=401),
    CredentialRefusedError(wire_status=403),
    RateLimitedError(wire_status=429, retry_after_s=40),
    QuotaExhaustedError(wire_status=402),
    CredentialGoneError(),
]


def course(
    faults: Mapping[str, UpstreamError], *, strategy: Strategy = Strategy.FAILOVER, **options: Any
) -> Course:
    """Models a, b and c, each of which can be called with three credentials; `faults` by credential, or `model/credential`."""

    acts = {}
    for model in "abc":
        own = {name.removeprefix(f"{model}/"): error for name, error in faults.items()}
        acts[model] = Act(text=model, refuses=own)
    return Course(
        strategy=strategy,
        targets=[target(name, number=number) for number, name in enumerate("abc", start=1)],
        acts=acts,
        **{"credentials": (ONE, TWO, THREE)} | options,
    )


async def answer(case: Course) -> str:
    """Which model answered, and by which credential."""
    return f"{await case.text()} by {case.ledger.attempts[-1].credential}"


def order_for(seed: int) -> list[str]:
    """The credentials in the order in which a dispatch of that seed asks them."""
    return [credential.name for credential in in_order((ONE, TWO, THREE), subject=str(seed))]


@pytest.mark.parametrize("error", FAULTS, ids=lambda error: f"{error.fault}-{error.wire_status}")
async def test_the_same_model_answers_with_the_next_credential(error: UpstreamError) -> None:
    first, second, _ = order_for(1)
    case = course({first: error})

    assert await answer(case) == f"a by {second}"
    assert case.story == [("a", AttemptRole.PRIMARY), ("a", AttemptRole.ROTATION)]
    assert [attempt.credential for attempt in case.ledger.attempts] == [first, second]
    assert case.health.faults == [("a", error.fault), ("a", None)]


async def test_a_fault_of_the_model_goes_on_to_the_next_model() -> None:
    first, *_ = order_for(1)
    case = course({f"a/{first}": ServerFailedError(wire_status=500, is_billable=False)})

    assert await answer(case) == f"b by {first}"
    assert case.story == [("a", AttemptRole.PRIMARY), ("b", AttemptRole.FALLBACK)]


async def test_when_every_credential_is_at_fault_the_next_model_is_asked() -> None:
    error = CredentialRefusedError(wire_status=401)
    first, *_ = order_for(1)
    case = course({f"a/{name}": error for name in ("key-1", "key-2", "key-3")})

    assert await answer(case) == f"b by {first}"
    assert [model for model, _ in case.story] == ["a", "a", "a", "b"]


async def test_the_last_call_is_for_a_model_that_was_not_asked() -> None:
    case = course({"a/key-1": FAULTS[2], "a/key-2": FAULTS[2], "a/key-3": FAULTS[2]}, max_attempts=3)

    assert (await answer(case)).startswith("b by")
    assert [model for model, _ in case.story] == ["a", "a", "b"]


async def test_the_last_call_goes_to_another_credential_where_no_other_model_takes_traffic() -> None:
    first, second, _ = order_for(1)
    case = course({first: FAULTS[2]}, max_attempts=2, health=ScriptedHealth(ejected=["b", "c"]))

    assert await answer(case) == f"a by {second}"


async def test_no_retry_is_spent_on_another_credential() -> None:
    first, *_ = order_for(1)
    case = course({first: FAULTS[0]}, retries=0)

    await case.complete()

    assert AttemptRole.RETRY not in dict(case.story).values()


async def test_a_credential_that_is_ejected_is_passed_over() -> None:
    first, second, _ = order_for(1)
    case = course({}, health=ScriptedHealth(ejected=[f"a/{first}"]))

    assert await answer(case) == f"a by {second}"
    assert case.story == [("a", AttemptRole.PRIMARY)]


async def test_a_model_that_was_asked_is_not_asked_with_an_ejected_credential() -> None:
    """A refused credential would hide when the limited one can be used again."""
    first, second, third = order_for(1)
    case = course(
        {first: RateLimitedError(wire_status=429, retry_after_s=40)},
        health=ScriptedHealth(ejected=[f"a/{second}", f"a/{third}"]),
        plan={"candidates": (target("a"),)},
    )

    with pytest.raises(DispatchError) as raised:
        await case.complete()

    assert (raised.value.code, raised.value.retry_after_s) == (ErrorCode.RATE_LIMIT_EXCEEDED, 40)
    assert len(case.ledger.attempts) == 1


async def test_if_all_credentials_are_ejected_the_least_bad_is_tried() -> None:
    ejected = [f"{model}/{name}" for model in "cab" for name in ("key-2", "key-1", "key-3")]
    case = course({}, health=ScriptedHealth(ejected=ejected))

    assert await answer(case) == "c by key-2"


async def test_a_stream_goes_on_with_the_next_credential_before_its_first_byte() -> None:
    first, second, _ = order_for(1)
    case = course({first: FAULTS[0]})

    assert await case.streamed_text() == "a"
    assert [attempt.credential for attempt in case.ledger.attempts] == [first, second]


async def test_a_cascade_rotates_and_still_escalates() -> None:
    first, second, _ = order_for(1)
    case = course({first: FAULTS[2]}, strategy=Strategy.CASCADE)

    assert await answer(case) == f"a by {second}"
    assert case.story[1] == ("a", AttemptRole.ROTATION)


@pytest.mark.parametrize("strategy", [Strategy.PARALLEL, Strategy.HEDGED])
async def test_a_race_that_every_credential_loses_goes_on_with_the_others(strategy: Strategy) -> None:
    first, second, _ = order_for(1)
    plan = {"hedge_delay_ms": 1_000} if strategy is Strategy.HEDGED else {}
    case = course({first: FAULTS[0]}, strategy=strategy, plan=plan)

    assert (await answer(case)).endswith(f"by {second}")


async def test_the_order_of_one_dispatch_is_the_same_whenever_it_is_replayed() -> None:
    said = {await answer(course({}, seed=7)) for _ in range(5)}

    assert said == {f"a by {order_for(7)[0]}"}


async def test_requests_of_one_end_user_stay_with_a_credential() -> None:
    facts = replace(make_facts(), end_user="ann")

    assert len({await answer(course({}, seed=seed, facts=facts)) for seed in range(20)}) == 1
    assert len({await answer(course({}, seed=seed)) for seed in range(20)}) == 3


def test_credentials_share_the_calls_by_their_weights() -> None:
    credentials = [replace(ONE, weight=1), replace(TWO, weight=3), replace(THREE, weight=6)]
    drawn = Counter(in_order(credentials, subject=str(seed))[0].name for seed in range(20_000))

    assert drawn["key-1"] == pytest.approx(2_000, rel=0.1)
    assert drawn["key-2"] == pytest.approx(6_000, rel=0.05)
    assert drawn["key-3"] == pytest.approx(12_000, rel=0.05)


def test_where_one_is_at_fault_the_others_share_its_calls_by_their_weights() -> None:
    credentials = [replace(ONE, weight=10), replace(TWO, weight=1), replace(THREE, weight=3)]
    left = Counter(
        next(drawn.name for drawn in in_order(credentials, subject=str(seed)) if drawn.id != 1)
        for seed in range(20_000)
    )

    assert left["key-2"] == pytest.approx(5_000, rel=0.06)


def test_a_credential_that_goes_moves_nobody_elses() -> None:
    for seed in range(500):
        before = in_order((ONE, TWO, THREE), subject=str(seed))
        after = in_order((ONE, TWO), subject=str(seed))
        assert [known for known in before if known is not THREE] == list(after)


def test_faults_of_credentials_are_these() -> None:
    """The others are the same with any credential."""
    rotating = {
        error.fault for error in UpstreamError.__subclasses__() if error.rotates and hasattr(error, "fault")
    }

    assert rotating == {
        FaultClass.CREDENTIAL_REFUSED,
        FaultClass.QUOTA_EXHAUSTED,
        FaultClass.RATE_LIMITED,
    }
