"""Where a dispatch goes on after a fault: ejected targets, rate limits, long contexts and streams that break off."""

import asyncio

import pytest

from dispatch_app.execution.errors import (
    ContextTooLongError,
    DispatchError,
    ErrorCode,
    IdleTimeoutError,
    RateLimitedError,
    RequestRejectedError,
    ServerFailedError,
    TruncatedError,
    UpstreamError,
)
from policies_app.routing.codes import AttemptRole, DispatchStatus, FaultClass, Strategy
from tests.dispatch_app.execution.acting_fleet import Act
from tests.dispatch_app.execution.courses import Course, target
from tests.dispatch_app.execution.health import ScriptedHealth


def failing() -> Act:
    return Act(error=ServerFailedError(wire_status=500, is_billable=False))


def failover(a: Act | list[Act], b: Act | None = None, **options: object) -> Course:
    names = "ab" if b else "a"
    return Course(
        strategy=Strategy.FAILOVER,
        targets=[target(name, number=number) for number, name in enumerate(names, start=1)],
        acts={"a": a, "b": b or Act()},
        **options,
    )


async def test_an_ejected_target_is_passed_over() -> None:
    case = failover(Act(text="one"), Act(text="two"), health=ScriptedHealth(ejected=["a"]))

    assert await case.text() == "two"
    assert case.story == [("b", AttemptRole.PRIMARY)]


async def test_if_all_are_ejected_the_least_bad_is_tried_and_no_other() -> None:
    case = failover(failing(), failing(), health=ScriptedHealth(ejected=["b", "a"]))

    with pytest.raises(DispatchError):
        await case.complete()

    assert case.fleet.asked == ["b"]


async def test_an_ejected_target_is_the_last_resort_of_a_dispatch_that_would_fail() -> None:
    case = failover(Act(text="one"), failing(), health=ScriptedHealth(ejected=["a"]))

    assert await case.text() == "one"
    assert case.fleet.asked == ["b", "a"]


async def test_every_attempt_is_reported_once_with_its_fault_and_times() -> None:
    case = failover(Act(error=RateLimitedError(wire_status=429, retry_after_s=7)), Act(delay_s=0.02))

    await case.complete()

    (first, limited), (second, answered) = case.health.reports
    assert (first, limited.fault, limited.retry_after_s) == ("a", FaultClass.RATE_LIMITED, 7)
    assert (second, answered.fault, answered.output_tokens) == ("b", None, 5)
    assert answered.total_ms >= 20


async def test_a_target_that_the_ledger_refuses_gives_its_probe_back() -> None:
    case = failover(Act(text="one"), Act(text="two"))
    case.ledger.killed_models = {1}

    await case.complete()

    assert case.health.faults == [("a", FaultClass.SUPERSEDED), ("b", None)]


async def test_a_rate_limit_that_ends_within_the_deadline_is_waited_out_where_there_is_no_other_target() -> (
    None
):
    limited = Act(error=RateLimitedError(wire_status=429, retry_after_s=0))
    case = failover([limited, Act(text="one")], retries=1)

    assert await case.text() == "one"
    assert case.story == [("a", AttemptRole.PRIMARY), ("a", AttemptRole.RETRY)]


@pytest.mark.parametrize(("retry_after_s", "deadline_s"), [(3, 2.0), (11, 60.0)], ids=["late", "long"])
async def test_a_rate_limit_that_lasts_too_long_is_told_to_the_client(
    retry_after_s: int, deadline_s: float
) -> None:
    limited = Act(error=RateLimitedError(wire_status=429, retry_after_s=retry_after_s))
    case = failover(limited, retries=1, deadline_s=deadline_s)

    with pytest.raises(DispatchError) as raised:
        await case.complete()

    assert (raised.value.code, raised.value.retry_after_s) == (ErrorCode.RATE_LIMIT_EXCEEDED, retry_after_s)
    assert case.fleet.asked == ["a"]


async def test_while_a_rate_limit_is_waited_out_nothing_stays_reserved() -> None:
    limited = Act(error=RateLimitedError(wire_status=429, retry_after_s=1))
    case = failover([limited, Act(text="one")], retries=1)
    task = asyncio.create_task(case.text())

    await asyncio.sleep(0.1)

    assert case.ledger.reserved_nanos == 0
    assert not case.ledger.outcomes
    assert await task == "one"


@pytest.mark.parametrize("by_leave", [True, False])
async def test_a_prompt_that_is_too_long_goes_to_the_next_model_by_leave_only(by_leave: bool) -> None:
    case = failover(
        Act(error=ContextTooLongError(wire_status=400)),
        Act(text="two"),
        plan={"fall_back_on_long_context": by_leave},
    )

    if by_leave:
        assert await case.text() == "two"
        return
    with pytest.raises(DispatchError) as raised:
        await case.complete()
    assert (raised.value.status, raised.value.code) == (400, ErrorCode.REQUEST_REJECTED)


async def test_other_rejections_go_nowhere_by_any_leave() -> None:
    case = failover(
        Act(error=RequestRejectedError(wire_status=400)),
        Act(text="two"),
        plan={"fall_back_on_long_context": True},
    )

    with pytest.raises(DispatchError):
        await case.complete()

    assert case.fleet.asked == ["a"]


BREAKS = [TruncatedError(), IdleTimeoutError(), ServerFailedError(wire_status=503, is_billable=False)]


@pytest.mark.parametrize("error", BREAKS, ids=lambda error: error.fault)
async def test_a_stream_that_breaks_off_is_carried_on_by_the_next_model_if_the_rule_allows_it(
    error: UpstreamError,
) -> None:
    case = failover(
        Act(text="One, two, ", error=error, breaks_after=2),
        Act(text="three."),
        plan={"continue_broken_streams": True},
    )

    assert await case.streamed_text() == "One, two, three."
    assert case.story == [("a", AttemptRole.PRIMARY), ("b", AttemptRole.CONTINUATION)]
    handed_on = case.fleet.calls[1]
    assert handed_on.request.fields["messages"] == [
        {"role": "user", "content": "2 + 2?"},
        {"role": "assistant", "content": "One, two, "},
    ]
    assert handed_on.candidate.output_tokens_limit == 48
    assert handed_on.candidate.bound_nanos == 100 + len("One, two, ") + 16 + 48
    assert case.dispatch.progress.is_continued
    assert case.ledger.outcome.status is DispatchStatus.SUCCEEDED
    roles = [choice.delta.get("role") for part in case.sink.parts for choice in part.choices]
    assert roles.count("assistant") == 1


async def test_a_stream_that_breaks_off_before_its_first_byte_is_no_continuation() -> None:
    case = failover(failing(), Act(text="two"), plan={"continue_broken_streams": True})

    assert await case.streamed_text() == "two"
    assert not case.dispatch.progress.is_continued


@pytest.mark.parametrize(
    "message", [{"tool_calls": [{"index": 0, "function": {"name": "f"}}]}, {"reasoning_content": "Hm."}]
)
async def test_what_is_more_than_a_text_cannot_be_carried_on(message: dict[str, object]) -> None:
    case = failover(
        Act(text="One", error=TruncatedError(), breaks_after=1, message=message),
        Act(text="two"),
        plan={"continue_broken_streams": True},
    )

    with pytest.raises(DispatchError):
        await case.stream()

    assert case.fleet.asked == ["a"]


async def test_several_answers_at_once_cannot_be_carried_on() -> None:
    case = failover(
        Act(text="One", error=TruncatedError(), breaks_after=1),
        Act(text="two"),
        plan={"continue_broken_streams": True},
        choices=2,
    )

    with pytest.raises(DispatchError):
        await case.stream()

    assert case.fleet.asked == ["a"]


async def test_a_continuation_that_breaks_off_too_is_carried_on_by_the_third() -> None:
    case = Course(
        strategy=Strategy.FAILOVER,
        targets=[target(name, number=number) for number, name in enumerate("abc", start=1)],
        acts={
            "a": Act(text="One, ", error=TruncatedError(), breaks_after=2),
            "b": Act(text="two, ", error=TruncatedError(), breaks_after=2),
            "c": Act(text="three."),
        },
        plan={"continue_broken_streams": True},
    )

    assert await case.streamed_text() == "One, two, three."
    assert case.fleet.calls[2].request.fields["messages"][-1]["content"] == "One, two, "
