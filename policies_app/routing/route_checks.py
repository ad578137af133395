"""What is wrong with one rule's route: its shape, its models, its validators, its judges and its times."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from policies_app.routing.codes import Capability, FindingCode, Pick, Strategy
from policies_app.routing.compilation import (
    MOST_RACERS,
    named_judges,
    needs_of_step,
    reachable_steps,
    validates,
)
from policies_app.routing.conditions import NeedsAll
from policies_app.routing.document import RuleDocument, StepDocument
from policies_app.routing.findings import Finding, error, warning
from policies_app.routing.money import usd
from policies_app.routing.types import Catalogue, CatalogueModel, Judges, Price
from policies_app.routing.validators import JudgedAtLeast, JudgeReference
from policies_app.routing.worst_case import asked_steps, full_answer_nanos, stated_calls

_LEAST_STEPS = {Strategy.PARALLEL: 2, Strategy.HEDGED: 2}


def check_route(
    *, rule: RuleDocument, catalogue: Catalogue, judges: Judges, now: datetime
) -> Iterator[Finding]:
    """Everything wrong with the route of `rule`, whatever the other rules are."""
    checks = _Checks(rule=rule, catalogue=catalogue, judges=judges, now=now)
    yield from checks.shape()
    yield from checks.models()
    yield from checks.capabilities()
    yield from checks.embeddings()
    yield from checks.prices()
    yield from checks.cost_bound()
    yield from checks.validators()
    yield from checks.judging()
    yield from checks.times()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Checks:
    """One rule against the catalogue and the judges of the moment."""

    rule: RuleDocument
    catalogue: Catalogue
    judges: Judges
    now: datetime

    def shape(self) -> Iterator[Finding]:
        """The number and order of the steps, whatever their models are."""
        rule, route = self.rule.name, self.rule.route
        if not route.steps:
            yield error(FindingCode.NO_STEPS, rule, f"Rule “{rule}” has no step.")
        elif route.strategy is Strategy.SINGLE and len(route.steps) > 1:
            message = f"Rule “{rule}” has {len(route.steps)} steps; the strategy single takes exactly one."
            yield error(FindingCode.SEVERAL_STEPS, rule, message)
            return
        elif len(self._steps) < _LEAST_STEPS.get(route.strategy, 1):
            message = f"Rule “{rule}” asks one model only; the strategy {route.strategy} takes two or more."
            yield error(FindingCode.TOO_FEW_STEPS, rule, message)
        for model, count in Counter(step.model for step in route.steps).items():
            if count > 1:
                message = f"“{model}” stands {count} times in rule “{rule}”; only the first can be reached."
                yield warning(FindingCode.DUPLICATE_STEP, rule, message)
        yield from self._late_steps()
        yield from self._steps_past_the_last_attempt()

    def models(self) -> Iterator[Finding]:
        """Models that cannot be called."""
        for name in dict.fromkeys(step.model for step in self.rule.route.steps):
            yield from self._callable(name, asked_by=f"rule “{self.rule.name}”")

    def capabilities(self) -> Iterator[Finding]:
        """Steps that can take no request that the rule matches, or no streamed one; an error when no step can."""
        rule, needed = self.rule, self._needs_of_requests
        known = [(step, model) for step in self._steps if (model := self.catalogue.get(step.model))]
        lacking = {
            model.name: gap
            for step, model in known
            if (gap := (needed | self._own_needs(step, model)) - model.capabilities)
        }
        finding = error if len(lacking) == len(known) else warning
        for name, gap in lacking.items():
            by = "matches requests that need" if gap <= needed else "needs"
            message = f"Rule “{rule.name}” {by} {', '.join(sorted(gap))}, which “{name}” lacks."
            yield finding(FindingCode.CAPABILITY_GAP, rule.name, message)
        for _, model in known:
            streams = model.embeds or Capability.STREAMING in model.capabilities
            if not streams and model.name not in lacking:
                message = (
                    f"Streamed requests leave out “{model.name}” in rule “{rule.name}”: it lacks streaming."
                )
                yield warning(FindingCode.CAPABILITY_GAP, rule.name, message)

    def embeddings(self) -> Iterator[Finding]:
        """Steps that embed beside steps that write, which no request can come to both of; strategies that do not apply."""
        rule, strategy = self.rule.name, self.rule.route.strategy
        known, takes_others = self._known_models, Capability.EMBEDDINGS not in self._needs_of_requests
        embedding = [model.name for model in known if model.embeds]
        if embedding and len(embedding) < len(known) and takes_others:
            named = ", ".join(f"“{name}”" for name in embedding)
            message = f"Rule “{rule}” sends requests for embeddings to {named} only, and all others only to its other steps."
            yield warning(FindingCode.MIXED_ROUTE, rule, message)
        if not embedding or len(embedding) < len(known):
            return
        if takes_others:
            message = f"All steps of rule “{rule}” embed: any other request that it takes is refused."
            yield warning(FindingCode.EMBEDDINGS_ONLY, rule, message)
        if strategy not in {Strategy.SINGLE, Strategy.FAILOVER}:
            message = f"All steps of rule “{rule}” embed, and embeddings are asked for in order: {strategy} does not apply."
            yield warning(FindingCode.IGNORED_STRATEGY, rule, message)

    def prices(self) -> Iterator[Finding]:
        """Fallbacks that can cost more than every model that is asked first."""
        route = self.rule.route
        if route.allow_dearer_fallback:
            return
        models = self._known_models
        yield from self._dearer([model for model in models if model.embeds], asked_first=1)
        if route.strategy is not Strategy.CASCADE:
            asked_first = MOST_RACERS if route.strategy is Strategy.PARALLEL else 1
            yield from self._dearer([model for model in models if not model.embeds], asked_first=asked_first)

    def _dearer(self, models: list[CatalogueModel], *, asked_first: int) -> Iterator[Finding]:
        """Those of `models` that can cost more than all that are asked first of them."""
        priced = [(model, price) for model in models if (price := model.price_at(self.now))]
        for model, price in priced[asked_first:]:
            if all(_can_cost_more(price, primary) for _, primary in priced[:asked_first]):
                dearer_than = (
                    f"“{priced[0][0].name}”, the first step"
                    if asked_first == 1
                    else "any of the models that race"
                )
                message = (
                    f"“{model.name}” can cost more than {dearer_than} of rule “{self.rule.name}”. "
                    "Allow dearer fallbacks there, or choose a cheaper model."
                )
                yield error(FindingCode.DEARER_FALLBACK, self.rule.name, message)

    def cost_bound(self) -> Iterator[Finding]:
        """Steps that the route's bound on money keeps out, however short the request is."""
        rule, most_nanos = self.rule.name, self.rule.route.max_cost_nanos
        for step in self._steps if most_nanos is not None else ():
            answer_nanos = full_answer_nanos(step, self.catalogue, self.now)
            if most_nanos is not None and answer_nanos > most_nanos:
                message = (
                    f"An answer of “{step.model}” can cost {usd(answer_nanos)} USD, and rule “{rule}” allows "
                    f"{usd(most_nanos)} USD: only requests that limit their output can be sent there."
                )
                yield warning(FindingCode.COST_BOUND_TOO_LOW, rule, message)

    def validators(self) -> Iterator[Finding]:
        """Validators that nobody looks at, and steps of a cascade that lack them."""
        rule, route = self.rule.name, self.rule.route
        if not validates(route) and any(step.validators for step in route.steps):
            message = (
                f"Rule “{rule}” states validators, but the strategy {route.strategy} does not look at them."
            )
            yield warning(FindingCode.IGNORED_VALIDATORS, rule, message)
        if route.strategy is not Strategy.CASCADE:
            return
        for step in self._steps[:-1]:
            if not step.validators:
                message = (
                    f"“{step.model}” in rule “{rule}” has no validators, so its answer is always taken: the steps after it "
                    "are reached only when it fails."
                )
                yield warning(FindingCode.UNCHECKED_STEP, rule, message)

    def judging(self) -> Iterator[Finding]:
        """Judges that are missing or cannot be asked, and such as rate their own answers."""
        rule, route = self.rule.name, self.rule.route
        if route.strategy is Strategy.PARALLEL and route.pick is Pick.JUDGE and route.judge is None:
            yield error(FindingCode.NO_JUDGE, rule, f"Rule “{rule}” picks by judge, and names none.")
        for reference in named_judges(route):
            judge = self.judges.get((reference.name, reference.version))
            if judge is None:
                message = f"Rule “{rule}” names judge {reference}, and there is no such version."
                yield error(FindingCode.UNKNOWN_JUDGE, rule, message)
                continue
            yield from self._callable(judge.model, asked_by=f"judge {reference} of rule “{rule}”")
            model = self.catalogue.get(judge.model)
            if model is not None and model.embeds:
                message = f"Judge {reference} of rule “{rule}” asks “{judge.model}”, which gives embeddings and no words."
                yield error(FindingCode.CAPABILITY_GAP, rule, message)
            if judge.model in self._rated_by(reference):
                message = f"“{judge.model}” would rate its own answers in rule “{rule}”: judge {reference} asks it too."
                yield warning(FindingCode.OWN_JUDGE, rule, message)

    def times(self) -> Iterator[Finding]:
        """Times that never run out, because the rule's deadline is over before."""
        rule, route = self.rule.name, self.rule.route
        for what, stated_ms in self._stated_times():
            if stated_ms is not None and stated_ms >= route.deadline_ms:
                message = f"{what} in rule “{rule}” is {stated_ms} ms; the deadline of {route.deadline_ms} ms comes first."
                yield warning(FindingCode.PAST_DEADLINE, rule, message)

    @property
    def _steps(self) -> tuple[StepDocument, ...]:
        return reachable_steps(self.rule.route)

    @property
    def _known_models(self) -> list[CatalogueModel]:
        return [model for step in self._steps if (model := self.catalogue.get(step.model)) is not None]

    def _own_needs(self, step: StepDocument, model: CatalogueModel) -> frozenset[Capability]:
        """What the route needs of a step's model beyond what requests do."""
        return frozenset() if model.embeds else needs_of_step(step, self.rule.route)

    @property
    def _needs_of_requests(self) -> frozenset[Capability]:
        """What every request that the rule matches needs."""
        stated = (condition.members for condition in self.rule.conditions if isinstance(condition, NeedsAll))
        return frozenset[Capability]().union(*stated)

    def _callable(self, name: str, *, asked_by: str) -> Iterator[Finding]:
        model, rule = self.catalogue.get(name), self.rule.name
        if model is None:
            message = f"{asked_by[0].upper()}{asked_by[1:]} names “{name}”, which is not in the catalogue."
            yield error(FindingCode.UNKNOWN_MODEL, rule, message)
            return
        if model.price_at(self.now) is None:
            message = f"“{name}” in {asked_by} has no price yet, so it would never be called."
            yield error(FindingCode.NO_PRICE, rule, message)
        if not model.enabled:
            message = f"“{name}” in {asked_by} is switched off in the catalogue."
            yield warning(FindingCode.DISABLED_MODEL, rule, message)

    def _late_steps(self) -> Iterator[Finding]:
        if self.rule.route.strategy is not Strategy.PARALLEL:
            return
        for step in self._steps[MOST_RACERS:]:
            message = (
                f"“{step.model}” in rule “{self.rule.name}” does not race: it is asked only if none of the first "
                f"{MOST_RACERS} answers."
            )
            yield warning(FindingCode.LATE_STEP, self.rule.name, message)

    def _steps_past_the_last_attempt(self) -> Iterator[Finding]:
        rule, route = self.rule.name, self.rule.route
        for step in self._steps[route.max_attempts :]:
            message = (
                f"“{step.model}” in rule “{rule}” is reached only if an earlier step is left out: "
                f"at most {route.max_attempts} upstream calls are made."
            )
            yield warning(FindingCode.UNREACHABLE_STEP, rule, message)
        calls = stated_calls(route)
        if calls > max(route.max_attempts, asked_steps(route)):
            message = (
                f"Rule “{rule}” takes {calls} upstream calls if it comes to all of its steps, samples and judges, and at most "
                f"{route.max_attempts} are made: some would not be asked."
            )
            yield warning(FindingCode.TOO_FEW_ATTEMPTS, rule, message)

    def _rated_by(self, reference: JudgeReference) -> frozenset[str]:
        """The models whose answers a judge of this route rates."""
        route = self.rule.route
        picks = route.strategy is Strategy.PARALLEL and route.pick is Pick.JUDGE and route.judge == reference
        return frozenset(
            step.model
            for step in self._steps
            if picks
            or any(
                isinstance(validator, JudgedAtLeast) and validator.judge == reference
                for validator in step.validators
            )
        )

    def _stated_times(self) -> Iterator[tuple[str, int | None]]:
        """Every time that the route states beside its deadline, and whose it is."""
        route = self.rule.route
        for step in self._steps:
            yield f"The timeout of “{step.model}”", step.timeout_ms
        for reference in named_judges(route):
            judge = self.judges.get((reference.name, reference.version))
            yield f"The timeout of judge {reference}", None if judge is None else judge.timeout_ms
        yield "Reading on after a hang-up", route.drain_ms
        if route.strategy is Strategy.PARALLEL:
            yield "The patience", route.patience_ms
        if route.strategy is Strategy.HEDGED:
            yield "The delay before the second model", route.hedge_delay_ms


def _can_cost_more(price: Price, other: Price) -> bool:
    """Whether some request costs more at `price` than at `other`."""
    dearer_input = price.dearest_input_nanos > other.dearest_input_nanos
    return dearer_input or price.dearest_output_nanos > other.dearest_output_nanos
