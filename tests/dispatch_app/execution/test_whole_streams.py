"""What a vendor's stream has to hold to be an answer, and what of it is told twice."""

from typing import Any, cast

import pytest

from dispatch_app.execution.canonical import StreamPart
from policies_app.routing.codes import AttemptRole, FaultClass, Strategy
from tests.dispatch_app.execution.acting_fleet import Act
from tests.dispatch_app.execution.courses import Course, target
from tests.dispatch_app.execution.scripted_upstream import Scene, ScriptedUpstream, delta, finish, report

NOTHING = StreamPart(model="sandbox-small", choices=[], usage=None)
GOOD: Scene = [delta("Hi"), finish(), report()]


def course(strategy: Strategy, *scenes: Scene) -> Course:
    targets = [target("small"), target("mid", number=2)]
    made = Course(strategy=strategy, targets=targets, acts={"small": Act(), "mid": Act()})
    made.fleet = cast("Any", ScriptedUpstream(scenes=list(scenes)))
    return made


@pytest.mark.parametrize("strategy", [Strategy.FAILOVER, Strategy.CASCADE])
async def test_a_stream_without_choices_is_no_answer_and_has_not_begun(strategy: Strategy) -> None:
    case = course(strategy, [NOTHING, NOTHING, report()], GOOD)

    text = await case.streamed_text()

    assert text == "Hi"
    assert case.health.faults == [("small", FaultClass.INVALID_REPLY), ("mid", None)]
    assert [attempt.role for attempt in case.ledger.attempts] == [AttemptRole.PRIMARY, AttemptRole.FALLBACK]


async def test_a_stream_whose_choices_never_end_has_broken_off() -> None:
    case = course(Strategy.CASCADE, [delta("Half an ans"), report()])

    with pytest.raises(Exception, match="upstream_invalid"):
        await case.stream()

    assert case.health.faults == [("small", FaultClass.TRUNCATED)]


async def test_the_end_of_a_choice_is_told_once() -> None:
    case = course(Strategy.FAILOVER, [delta("Hi"), finish(), finish(), report()])

    tail = await case.stream()

    assert [part.finished_choices for part in tail.parts if part.choices] == [1]
