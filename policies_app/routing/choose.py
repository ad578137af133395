"""Which model answers a request: the one decision that Signalbox takes, as a function of its arguments only."""

from datetime import datetime

from policies_app.routing.codes import DropReason, LatencyMeasure, RefusalCode, Strategy
from policies_app.routing.compilation import CompiledPolicy, CompiledRule, for_embeddings
from policies_app.routing.document import RouteDocument
from policies_app.routing.explain import explain_drop
from policies_app.routing.index import Sifting
from policies_app.routing.screening import Screening, screen
from policies_app.routing.trace import RulesLookedAt
from policies_app.routing.types import (
    HEDGE_LEAST_SAMPLES,
    HEDGE_PERCENTILE,
    HEDGE_WINDOW_S,
    Candidate,
    Decision,
    DroppedCandidate,
    Facts,
    FleetState,
    KilledTargets,
    LatencyQuery,
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
    sifting = document.index.sift(facts, situation, now)
    length, rule = _first_match(document, sifting, situation.killed)
    trace = RulesLookedAt(
        policy=document.name,
        rules=document.rules,
        length=length,
        facts=facts,
        situation=situation,
        now=now,
        sifting=sifting,
    )
    if rule is None:
        refusal = _refusal_without_rule(document, sifting, situation.killed)
        return _decision(document, seed, refusal=refusal, trace=trace)
    stated = rule.route.strategy
    if facts.is_for_embeddings:
        rule = for_embeddings(rule)
    screening = screen(rule=rule, facts=facts, situation=situation, now=now)
    if not screening.candidates:
        refusal = _refusal(rule, screening.dropped)
        return _decision(document, seed, rule=rule, refusal=refusal, dropped=screening.dropped, trace=trace)
    plan = _plan(rule, screening, situation, stated=stated)
    return _decision(document, seed, rule=rule, plan=plan, dropped=screening.dropped, trace=trace)


def _plan(rule: CompiledRule, screening: Screening, situation: Situation, *, stated: Strategy) -> RoutePlan:
    route = rule.route
    return RoutePlan(
        rule=rule.name,
        strategy=route.strategy,
        candidates=screening.candidates,
        deadline_ms=route.deadline_ms,
        max_attempts=route.max_attempts,
        max_cost_nanos=route.max_cost_nanos,
        fall_back_on_long_context=route.fall_back_on_long_context,
        continue_broken_streams=route.continue_broken_streams,
        drain_ms=route.drain_ms,
        when_none_passes=route.when_none_passes,
        pick=route.pick,
        judge=route.judge,
        judges=screening.judges,
        patience_ms=route.patience_ms,
        hedge_delay_ms=_hedge_delay_ms(route, screening.candidates, situation.fleet),
        set_aside=None if stated is route.strategy else stated,
    )


def _hedge_delay_ms(route: RouteDocument, candidates: tuple[Candidate, ...], fleet: FleetState) -> int | None:
    """How long the first candidate may be silent: its learned p95, with its cold start, and no less than the rule says."""
    if route.strategy is not Strategy.HEDGED or len(candidates) < 2:
        return None
    first = candidates[0]
    query = LatencyQuery(
        model=first.model.name,
        measure=LatencyMeasure.FIRST_BYTE,
        percentile=HEDGE_PERCENTILE,
        window_s=HEDGE_WINDOW_S,
    )
    reading = fleet.latency.get(query)
    if reading is None or reading.samples < HEDGE_LEAST_SAMPLES:
        return None if route.hedge_delay_ms is None else route.hedge_delay_ms + first.cold_penalty_ms
    return max(route.hedge_delay_ms or 0, reading.value_ms) + first.cold_penalty_ms


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
    document: CompiledPolicy, sifting: Sifting, killed: KilledTargets
) -> tuple[int, CompiledRule | None]:
    """How many rules were looked at, and the first that matched."""
    for place in sifting.matches():
        rule = document.rules[place]
        if not killed.rules or (document.name, rule.name) not in killed.rules:
            return place + 1, rule
    return len(document.rules), None


def _refusal_without_rule(document: CompiledPolicy, sifting: Sifting, killed: KilledTargets) -> Refusal:
    """Why no rule was taken: a rule that would have matched, but for a switch, is told as the switch's doing."""
    if killed.rules:
        for place in sifting.matches():
            return Refusal(code=RefusalCode.KILLED, subject=f"rule {document.rules[place].name}")
    return Refusal(code=RefusalCode.NO_TARGET_AVAILABLE, subject=f"no rule of policy {document.name} matched")


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
