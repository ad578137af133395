"""Which model answers a request: the one decision that Signalbox takes, as a function of its arguments only."""

from datetime import datetime

from policies_app.routing.codes import DropReason, RefusalCode
from policies_app.routing.compilation import CompiledPolicy, CompiledRule, CompiledStep
from policies_app.routing.explain import explain_drop
from policies_app.routing.money import bound_nanos
from policies_app.routing.trace import RulesLookedAt
from policies_app.routing.types import (
    BudgetPressure,
    Candidate,
    CatalogueModel,
    Decision,
    DroppedCandidate,
    Facts,
    KilledTargets,
    Price,
    Refusal,
    RoutePlan,
    RuleTrace,
    Situation,
)


def choose(
    *, document: CompiledPolicy, facts: Facts, situation: Situation, now: datetime, seed: int
) -> Decision:
    """Decide the request: a plan or a typed refusal for any facts and any situation, the same one for the same arguments.

    The first rule whose conditions all hold is taken, and those of its steps that the request can be sent to. `seed` is
    the only source of chance for strategies that need one.
    """
    subject = _killed_subject(document.name, facts, situation.killed)
    if subject:
        refusal = Refusal(code=RefusalCode.KILLED, subject=subject)
        return _decision(document, seed, refusal=refusal)
    length, rule = _first_match(document, facts, situation, now)
    trace = RulesLookedAt(
        policy=document.name, rules=document.rules, length=length, facts=facts, situation=situation, now=now
    )
    if rule is None:
        refusal = Refusal(
            code=RefusalCode.NO_TARGET_AVAILABLE, subject=f"no rule of policy {document.name} matched"
        )
        return _decision(document, seed, refusal=refusal, trace=trace)
    candidates, dropped = _screen(rule, facts, situation, now)
    if not candidates:
        return _decision(
            document, seed, rule=rule, refusal=_refusal(rule, dropped), dropped=dropped, trace=trace
        )
    plan = RoutePlan(
        rule=rule.name,
        strategy=rule.strategy,
        candidates=candidates,
        deadline_ms=rule.deadline_ms,
        max_attempts=rule.max_attempts,
    )
    return _decision(document, seed, rule=rule, plan=plan, dropped=dropped, trace=trace)


def _decision(
    document: CompiledPolicy,
    seed: int,
    *,
    rule: CompiledRule | None = None,
    plan: RoutePlan | None = None,
    refusal: Refusal | None = None,
    dropped: tuple[DroppedCandidate, ...] = (),
    trace: RulesLookedAt | tuple[RuleTrace, ...] = (),
) -> Decision:
    return Decision(
        policy=document.name,
        version=document.version,
        rule=None if rule is None else rule.name,
        plan=plan,
        refusal=refusal,
        dropped=dropped,
        trace=trace,
        seed=seed,
    )


def _killed_subject(policy: str, facts: Facts, killed: KilledTargets) -> str:
    """What of the request as a whole a kill switch stops, in words; empty if nothing."""
    if killed.everything:
        return "all traffic"
    if facts.tenant in killed.tenants:
        return f"tenant {facts.tenant}"
    if facts.api_key in killed.api_keys:
        return f"API key {facts.api_key}"
    if killed.end_users and (facts.tenant, facts.end_user) in killed.end_users:
        return f"end user {facts.end_user} of tenant {facts.tenant}"
    if policy in killed.policies:
        return f"policy {policy}"
    return ""


def _first_match(
    document: CompiledPolicy, facts: Facts, situation: Situation, now: datetime
) -> tuple[int, CompiledRule | None]:
    """How many rules were looked at, and the first that matched.

    This is the hot path of long policies: a call for each rule would double its time, so the conditions are walked here.
    """
    for position, rule in enumerate(document.rules, start=1):
        for condition in rule.conditions:
            if not condition.holds(facts, situation, now):
                break
        else:
            if (document.name, rule.name) not in situation.killed.rules:
                return position, rule
    return len(document.rules), None


def _screen(
    rule: CompiledRule, facts: Facts, situation: Situation, now: datetime
) -> tuple[tuple[Candidate, ...], tuple[DroppedCandidate, ...]]:
    """Which steps the request can be sent to, and why not the others; each step is in exactly one of the two."""
    cap = _tier_cap(situation.budgets)
    candidates: list[Candidate] = []
    dropped: list[DroppedCandidate] = []
    for step in rule.steps:
        outcome = _screen_step(step, facts, situation.killed, cap, now)
        if isinstance(outcome, Candidate):
            candidates.append(outcome)
        else:
            dropped.append(outcome)
    return tuple(candidates), tuple(dropped)


def _screen_step(
    step: CompiledStep, facts: Facts, killed: KilledTargets, cap: BudgetPressure | None, now: datetime
) -> Candidate | DroppedCandidate:
    model = step.model
    if model is None:
        return DroppedCandidate(model=step.name, reason=DropReason.UNKNOWN_MODEL)
    unfit = _unfit(model, facts, killed)
    if unfit is not None:
        return unfit
    price = model.price_at(now)
    if price is None:
        return DroppedCandidate(model=model.name, reason=DropReason.NO_PRICE)
    if cap is not None and model.tier.rank > cap.downgrade_to_tier.rank:
        return DroppedCandidate(model=model.name, reason=DropReason.TIER_CAPPED, detail=_cap_in_words(cap))
    return _candidate(step, model, price, facts)


def _unfit(model: CatalogueModel, facts: Facts, killed: KilledTargets) -> DroppedCandidate | None:
    """Why `model` cannot take the request whatever it costs, None if it can."""
    if not model.enabled:
        return DroppedCandidate(model=model.name, reason=DropReason.DISABLED)
    if model.name in killed.models:
        return DroppedCandidate(model=model.name, reason=DropReason.KILLED, detail=f"model {model.name}")
    if model.provider in killed.providers:
        return DroppedCandidate(
            model=model.name, reason=DropReason.KILLED, detail=f"provider {model.provider}"
        )
    if not facts.needs <= model.capabilities:
        lacking = ", ".join(sorted(facts.needs - model.capabilities))
        return DroppedCandidate(model=model.name, reason=DropReason.LACKS_CAPABILITY, detail=lacking)
    if facts.input_tokens + _asked_output_tokens(facts) > model.context_window_tokens:
        return DroppedCandidate(
            model=model.name, reason=DropReason.CONTEXT_TOO_SMALL, detail=_context_in_words(model, facts)
        )
    return None


def _candidate(step: CompiledStep, model: CatalogueModel, price: Price, facts: Facts) -> Candidate:
    output_tokens_limit = _output_tokens_limit(step, model, facts)
    return Candidate(
        model=model,
        price=price,
        output_tokens_limit=output_tokens_limit,
        bound_nanos=bound_nanos(
            facts=facts, model=model, price=price, output_tokens_limit=output_tokens_limit
        ),
        timeout_ms=step.timeout_ms,
    )


def _output_tokens_limit(step: CompiledStep, model: CatalogueModel, facts: Facts) -> int:
    """The least of all limits on one reply: the caller's, the step's, the model's, and what the context leaves."""
    limit = min(model.max_output_tokens, model.context_window_tokens - facts.input_tokens)
    if facts.output_tokens is not None:
        limit = min(limit, _asked_output_tokens(facts))
    if step.max_output_tokens is not None:
        limit = min(limit, step.max_output_tokens)
    return limit


def _asked_output_tokens(facts: Facts) -> int:
    """The output that must fit: what the caller asked for, and one token in any case."""
    return max(1, facts.output_tokens or 1)


def _tier_cap(budgets: tuple[BudgetPressure, ...]) -> BudgetPressure | None:
    """The capping budget that allows the least."""
    capping = [budget for budget in budgets if budget.is_capping]
    return min(capping, key=lambda budget: budget.downgrade_to_tier.rank) if capping else None


def _cap_in_words(cap: BudgetPressure) -> str:
    return f"budget {cap.name} caps the tier at {cap.downgrade_to_tier}"


def _context_in_words(model: CatalogueModel, facts: Facts) -> str:
    needed = facts.input_tokens + _asked_output_tokens(facts)
    return f"{needed} tokens are needed and {model.context_window_tokens} fit"


def _refusal(rule: CompiledRule, dropped: tuple[DroppedCandidate, ...]) -> Refusal:
    """Why a rule without a candidate refuses: for money or a switch only if nothing else stood in the way."""
    reasons = {drop.reason for drop in dropped}
    subject = (
        "; ".join([f"{drop.model}: {explain_drop(drop)}" for drop in dropped])
        or f"rule {rule.name} has no step"
    )
    if reasons == {DropReason.KILLED}:
        return Refusal(
            code=RefusalCode.KILLED, subject=", ".join(dict.fromkeys(drop.detail for drop in dropped))
        )
    if DropReason.TIER_CAPPED in reasons and reasons <= {DropReason.TIER_CAPPED, DropReason.KILLED}:
        return Refusal(code=RefusalCode.INSUFFICIENT_QUOTA, subject=subject)
    return Refusal(code=RefusalCode.NO_TARGET_AVAILABLE, subject=subject)
