"""What is noted of a stream as it comes in."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from dispatch_app.execution.attempt import RunningAttempt
from dispatch_app.execution.canonical import ChunkChoice, Request, StreamPart
from dispatch_app.execution.errors import InvalidReplyError, SupersededError
from dispatch_app.execution.forwarding import Reception
from dispatch_app.execution.ports import AttemptRecord, Target
from policies_app.routing.codes import AttemptRole
from tests.dispatch_app.execution.manual_clock import ManualClock
from tests.dispatch_app.execution.scripted_upstream import USAGE, delta, report
from tests.dispatch_app.routing_values import make_candidate, make_facts

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)


def running() -> RunningAttempt:
    candidate = make_candidate()
    record = AttemptRecord(
        id=UUID(int=1),
        created_at=NOW,
        position=1,
        role=AttemptRole.HEDGE,
        model_id=candidate.model.id,
        provider_id=candidate.model.provider_id,
        price_id=candidate.price.id,
        reserved_nanos=candidate.bound_nanos,
        expires_at=NOW,
        start_offset_ms=0,
        is_first=True,
    )
    return RunningAttempt(
        record=record,
        target=Target(candidate=candidate),
        request=Request(fields={}, stream=True, choices=1),
        facts=make_facts(),
        started_at=0.0,
        deadline_at=1.0,
    )


async def test_a_first_part_that_comes_too_late_still_counts_as_received() -> None:
    attempt = running()
    reception = Reception(attempt=attempt, clock=ManualClock(), claim=lambda beaten: False)

    with pytest.raises(SupersededError):
        reception.note(delta("late"))

    assert attempt.received_bytes == len("late")


@pytest.mark.parametrize(
    ("told", "received_bytes"),
    [
        ({"content": "four"}, 4),
        ({"reasoning_content": "four", "thinking_blocks": [{"thinking": "four"}]}, 4),
        ({"reasoning_content": "four", "thinking_blocks": [{"thinking": "four", "signature": "sign"}]}, 8),
        ({"reasoning_content": "four", "content": "four"}, 8),
        ({"tool_calls": [{"id": "1", "function": {"arguments": "{}"}}]}, 3),
    ],
)
async def test_a_thought_that_is_told_twice_is_received_once(
    told: dict[str, Any], received_bytes: int
) -> None:
    attempt = running()

    Reception(attempt=attempt, clock=ManualClock()).note(
        StreamPart(model="", choices=[ChunkChoice(delta=told)], usage=None)
    )

    assert attempt.received_bytes == received_bytes


async def test_what_a_vendor_reports_of_an_answer_with_nothing_in_it_is_its_last_word() -> None:
    reception = Reception(attempt=running(), clock=ManualClock())
    reception.note(report())

    with pytest.raises(InvalidReplyError) as caught:
        reception.end()

    assert caught.value.usage == USAGE
