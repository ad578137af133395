import pytest

from dispatch_app.execution.breaker import Cause
from dispatch_app.health.wording import TargetView, describe, show_wait
from policies_app.routing.codes import FaultClass, HealthState

HEALTHY = TargetView(state=HealthState.HEALTHY)


def opened(
    remaining_s: float = 12.0, *, status: int | None = 503, cause: Cause = Cause.FAILURES
) -> TargetView:
    return TargetView(
        state=HealthState.OPEN,
        cause=cause,
        remaining_s=remaining_s,
        last_fault=FaultClass.SERVER_ERROR if status else FaultClass.FIRST_BYTE_TIMEOUT,
        last_wire_status=status,
    )


def cooling(remaining_s: float, cause: Cause = Cause.RATE_LIMIT, *, is_learned: bool = False) -> TargetView:
    return TargetView(state=HealthState.COOLING, cause=cause, remaining_s=remaining_s, is_learned=is_learned)


@pytest.mark.parametrize(
    ("views", "processes", "sentences"),
    [
        ([], 2, ["Not called in the last 15 minutes."]),
        ([HEALTHY], 1, ["Healthy in 1 of 1 process."]),
        ([HEALTHY, HEALTHY], 2, ["Healthy in 2 of 2 processes."]),
        # A process that has not called it has nothing to say.
        ([HEALTHY], 2, ["Healthy in 1 of 2 processes."]),
        # The first probe comes when the first of them may.
        ([opened(12.0), opened(30.0)], 2, ["Open in 2 of 2 processes, next probe in 12 s, last fault: 503."]),
        (
            [HEALTHY, opened(4.2, status=None)],
            2,
            [
                "Open in 1 of 2 processes, next probe in 5 s, last fault: first byte timeout.",
                "Healthy in 1 of 2 processes.",
            ],
        ),
        (
            [opened(60, status=401, cause=Cause.CREDENTIAL)],
            1,
            [
                "Open in 1 of 1 process, its vendor refuses the credential, next probe in 60 s, last fault: 401."
            ],
        ),
        ([cooling(7)], 1, ["Cooling in 1 of 1 process, rate limit, takes traffic again in 7 s."]),
        (
            [cooling(300, Cause.QUOTA)],
            1,
            ["Cooling in 1 of 1 process, its vendor gives no more credit, next probe in 5 min."],
        ),
        (
            [cooling(20), cooling(20, is_learned=True)],
            2,
            [
                "Cooling in 2 of 2 processes, rate limit, partly as told by another process, takes traffic again in 20 s."
            ],
        ),
        (
            [TargetView(state=HealthState.HALF_OPEN)],
            1,
            ["Half-open in 1 of 1 process, the next call that has an alternative probes it."],
        ),
        (
            [TargetView(state=HealthState.HALF_OPEN, is_being_probed=True)],
            1,
            ["Half-open in 1 of 1 process, being probed now."],
        ),
        # Its status was fine, what came after it was not.
        (
            [
                TargetView(
                    state=HealthState.OPEN,
                    cause=Cause.FAILURES,
                    remaining_s=3,
                    last_fault=FaultClass.TRUNCATED,
                    last_wire_status=200,
                )
            ],
            1,
            ["Open in 1 of 1 process, next probe in 3 s, last fault: truncated."],
        ),
        # A process that stopped between two reads.
        ([HEALTHY, HEALTHY], 1, ["Healthy in 2 of 2 processes."]),
    ],
)
def test_the_state_of_a_target_in_words(
    views: list[TargetView], processes: int, sentences: list[str]
) -> None:
    assert describe(views, processes=processes) == sentences


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.0, "1 s"), (0.2, "1 s"), (11.01, "12 s"), (119, "119 s"), (121, "3 min")]
)
def test_a_wait_is_never_shorter_than_said(seconds: float, words: str) -> None:
    assert show_wait(seconds) == words
