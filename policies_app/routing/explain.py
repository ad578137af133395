"""Decisions in plain words, for operators, the log and callers who ask “why this model?”."""

from collections.abc import Mapping
from typing import assert_never

from policies_app.routing.codes import DropReason, RefusalCode
from policies_app.routing.compilation import DIRECT_POLICY
from policies_app.routing.plan_words import listed, plan_in_words, remarks
from policies_app.routing.types import Decision, DroppedCandidate, Refusal, RuleTrace

_DROP_PHRASES: Mapping[DropReason, str] = {
    DropReason.UNKNOWN_MODEL: "not in the catalogue",
    DropReason.DISABLED: "switched off in the catalogue",
    DropReason.KILLED: "a kill switch stops {detail}",
    DropReason.LACKS_CAPABILITY: "lacks {detail}",
    DropReason.CONTEXT_TOO_SMALL: "context too small, {detail}",
    DropReason.NO_PRICE: "has no price",
    DropReason.TIER_CAPPED: "{detail}",
    DropReason.OPEN_BREAKER: "{detail}",
    DropReason.EXCEEDS_COST_BOUND: "can cost more than the rule allows, {detail}",
}


def explain(*, decision: Decision) -> str:
    """Why the plan is what it is, or why there is none, in a few sentences."""
    if decision.refusal is not None:
        return _refusal_in_words(decision, decision.refusal)
    if decision.plan is None:
        return "Nothing was decided."
    order = plan_in_words(decision.plan)
    if decision.dropped:
        order += f"; {_dropped_in_words(decision.dropped)}"
    return " ".join([_match_in_words(decision), f"{order}.", *remarks(decision.plan)])


def explain_rule(trace: RuleTrace) -> str:
    """What became of one rule, on one line."""
    if trace.matched:
        return f"{trace.rule}: matched {_because(trace)}"
    if not trace.expected:
        return f"{trace.rule}: passed over, {trace.actual}"
    return f"{trace.rule}: passed over, {trace.expected} was expected, but {trace.actual}"


def explain_drop(drop: DroppedCandidate) -> str:
    """Why one step is no candidate, as a phrase without its model's name."""
    if drop.reason is DropReason.OPEN_BREAKER and not drop.detail:
        return "failing at the moment"
    return _DROP_PHRASES[drop.reason].format(detail=drop.detail)


def _match_in_words(decision: Decision) -> str:
    if decision.policy == DIRECT_POLICY and decision.version == 0:
        return "The caller named the model itself."
    matched = decision.trace[-1] if decision.trace else RuleTrace(rule=decision.rule or "", matched=True)
    return (
        f"Rule '{matched.rule}' of policy {decision.policy} v{decision.version} matched {_because(matched)}."
    )


def _because(matched: RuleTrace) -> str:
    return f"because {matched.expected}" if matched.expected else "because it has no conditions"


def _dropped_in_words(dropped: tuple[DroppedCandidate, ...]) -> str:
    return listed([f"{drop.model} was left out: {explain_drop(drop)}" for drop in dropped], separator="; ")


def _refusal_in_words(decision: Decision, refusal: Refusal) -> str:
    match refusal.code:
        case RefusalCode.KILLED:
            verdict = f"No model was called, because a kill switch stops {refusal.subject}."
        case RefusalCode.INSUFFICIENT_QUOTA:
            verdict = f"No model was called, because the budget allows none: {refusal.subject}."
        case RefusalCode.NO_TARGET_AVAILABLE:
            verdict = f"No model was called, because none was available: {refusal.subject}."
        case _:
            assert_never(refusal.code)
    return f"{_match_in_words(decision)} {verdict}" if decision.rule is not None else verdict
