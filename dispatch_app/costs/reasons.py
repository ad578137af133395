"""Why a dispatch went where it went, from its row of the log and the policy version that decided."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from policies_app.routing.codes import DropReason
from policies_app.routing.explain import explain_drop
from policies_app.routing.types import DroppedCandidate

_FAILED_PHRASES = {
    "task": "its task did not match",
    "tenant": "it is for other tenants",
    "api_key": "it is for other API keys",
    "end_user": "it is for other end users",
    "tags": "its tags did not match",
    "input_tokens": "the input was outside its range",
    "output_tokens": "the requested output was outside its range",
    "needs": "the request did not need what it asks for",
    "budget_used": "the budget was not used that far",
    "budget_forecast": "the budget was not on course to be used up",
    "latency": "the latency was not above its bound",
    "quality": "the eval score was not good enough",
    "health": "what it names was not degraded",
    "time": "it was not its time",
    "share": "the request was not in its share",
    "killed": "a kill switch stopped it",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PassedOver:
    """A rule, or a step of the rule that matched, with a phrase that says why not."""

    name: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """A decision in words."""

    words: str
    rules: tuple[PassedOver, ...]
    models: tuple[PassedOver, ...]


def read_reason(reason: Mapping[str, Any], document: Mapping[str, Any] | None) -> Reason:
    """The reason of a dispatch in words. Without the policy's document, rules go by their number."""
    rules: Sequence[Mapping[str, Any]] = (document or {}).get("rules", ())
    return Reason(
        words=reason.get("words", ""),
        rules=tuple(
            PassedOver(name=_rule_name(rules, place), why=_FAILED_PHRASES.get(kind, f"{kind} did not hold"))
            for place, kind in enumerate(reason.get("failed", ()))
        ),
        models=tuple(
            PassedOver(name=drop["model"], why=_why_dropped(**drop)) for drop in reason.get("dropped", ())
        ),
    )


def _rule_name(rules: Sequence[Mapping[str, Any]], place: int) -> str:
    return str(rules[place]["name"]) if place < len(rules) else f"Rule {place + 1}"


def _why_dropped(*, model: str, reason: str, detail: str = "") -> str:
    # A row of an older version may carry a code that this one has no words for.
    if reason not in set(DropReason):
        return f"{reason} {detail}".strip()
    return explain_drop(DroppedCandidate(model=model, reason=DropReason(reason), detail=detail))
