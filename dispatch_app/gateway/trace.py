"""A dispatch told in JSON: the `dispatch` object of answers, and what `/v1/explain` says of a decision."""

from typing import Any

from dispatch_app.execution.attempt import PastAttempt
from dispatch_app.execution.dispatcher import Dispatch
from dispatch_app.gateway.exchange import Exchange
from dispatch_app.gateway.headers import usd
from policies_app.routing.types import Candidate, Decision


def dispatch_details(exchange: Exchange, dispatch: Dispatch, *, is_verbose: bool = True) -> dict[str, Any]:
    """What a dispatch came to; verbosely, with the decision's trace."""
    progress = dispatch.progress
    details: dict[str, Any] = {
        "id": str(exchange.id),
        "model": progress.model_name or None,
        "provider": None if progress.candidate is None else progress.candidate.model.provider,
        "attempts": [_attempt(past) for past in progress.past],
        "cost_usd": usd(progress.cost_nanos),
        "cost_nanos": progress.cost_nanos,
        "estimated": progress.is_estimated,
        "validated": progress.validated,
        "continued": progress.is_continued,
        "settlement": "settled" if progress.is_settled else "pending",
        "overhead_ms": round(exchange.overhead_s * 1000, 2),
    }
    if is_verbose and exchange.admission is not None:
        details |= decision_details(exchange.admission.decision, exchange.admission.reason)
    return details


def decision_details(decision: Decision, reason: str) -> dict[str, Any]:
    """A decision with its trace."""
    plan, refusal = decision.plan, decision.refusal
    return {
        "policy": decision.policy,
        "policy_version": decision.version,
        "rule": decision.rule,
        "reason": reason,
        "plan": None
        if plan is None
        else {
            "strategy": plan.strategy,
            "deadline_ms": plan.deadline_ms,
            "max_attempts": plan.max_attempts,
            "candidates": [_candidate(candidate) for candidate in plan.candidates],
        },
        "refusal": None if refusal is None else {"code": refusal.code, "subject": refusal.subject},
        "dropped": [
            {"model": drop.model, "reason": drop.reason, "detail": drop.detail} for drop in decision.dropped
        ],
        "trace": [
            {
                "rule": rule.rule,
                "matched": rule.matched,
                "failed": rule.failed,
                "expected": rule.expected,
                "actual": rule.actual,
            }
            for rule in decision.trace
        ],
    }


def _attempt(past: PastAttempt) -> dict[str, Any]:
    settlement = past.settlement
    return {
        "position": past.record.position,
        "role": past.record.role,
        "model": past.candidate.model.name,
        "provider": past.candidate.model.provider,
        "fault": settlement.fault,
        "validation": settlement.validation,
        "cost_usd": usd(settlement.cost_nanos),
        "estimated": settlement.estimated,
        "latency_ms": settlement.latency_ms,
    }


def _candidate(candidate: Candidate) -> dict[str, Any]:
    return {
        "model": candidate.model.name,
        "provider": candidate.model.provider,
        "tier": candidate.model.tier,
        "output_tokens_limit": candidate.output_tokens_limit,
        "worst_case_usd": usd(candidate.bound_nanos),
        "timeout_ms": candidate.timeout_ms,
    }
