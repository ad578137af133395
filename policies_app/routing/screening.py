"""Which steps of a rule a request can be sent to at the moment, and why not to the others."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from policies_app.routing.codes import DropReason, HealthState, Tier
from policies_app.routing.compilation import CompiledJudge, CompiledRule, CompiledStep
from policies_app.routing.money import bound_nanos, usd
from policies_app.routing.targets import Target
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
        is_for_embeddings=facts.is_for_embeddings,
        asked_output_tokens=max(1, facts.output_tokens or 1),
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


@dataclass(slots=True, kw_only=True)
class _Screener:
    """What all steps and judges of a rule are held against.

    `asked_output_tokens` is the output that must fit: what the caller asked for, and one token in any case.
    """

    facts: Facts
    situation: Situation
    now: datetime
    cap: _TierCap | None
    most_nanos: int | None
    is_for_embeddings: bool
    asked_output_tokens: int

    def screen_step(self, step: CompiledStep) -> Candidate | DroppedCandidate:
        """The step as a candidate, or why it is none."""
        target = step.target
        if target is None:
            return DroppedCandidate(model=step.name, reason=DropReason.UNKNOWN_MODEL)
        model = target.model
        price = self._switched_off(model) or self._unfit(step, target) or self._price(model)
        if isinstance(price, DroppedCandidate):
            return price
        limit = self._output_tokens_limit(step, target)
        nanos = bound_nanos(facts=self.facts, model=model, price=price, output_tokens_limit=limit)
        if self.most_nanos is not None and nanos > self.most_nanos:
            detail = f"{usd(nanos)} USD against {usd(self.most_nanos)} USD"
            return DroppedCandidate(model=model.name, reason=DropReason.EXCEEDS_COST_BOUND, detail=detail)
        fleet = self.situation.fleet
        health = fleet.targets.get(model.name)
        return Candidate(
            model=model,
            price=price,
            output_tokens_limit=limit,
            bound_nanos=nanos,
            timeout_ms=step.timeout_ms,
            validators=step.validators,
            weight=step.weight,
            cold_penalty_ms=fleet.cold_penalty_ms.get(model.name, 0),
            state=HealthState.HEALTHY if health is None else health.state,
        )

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

    def _unfit(self, step: CompiledStep, target: Target) -> DroppedCandidate | None:
        """Why the step's target cannot take the request whatever it costs, None if it can."""
        facts, model = self.facts, target.model
        if not self.is_for_embeddings and (drop := _unable_to_write(model)):
            return drop
        needs = facts.needs | step.needs if step.needs else facts.needs
        if not needs <= model.capabilities:
            return _lacking(model, ", ".join(sorted(needs - model.capabilities)))
        if not facts.features.isdisjoint(target.unsaid):
            unsaid = ", ".join(sorted(facts.features & target.unsaid))
            return _lacking(model, f"{unsaid} in {model.wire_format}")
        if facts.inputs > 1 and facts.inputs > target.most_inputs:
            return _lacking(model, f"room for {facts.inputs} inputs, {target.most_inputs} at a time")
        if self.is_for_embeddings:
            return _too_long(model, facts.longest_input_tokens)
        return _too_long(model, facts.input_tokens + model.quirks.input_tokens + self.asked_output_tokens)

    def _output_tokens_limit(self, step: CompiledStep, target: Target) -> int:
        """The least of all limits on one reply: the caller's, the step's, the model's, and what the context leaves.

        Embeddings are no tokens.
        """
        if self.is_for_embeddings:
            return 0
        limit = min(step.most_output_tokens, target.room_tokens - self.facts.input_tokens)
        return limit if self.facts.output_tokens is None else min(limit, self.asked_output_tokens)


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


def _unable_to_write(model: CatalogueModel) -> DroppedCandidate | None:
    """Why `model` answers with no words, None if it does."""
    if not model.embeds:
        return None
    return _lacking(model, "everything but embeddings")


def _lacking(model: CatalogueModel, detail: str) -> DroppedCandidate:
    return DroppedCandidate(model=model.name, reason=DropReason.LACKS_CAPABILITY, detail=detail)


def _too_long(model: CatalogueModel, needed_tokens: int) -> DroppedCandidate | None:
    """Why so many tokens do not fit into the context of `model` at once, None if they do."""
    if needed_tokens <= model.context_window_tokens:
        return None
    detail = f"{needed_tokens} tokens are needed and {model.context_window_tokens} fit"
    return DroppedCandidate(model=model.name, reason=DropReason.CONTEXT_TOO_SMALL, detail=detail)


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
