"""What became of a plan, in sentences, for every strategy."""

from typing import Any

import pytest

from dispatch_app.costs.story import ToldAttempt, tell_story, wasted_nanos


def attempt(position: int, model: str, role: str = "primary", fault: str = "", **fields: Any) -> ToldAttempt:
    return ToldAttempt(position=position, model=model, role=role, fault=fault, **fields)


def found(validator: str, *, passed: bool, expected: str = "it is right", actual: str = "") -> dict[str, Any]:
    return {"validator": validator, "passed": passed, "expected": expected, "actual": actual}


UNSURE = found(
    "logprob",
    passed=False,
    expected="confidence by token probability (mean) is at least 0.8",
    actual="it is 0.41",
)
PASSED = found("not_refused", passed=True)


def picked(*, passed: bool, actual: str) -> dict[str, Any]:
    return found(
        "pick", passed=passed, expected="the valid answer of the greatest weight is picked", actual=actual
    )


STORIES: dict[str, tuple[list[ToldAttempt], int | None, bool | None, list[str]]] = {
    "nothing was asked": ([], None, None, []),
    "single": ([attempt(1, "small")], 1, None, []),
    "failed": ([attempt(1, "small", fault="server_error")], None, None, ["small ended in server error."]),
    "failover": (
        [
            attempt(1, "small", fault="rate_limited"),
            attempt(2, "mid", "fallback", fault="truncated"),
            attempt(3, "mid", "retry"),
        ],
        3,
        None,
        [
            "small ended in rate limited.",
            "mid was asked instead and ended in truncated.",
            "mid was asked once more and answered.",
        ],
    ),
    "continuation": (
        [
            attempt(1, "small", fault="truncated", cost_nanos=5),
            attempt(2, "mid", "continuation", cost_nanos=7),
        ],
        2,
        None,
        [
            "small ended in truncated.",
            "mid was handed the broken stream to carry on and answered.",
            "$0.000000005 of $0.000000012 went to attempts that did not give the answer.",
        ],
    ),
    "cascade": (
        [
            attempt(1, "small", validation=[UNSURE]),
            attempt(2, "large", "escalation", validation=[PASSED, PASSED]),
        ],
        2,
        True,
        [
            (
                "small answered, but its answer was not accepted: it was expected that confidence by token probability (mean) is at least 0.8, "
                "but it is 0.41."
            ),
            "So it was escalated to large, which answered, and its answer passed 2 checks.",
        ],
    ),
    "exhausted": (
        [attempt(1, "small", validation=[UNSURE])],
        1,
        False,
        [
            (
                "small answered, but its answer was not accepted: it was expected that confidence by token probability (mean) is at least 0.8, "
                "but it is 0.41."
            ),
            "No answer passed, so the last one was given, marked as not validated.",
        ],
    ),
    "samples and a judge": (
        [
            attempt(1, "small", validation=[PASSED]),
            attempt(2, "small", "sample", cost_nanos=2_000),
            attempt(3, "small", "sample", cost_nanos=1_000),
            attempt(4, "mid", "judge", cost_nanos=4_000),
        ],
        1,
        True,
        [
            "small answered, and its answer passed 1 check.",
            "2 more samples of small cost $0.000003.",
            "mid judged, for $0.000004.",
            "$0.000007 of $0.000007 went to attempts that did not give the answer.",
        ],
    ),
    "parallel": (
        [
            attempt(1, "small", "parallel", validation=[picked(passed=False, actual="its weight is 1")]),
            attempt(2, "mid", "parallel", validation=[picked(passed=True, actual="its weight is 3")]),
            attempt(3, "large", "parallel", fault="superseded", cost_nanos=9_000),
        ],
        2,
        None,
        [
            "small, mid and large were asked at once.",
            "small answered; it was not picked: the valid answer of the greatest weight is picked, and its weight is 1.",
            "mid answered; it was picked: the valid answer of the greatest weight is picked, and its weight is 3.",
            "large was stopped, because another answer had won, and cost $0.000009.",
            "The answer is that of mid.",
            "$0.000009 of $0.000009 went to attempts that did not give the answer.",
        ],
    ),
    "hedged": (
        [attempt(1, "small", fault="superseded"), attempt(2, "mid", "hedge")],
        2,
        None,
        [
            "small was stopped, because another answer had won, and cost $0.00.",
            "As nothing had come by then, mid was asked too and answered.",
            "The answer is that of mid.",
        ],
    ),
    "hung up": (
        [attempt(1, "small", fault="client_disconnected")],
        None,
        None,
        ["small was stopped, because the client hung up."],
    ),
}


@pytest.mark.parametrize("name", STORIES)
def test_the_story_of_a_dispatch_is_told_in_order(name: str) -> None:
    attempts, answered_by, validated, sentences = STORIES[name]

    assert list(tell_story(attempts, answered_by=answered_by, validated=validated)) == sentences


def test_what_did_not_give_the_answer_is_waste() -> None:
    attempts = [attempt(1, "small", cost_nanos=3), attempt(2, "mid", "judge", cost_nanos=4)]

    assert wasted_nanos(attempts, answered_by=1) == 4
    assert wasted_nanos(attempts, answered_by=None) == 7
