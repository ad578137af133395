"""What became of a plan, in sentences, for every strategy."""

from dataclasses import dataclass
from typing import Any

import pytest

from dispatch_app.costs.story import tell_story, wasted_nanos
from dispatch_app.costs.told_attempts import ToldAttempt
from dispatch_app.execution.picking import PICK, PICK_IN_WORDS
from policies_app.routing.codes import FaultClass, Pick


def attempt(position: int, model: str, role: str = "primary", fault: str = "", **fields: Any) -> ToldAttempt:
    return ToldAttempt(position=position, model=model, role=role, fault=fault, **fields)


def found(
    validator: str, *, passed: bool, expected: str = "the answer is no refusal", actual: str = ""
) -> dict[str, Any]:
    return {"validator": validator, "passed": passed, "expected": expected, "actual": actual}


def sure(figure: float) -> dict[str, Any]:
    return found(
        "logprob",
        passed=figure >= 0.8,
        expected="confidence by token probability (mean) is at least 0.8",
        actual=f"it is {figure}",
    )


def judged(score: float) -> dict[str, Any]:
    return found(
        "judge",
        passed=score >= 0.7,
        expected="judge helpfulness v1 gives at least 0.7",
        actual=f"it gives {score:.2f}",
    )


def pick(by: Pick, actual: str, *, passed: bool = False) -> dict[str, Any]:
    return found(PICK, passed=passed, expected=PICK_IN_WORDS[by], actual=actual)


PASSED = found("not_refused", passed=True)
NOT_SURE = (
    "small answered, but its answer was not accepted: it was expected that "
    "confidence by token probability (mean) is at least 0.8, but it is 0.41."
)


@dataclass(frozen=True, kw_only=True)
class Story:
    attempts: list[ToldAttempt]
    answered_by: int | None = None
    validated: bool | None = None
    error_code: str = ""
    told: list[str]


STORIES = {
    "nothing was asked": Story(attempts=[], told=[]),
    "single": Story(attempts=[attempt(1, "small", cost_nanos=7)], answered_by=1, told=[]),
    "failed": Story(
        attempts=[attempt(1, "small", fault="server_error", wire_status=503)],
        error_code="upstream_unreachable",
        told=["small failed with a server error (HTTP 503)."],
    ),
    "failed at a cost": Story(
        attempts=[attempt(1, "small", fault="idle_timeout", wire_status=200, cost_nanos=3_000)],
        told=["small fell silent half-way, at a cost of $0.000003.", "It cost $0.000003 all the same."],
    ),
    "failover": Story(
        attempts=[
            attempt(1, "small", fault="rate_limited", wire_status=429),
            attempt(2, "mid", "fallback", fault="truncated", wire_status=200, cost_nanos=4_000),
            attempt(3, "mid", "retry", cost_nanos=6_000),
        ],
        answered_by=3,
        told=[
            "small was limiting its rate (HTTP 429).",
            "mid was asked instead and broke off half-way, at a cost of $0.000004.",
            "mid was asked once more and answered.",
            "$0.000004 of $0.00001 went to attempts that did not give the answer.",
        ],
    ),
    "a fallback over the budget": Story(
        attempts=[attempt(1, "small", fault="unreachable", state="voided")],
        error_code="insufficient_quota",
        told=["small could not be reached.", "No budget covered another attempt."],
    ),
    "a fallback behind a kill switch": Story(
        attempts=[attempt(1, "small", fault="unreachable", state="voided")],
        error_code="killed",
        told=["small could not be reached.", "A kill switch allowed no other attempt."],
    ),
    "begun and not made": Story(
        attempts=[attempt(1, "small", state="voided")],
        error_code="client_disconnected",
        told=["small was not asked after all."],
    ),
    "continuation": Story(
        attempts=[
            attempt(1, "small", fault="server_error", wire_status=500, cost_nanos=1),
            attempt(2, "mid", "fallback", fault="truncated", wire_status=200, cost_nanos=5),
            attempt(3, "large", "continuation", cost_nanos=7),
        ],
        answered_by=3,
        told=[
            "small failed with a server error (HTTP 500), at a cost of $0.000000001.",
            "mid was asked instead and broke off half-way, at a cost of $0.000000005.",
            "large was handed the broken stream to carry on and answered.",
            "$0.000000001 of $0.000000013 went to attempts that did not give the answer.",
        ],
    ),
    "cascade": Story(
        attempts=[
            attempt(1, "small", validation=[PASSED, sure(0.41)], cost_nanos=1_000),
            attempt(2, "large", "escalation", validation=[PASSED, sure(0.93)], cost_nanos=9_000),
        ],
        answered_by=2,
        validated=True,
        told=[
            NOT_SURE,
            (
                "So it was escalated to large, which answered, and its answer passed 2 checks: the answer is no refusal; "
                "confidence by token probability (mean) is at least 0.8 (it is 0.93)."
            ),
            "$0.000001 of $0.00001 went to attempts that did not give the answer.",
        ],
    ),
    "a cascade whose last step has no checks": Story(
        attempts=[attempt(1, "small", validation=[sure(0.41)]), attempt(2, "large", "escalation")],
        answered_by=2,
        told=[NOT_SURE, "So it was escalated to large, which answered."],
    ),
    "an exhausted cascade": Story(
        attempts=[attempt(1, "small", validation=[sure(0.41)])],
        answered_by=1,
        validated=False,
        told=[NOT_SURE, "No answer passed, so that of small was given, marked as not validated."],
    ),
    "an escalation that fails": Story(
        attempts=[
            attempt(1, "small", validation=[sure(0.41)]),
            attempt(2, "large", "escalation", fault="first_byte_timeout"),
        ],
        answered_by=1,
        validated=False,
        told=[
            NOT_SURE,
            "So it was escalated to large, which gave no first byte in time.",
            "No answer passed, so that of small was given, marked as not validated.",
        ],
    ),
    "a cascade that fails": Story(
        attempts=[attempt(1, "small", validation=[sure(0.41)], cost_nanos=5)],
        error_code="no_valid_answer",
        told=[
            NOT_SURE,
            "No answer passed, so the request failed, as the rule has it.",
            "It cost $0.000000005 all the same.",
        ],
    ),
    "samples and judges": Story(
        attempts=[
            attempt(1, "small", validation=[judged(0.2)], cost_nanos=1_000),
            attempt(2, "small", "sample", cost_nanos=2_000),
            attempt(3, "small", "sample", fault="rate_limited", wire_status=429),
            attempt(4, "mid", "judge", cost_nanos=4_000),
            attempt(5, "large", "escalation", validation=[judged(0.9)], cost_nanos=3_000),
            attempt(6, "mid", "judge", cost_nanos=4_000),
        ],
        answered_by=5,
        validated=True,
        told=[
            (
                "small answered, but its answer was not accepted: it was expected that judge helpfulness v1 gives at least 0.7, "
                "but it gives 0.20."
            ),
            "To compare, small was asked for 2 more answers, for $0.000002.",
            "small was limiting its rate (HTTP 429) then.",
            "mid was asked as the judge, for $0.000004.",
            (
                "So it was escalated to large, which answered, and its answer passed 1 check: judge helpfulness v1 gives at least 0.7 "
                "(it gives 0.90)."
            ),
            "mid was asked as the judge, for $0.000004.",
            "$0.000011 of $0.000014 went to attempts that did not give the answer.",
        ],
    ),
    "parallel": Story(
        attempts=[
            attempt(
                1, "small", "parallel", validation=[pick(Pick.WEIGHTED, "its weight is 1")], cost_nanos=1
            ),
            attempt(
                2,
                "mid",
                "parallel",
                validation=[pick(Pick.WEIGHTED, "its weight is 3", passed=True)],
                cost_nanos=2,
            ),
            attempt(3, "large", "parallel", fault="superseded", wire_status=200, cost_nanos=9_000),
        ],
        answered_by=2,
        told=[
            "small, mid and large were asked at once.",
            "small answered.",
            "mid answered.",
            "large was stopped, because another answer was taken, at a cost of $0.000009.",
            "The answer of mid was picked: the valid answer of the greatest weight is picked, and its weight is 3.",
            "That of small was not: its weight is 1.",
            "$0.000009001 of $0.000009003 went to attempts that did not give the answer.",
        ],
    ),
    "parallel with one valid answer": Story(
        attempts=[
            attempt(1, "small", "parallel", validation=[sure(0.41)]),
            attempt(
                2,
                "mid",
                "parallel",
                validation=[sure(0.9), pick(Pick.FIRST_VALID, "it was number 1 to come", passed=True)],
            ),
        ],
        answered_by=2,
        validated=True,
        told=[
            "small and mid were asked at once.",
            NOT_SURE,
            (
                "mid answered, and its answer passed 1 check: confidence by token probability (mean) is at least 0.8 (it is 0.9)."
            ),
            "The answer of mid was taken, as the only valid one.",
        ],
    ),
    "parallel without a valid answer": Story(
        attempts=[
            attempt(1, "small", "parallel", validation=[sure(0.41)]),
            attempt(2, "mid", "parallel", fault="server_error", wire_status=500),
        ],
        answered_by=1,
        validated=False,
        told=[
            "small and mid were asked at once.",
            NOT_SURE,
            "mid failed with a server error (HTTP 500).",
            "No answer passed, so that of small was given, marked as not validated.",
        ],
    ),
    "parallel in vain": Story(
        attempts=[
            attempt(1, "small", "parallel", fault="unreachable"),
            attempt(2, "mid", "parallel", fault="unreachable"),
            attempt(3, "large", "fallback"),
        ],
        answered_by=3,
        told=[
            "small and mid were asked at once.",
            "small could not be reached.",
            "mid could not be reached.",
            "large was asked instead and answered.",
        ],
    ),
    "picked by a judge": Story(
        attempts=[
            attempt(1, "small", "parallel", validation=[pick(Pick.JUDGE, "")]),
            attempt(2, "large", "parallel", validation=[pick(Pick.JUDGE, "", passed=True)]),
            attempt(3, "mid", "judge", cost_nanos=1_000),
        ],
        answered_by=2,
        told=[
            "small and large were asked at once.",
            "small answered.",
            "large answered.",
            "mid was asked as the judge, for $0.000001.",
            "The judge picked the answer of large.",
            "$0.000001 of $0.000001 went to attempts that did not give the answer.",
        ],
    ),
    "a judge that is silent": Story(
        attempts=[
            attempt(
                1, "small", "parallel", validation=[pick(Pick.JUDGE, "the judge did not answer", passed=True)]
            ),
            attempt(2, "large", "parallel", validation=[pick(Pick.JUDGE, "the judge did not answer")]),
            attempt(3, "mid", "judge", fault="deadline_exceeded"),
        ],
        answered_by=1,
        told=[
            "small and large were asked at once.",
            "small answered.",
            "large answered.",
            "mid was asked as the judge, for $0.00.",
            "mid was not done when time was up then.",
            "As the judge did not answer, the answer of small was taken, which is that of the earliest step.",
        ],
    ),
    "a judge with nothing to choose from": Story(
        attempts=[
            attempt(1, "small", "parallel", validation=[pick(Pick.JUDGE, "", passed=True)]),
            attempt(2, "large", "parallel", fault="superseded"),
        ],
        answered_by=1,
        told=[
            "small and large were asked at once.",
            "small answered.",
            "large was stopped, because another answer was taken.",
            "The answer of small was taken, as the only valid one.",
        ],
    ),
    "hedged": Story(
        attempts=[
            attempt(1, "small", fault="superseded", cost_nanos=4_000, start_offset_ms=3),
            attempt(2, "mid", "hedge", cost_nanos=6_000, start_offset_ms=515),
        ],
        answered_by=2,
        told=[
            "small gave no sign of life for 512\u202fms, so mid was asked too.",
            "mid was the first to answer.",
            "small was stopped, at a cost of $0.000004.",
            "$0.000004 of $0.00001 went to attempts that did not give the answer.",
        ],
    ),
    "hedged, and too late": Story(
        attempts=[
            attempt(1, "small", start_offset_ms=3),
            attempt(2, "mid", "hedge", cost_nanos=6_000, start_offset_ms=503),
        ],
        answered_by=1,
        told=[
            "small gave no sign of life for 500\u202fms, so mid was asked too.",
            "small was the first to answer.",
            "mid answered too late, at a cost of $0.000006.",
            "$0.000006 of $0.000006 went to attempts that did not give the answer.",
        ],
    ),
    "hedged, and both fail": Story(
        attempts=[
            attempt(1, "small", fault="server_error", wire_status=500, start_offset_ms=3),
            attempt(2, "mid", "hedge", fault="unreachable", start_offset_ms=503),
            attempt(3, "large", "fallback"),
        ],
        answered_by=3,
        told=[
            "small gave no sign of life for 500\u202fms, so mid was asked too.",
            "small failed with a server error (HTTP 500).",
            "mid could not be reached.",
            "large was asked instead and answered.",
        ],
    ),
    "hedged in vain": Story(
        attempts=[attempt(1, "small", fault="server_error"), attempt(2, "mid", "fallback")],
        answered_by=2,
        told=["small failed with a server error.", "mid was asked instead and answered."],
    ),
    "hung up": Story(
        attempts=[attempt(1, "small", fault="client_disconnected", wire_status=200, cost_nanos=1_000)],
        error_code="client_disconnected",
        told=[
            "small was stopped, because the client hung up, at a cost of $0.000001.",
            "It cost $0.000001 all the same.",
        ],
    ),
    "lost": Story(
        attempts=[attempt(1, "small", fault="expired", state="expired", cost_nanos=1_000)],
        error_code="expired",
        told=[
            "small was lost with the process that had asked, at a cost of $0.000001.",
            "It cost $0.000001 all the same.",
        ],
    ),
}


@pytest.mark.parametrize("name", STORIES)
def test_the_story_of_a_dispatch_is_told_in_order(name: str) -> None:
    story = STORIES[name]

    told = tell_story(
        story.attempts,
        answered_by=story.answered_by,
        validated=story.validated,
        error_code=story.error_code,
    )

    assert list(told) == story.told


@pytest.mark.parametrize("fault", FaultClass)
def test_every_fault_has_words(fault: FaultClass) -> None:
    told = tell_story([attempt(1, "small", fault=fault)], answered_by=None, validated=None)

    assert "ended in" not in told[0]


def test_a_fault_of_a_newer_version_is_told_by_its_code() -> None:
    told = tell_story([attempt(1, "small", fault="moon_eclipse")], answered_by=None, validated=None)

    assert told == ("small ended in moon eclipse.",)


def test_what_did_not_give_the_answer_is_waste() -> None:
    attempts = [attempt(1, "small", cost_nanos=3), attempt(2, "mid", "judge", cost_nanos=4)]

    assert wasted_nanos(attempts, answered_by=1) == 4
    assert wasted_nanos(attempts, answered_by=None) == 7
