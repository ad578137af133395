"""Which steps of a rule a request can be sent to at the moment, and why not to the others."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from policies_app.routing.codes import Capability, DropReason, HealthState, Tier
from policies_app.routing.compilation import CompiledJudge, CompiledRule, CompiledStep
from policies_app.routing.money import bound_nanos, usd
from policies_app.routing.types import (
    BudgetPressure,
    Candidate,
    CatalogueModel,
    DroppedCandidate,
    Facts,
    PlannedJudge,
    Price,
    Situation,
    TargetHealth,
)
from policies_app.routing.wire_formats import most_inputs, unsaid

_EJECTED = frozenset({HealthState.OPEN, HealthState.COOLING})


@dataclass(frozen=True, slots=True, kw_only=True)
class Screening:
    """Every step is either a candidate or dropped, and so is every judge."""

    candidates: tuple[Candidate, ...]
    judges: tuple[PlannedJudge, ...]
    dropped: tuple[DroppedCandidate, ...]


def screen(*, rule: CompiledRule, facts: Facts, situation: Situation, now: datetime) -> Screening:
    """Screen the steps and the judges of the rule that matched.

    Of the steps that fit, those whose target is ejected are dropped too, unless that leaves none: then the least bad is
    tried. A target that is being probed needs an alternative beside it.
    """
    screener = _Screener(
        facts=facts,
        situation=situation,
        now=now,
        cap=_tier_cap(situation.budgets),
        most_nanos=rule.route.max_cost_nanos,
    )
    fitting: list[Candidate] = []
    judges: list[PlannedJudge] = []
    dropped: list[DroppedCandidate] = []
    for step in rule.steps:
        outcome = screener.screen_step(step)
        if isinstance(outcome, Candidate):
            fitting.append(outcome)
        else:
            dropped.append(outcome)
    if situation.fleet.targets and fitting:
        fitting, ejected = _without_ejected(fitting, situation.fleet.targets)
        dropped += ejected
    for compiled in rule.judges:
        planned = screener.screen_judge(compiled)
        if isinstance(planned, PlannedJudge):
            judges.append(planned)
        else:
            dropped.append(planned)
    return Screening(candidates=tuple(fitting), judges=tuple(judges), dropped=tuple(dropped))


@dataclass(frozen=True, slots=True, kw_only=True)
class _TierCap:
    """No tier above `tier` is asked, because of the budget."""

    budget: str
    tier: Tier


@dataclass(frozen=True, slots=True, kw_only=True)
class _Screener:
    """What all steps and judges of a rule are held against."""

    facts: Facts
    situation: Situation
    now: datetime
    cap: _TierCap | None
    most_nanos: int | None

    def screen_step(self, step: CompiledStep) -> Candidate | DroppedCandidate:
        """The step as a candidate, or why it is none."""
        model, facts = step.model, self.facts
        if model is None:
            return DroppedCandidate(model=step.name, reason=DropReason.UNKNOWN_MODEL)
        needs = facts.needs | step.needs if step.needs else facts.needs
        price = self._switched_off(model) or _unfit(model, facts, needs) or self._price(model)
        if isinstance(price, DroppedCandidate):
            return price
        candidate = self._candidate(step, model, price)
        if self.most_nanos is not None and candidate.bound_nanos > self.most_nanos:
            detail = f"{usd(candidate.bound_nanos)} USD against {usd(self.most_nanos)} USD"
            return DroppedCandidate(model=model.name, reason=DropReason.EXCEEDS_COST_BOUND, detail=detail)
        return candidate

    def screen_judge(self, compiled: CompiledJudge) -> PlannedJudge | DroppedCandidate:
        """The judge as one that can be asked, or why it cannot."""
        name, model = f"judge {compiled.reference}", compiled.model
        if compiled.judge is None or model is None:
            return DroppedCandidate(model=name, reason=DropReason.UNKNOWN_MODEL)
        health = self.situation.fleet.targets.get(model.name)
        if health is not None and health.state in _EJECTED:
            return DroppedCandidate(
                model=name, reason=DropReason.OPEN_BREAKER, detail=_health_in_words(health)
            )
        price = self._switched_off(model) or _unable_to_write(model) or self._price(model)
        if isinstance(price, DroppedCandidate):
            return replace(price, model=name)
        return PlannedJudge(judge=compiled.judge, model=model, price=price)

    def _price(self, model: CatalogueModel) -> Price | DroppedCandidate:
        """The price in force, or why the model cannot be paid."""
        price = model.price_at(self.now)
        if price is None:
            return DroppedCandidate(model=model.name, reason=DropReason.NO_PRICE)
        if self.cap is not None and model.tier.rank > self.cap.tier.rank and not price.is_free:
            return DroppedCandidate(
                model=model.name, reason=DropReason.TIER_CAPPED, detail=_cap_in_words(self.cap)
            )
        return price

    def _switched_off(self, model: CatalogueModel) -> DroppedCandidate | None:
        killed = self.situation.killed
        if not model.enabled:
            return DroppedCandidate(model=model.name, reason=DropReason.DISABLED)
        if model.name in killed.models:
            return DroppedCandidate(model=model.name, reason=DropReason.KILLED, detail=f"model {model.name}")
        if model.provider in killed.providers:
            return DroppedCandidate(
                model=model.name, reason=DropReason.KILLED, detail=f"provider {model.provider}"
            )
        return None

    def _candidate(self, step: CompiledStep, model: CatalogueModel, price: Price) -> Candidate:
        fleet = self.situation.fleet
        health = fleet.targets.get(model.name)
        output_tokens_limit = _output_tokens_limit(step, model, self.facts)
        return Candidate(
            model=model,
            price=price,
            output_tokens_limit=output_tokens_limit,
            bound_nanos=bound_nanos(
                facts=self.facts, model=model, price=price, output_tokens_limit=output_tokens_limit
            ),
            timeout_ms=step.timeout_ms,
            validators=step.validators,
            weight=step.weight,
            cold_penalty_ms=fleet.cold_penalty_ms.get(model.name, 0),
            state=HealthState.HEALTHY if health is None else health.state,
        )


def _without_ejected(
    fitting: list[Candidate], targets: Mapping[str, TargetHealth]
) -> tuple[list[Candidate], list[DroppedCandidate]]:
    """The candidates whose targets can be asked, and the others as dropped ones."""
    if any(candidate.state is HealthState.HEALTHY for candidate in fitting):
        kept = [candidate for candidate in fitting if candidate.state not in _EJECTED]
    else:
        kept = [min(fitting, key=lambda candidate: _badness(targets[candidate.model.name]))]
    names = {candidate.model.name for candidate in kept}
    return kept, [
        DroppedCandidate(
            model=candidate.model.name,
            reason=DropReason.OPEN_BREAKER,
            detail=_health_in_words(targets[candidate.model.name]),
        )
        for candidate in fitting
        if candidate.model.name not in names
    ]


def _badness(health: TargetHealth) -> tuple[bool, float]:
    """Whoever is being probed is better than any that is ejected."""
    return health.state in _EJECTED, health.badness


def _health_in_words(health: TargetHealth) -> str:
    state = {
        HealthState.COOLING: "rate limited",
        HealthState.OPEN: "failing",
        HealthState.HALF_OPEN: "being tried again",
        HealthState.HEALTHY: "well",
    }[health.state]
    return state if health.until is None else f"{state} until {health.until:%H:%M:%S} UTC"


def _unfit(model: CatalogueModel, facts: Facts, needs: frozenset[Capability]) -> DroppedCandidate | None:
    """Why `model` cannot take the request whatever it costs, None if it can."""
    if not facts.is_for_embeddings and (drop := _unable_to_write(model)):
        return drop
    if not needs <= model.capabilities:
        lacking = ", ".join(sorted(needs - model.capabilities))
        return DroppedCandidate(model=model.name, reason=DropReason.LACKS_CAPABILITY, detail=lacking)
    if facts.features and (left_unsaid := unsaid(model, facts.features)):
        return DroppedCandidate(
            model=model.name,
            reason=DropReason.LACKS_CAPABILITY,
            detail=f"{', '.join(sorted(left_unsaid))} in {model.wire_format}",
        )
    if facts.inputs > 1 and facts.inputs > (most := most_inputs(model.wire_format, model.wire_name)):
        return DroppedCandidate(
            model=model.name,
            reason=DropReason.LACKS_CAPABILITY,
            detail=f"room for {facts.inputs} inputs, {most} at a time",
        )
    if _needed_tokens(model, facts) > model.context_window_tokens:
        return DroppedCandidate(
            model=model.name, reason=DropReason.CONTEXT_TOO_SMALL, detail=_context_in_words(model, facts)
        )
    return None


def _unable_to_write(model: CatalogueModel) -> DroppedCandidate | None:
    """Why `model` answers with no words, None if it does."""
    if not model.embeds:
        return None
    detail = "everything but embeddings"
    return DroppedCandidate(model=model.name, reason=DropReason.LACKS_CAPABILITY, detail=detail)


def _output_tokens_limit(step: CompiledStep, model: CatalogueModel, facts: Facts) -> int:
    """The least of all limits on one reply: the caller's, the step's, the model's, and what the context leaves.

    Embeddings are no tokens.
    """
    if facts.is_for_embeddings:
        return 0
    left = model.context_window_tokens - model.quirks.input_tokens - facts.input_tokens
    limit = min(model.max_output_tokens, left)
    if facts.output_tokens is not None:
        limit = min(limit, _asked_output_tokens(facts))
    if step.max_output_tokens is not None:
        limit = min(limit, step.max_output_tokens)
    return limit


def _asked_output_tokens(facts: Facts) -> int:
    """The output that must fit: what the caller asked for, and one token in any case."""
    return max(1, facts.output_tokens or 1)


def _tier_cap(budgets: tuple[BudgetPressure, ...]) -> _TierCap | None:
    """The cap of the budget that allows the least."""
    caps = [
        _TierCap(budget=budget.name, tier=tier)
        for budget in budgets
        if (tier := budget.highest_tier) is not None
    ]
    return min(caps, key=lambda cap: cap.tier.rank) if caps else None


def _cap_in_words(cap: _TierCap) -> str:
    return f"budget {cap.budget} caps the tier at {cap.tier}"


def _context_in_words(model: CatalogueModel, facts: Facts) -> str:
    return f"{_needed_tokens(model, facts)} tokens are needed and {model.context_window_tokens} fit"


def _needed_tokens(model: CatalogueModel, facts: Facts) -> int:
    """What has to fit into the context window at once."""
    if facts.is_for_embeddings:
        return facts.longest_input_tokens
    return facts.input_tokens + model.quirks.input_tokens + _asked_output_tokens(facts)
