"""What is wrong with a policy before it is published, and what each of its routes can cost at worst."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import combinations

from policies_app.routing.codes import Capability, FindingCode, Severity, Strategy
from policies_app.routing.compilation import reachable_steps
from policies_app.routing.conditions import NeedsAll
from policies_app.routing.document import PolicyDocument, RouteDocument, RuleDocument, StepDocument
from policies_app.routing.money import dearest_input_nanos, dearest_nanos, dearest_output_nanos
from policies_app.routing.types import Catalogue, CatalogueModel, Price


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that `verify` found. `rule` is None when it concerns the policy as a whole."""

    severity: Severity
    code: FindingCode
    rule: str | None
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteWorstCase:
    """What one dispatch of a rule can take at most: upstream calls, time, and money for each choice asked for.

    The money supposes that every call fills the context window of the dearest model, at the prices of the moment.
    """

    rule: str
    attempts: int
    duration_ms: int
    cost_nanos: int


def verify(*, document: PolicyDocument, catalogue: Catalogue, now: datetime) -> tuple[Finding, ...]:
    """Everything wrong with `document` against the catalogue as of `now`; errors, which forbid publishing, come first."""
    findings = [*_structure(document), *_baseline(document, catalogue), *_coverage(document)]
    for rule in document.rules:
        findings += _route(rule)
        findings += _models(rule, catalogue, now)
        findings += _capabilities(rule, catalogue)
        findings += _fallback_prices(rule, catalogue, now)
        findings += _contradictions(rule)
    return tuple(sorted(findings, key=lambda finding: finding.severity is Severity.WARNING))


def worst_case(*, rule: RuleDocument, catalogue: Catalogue, now: datetime) -> RouteWorstCase:
    """The bounds of one rule's route. Steps that cannot be called, for want of a model or a price, cost nothing."""
    costs = [_full_context_nanos(step, catalogue, now) for step in reachable_steps(rule.route)]
    attempts = rule.route.max_attempts if costs else 0
    return RouteWorstCase(
        rule=rule.name,
        attempts=attempts,
        duration_ms=rule.route.deadline_ms,
        cost_nanos=attempts * max(costs, default=0),
    )


def _full_context_nanos(step: StepDocument, catalogue: Catalogue, now: datetime) -> int:
    """The most that one call of `step` can cost: the context full, with as much output as is dearest."""
    model = catalogue.get(step.model)
    price = None if model is None else model.price_at(now)
    if model is None or price is None:
        return 0
    most_output = min(model.max_output_tokens, step.max_output_tokens or model.max_output_tokens)
    output_is_dearer = dearest_output_nanos(price) > dearest_input_nanos(price)
    output_tokens = most_output if output_is_dearer else 0
    return dearest_nanos(
        price=price, input_tokens=model.context_window_tokens - output_tokens, output_tokens=output_tokens
    )


def _structure(document: PolicyDocument) -> Iterator[Finding]:
    for name, count in Counter(rule.name for rule in document.rules).items():
        if count > 1:
            yield _error(FindingCode.DUPLICATE_RULE, name, f"The name “{name}” stands on {count} rules.")
    defaults = [rule for rule in document.rules if rule.is_default]
    if not defaults:
        yield _error(
            FindingCode.NO_DEFAULT, None, "The policy has no default rule: some requests would go nowhere."
        )
    for rule in defaults:
        if rule is not document.rules[-1]:
            yield _error(
                FindingCode.DEFAULT_NOT_LAST, rule.name, f"The default rule “{rule.name}” is not the last."
            )
        if rule.conditions:
            message = (
                f"The default rule “{rule.name}” has conditions: it must take whatever no other rule took."
            )
            yield _error(FindingCode.CONDITIONAL_DEFAULT, rule.name, message)


def _baseline(document: PolicyDocument, catalogue: Catalogue) -> Iterator[Finding]:
    name = document.baseline_model
    if name is not None and name not in catalogue:
        yield _error(FindingCode.UNKNOWN_BASELINE, None, f"The baseline “{name}” is not in the catalogue.")


def _route(rule: RuleDocument) -> Iterator[Finding]:
    """The shape of the route, whatever its models are."""
    steps, route = rule.route.steps, rule.route
    if not steps:
        yield _error(FindingCode.NO_STEPS, rule.name, f"Rule “{rule.name}” has no step.")
    if route.strategy is Strategy.SINGLE and len(steps) > 1:
        message = f"Rule “{rule.name}” has {len(steps)} steps; the strategy single takes exactly one."
        yield _error(FindingCode.SEVERAL_STEPS, rule.name, message)
        return
    for model, count in Counter(step.model for step in steps).items():
        if count > 1:
            message = f"“{model}” stands {count} times in rule “{rule.name}”; only the first can be reached."
            yield _warning(FindingCode.DUPLICATE_STEP, rule.name, message)
    yield from _steps_past_the_last_attempt(rule.name, route)


def _steps_past_the_last_attempt(rule: str, route: RouteDocument) -> Iterator[Finding]:
    for step in reachable_steps(route)[route.max_attempts :]:
        message = (
            f"“{step.model}” in rule “{rule}” is reached only if an earlier step is left out: "
            f"at most {route.max_attempts} upstream calls are made."
        )
        yield _warning(FindingCode.UNREACHABLE_STEP, rule, message)


def _models(rule: RuleDocument, catalogue: Catalogue, now: datetime) -> Iterator[Finding]:
    for name in dict.fromkeys(step.model for step in rule.route.steps):
        model = catalogue.get(name)
        if model is None:
            message = f"Rule “{rule.name}” names “{name}”, which is not in the catalogue."
            yield _error(FindingCode.UNKNOWN_MODEL, rule.name, message)
            continue
        if model.price_at(now) is None:
            message = f"“{name}” in rule “{rule.name}” has no price yet, so it would never be called."
            yield _error(FindingCode.NO_PRICE, rule.name, message)
        if not model.enabled:
            message = f"“{name}” in rule “{rule.name}” is switched off in the catalogue."
            yield _warning(FindingCode.DISABLED_MODEL, rule.name, message)


def _capabilities(rule: RuleDocument, catalogue: Catalogue) -> Iterator[Finding]:
    """Steps that can take no request that the rule matches; an error when no step can."""
    models = _known_models(rule, catalogue)
    lacking = {model.name: gap for model in models if (gap := _needs(rule) - model.capabilities)}
    is_hopeless = len(lacking) == len(models)
    for name, gap in lacking.items():
        message = (
            f"Rule “{rule.name}” matches requests that need {', '.join(sorted(gap))}, which “{name}” lacks."
        )
        finding = _error if is_hopeless else _warning
        yield finding(FindingCode.CAPABILITY_GAP, rule.name, message)


def _needs(rule: RuleDocument) -> frozenset[Capability]:
    """What every request that the rule matches needs."""
    stated = (condition.members for condition in rule.conditions if isinstance(condition, NeedsAll))
    return frozenset[Capability]().union(*stated)


def _fallback_prices(rule: RuleDocument, catalogue: Catalogue, now: datetime) -> Iterator[Finding]:
    if rule.route.allow_dearer_fallback:
        return
    priced = [(model, price) for model in _known_models(rule, catalogue) if (price := model.price_at(now))]
    for model, price in priced[1:]:
        primary, primary_price = priced[0]
        if _can_cost_more(price, primary_price):
            message = (
                f"“{model.name}” can cost more than “{primary.name}”, the first step of rule “{rule.name}”. "
                "Allow dearer fallbacks there, or choose a cheaper model."
            )
            yield _error(FindingCode.DEARER_FALLBACK, rule.name, message)


def _can_cost_more(price: Price, other: Price) -> bool:
    """Whether some request costs more at `price` than at `other`."""
    dearer_input = dearest_input_nanos(price) > dearest_input_nanos(other)
    return dearer_input or dearest_output_nanos(price) > dearest_output_nanos(other)


def _known_models(rule: RuleDocument, catalogue: Catalogue) -> list[CatalogueModel]:
    steps = reachable_steps(rule.route)
    return [model for step in steps if (model := catalogue.get(step.model)) is not None]


def _contradictions(rule: RuleDocument) -> Iterator[Finding]:
    for one, other in combinations(rule.conditions, 2):
        if one.contradicts(other):
            message = f"Rule “{rule.name}” can never match: {one.expected()} and {other.expected()} exclude each other."
            yield _warning(FindingCode.CONTRADICTION, rule.name, message)


def _coverage(document: PolicyDocument) -> Iterator[Finding]:
    """Rules that are never reached, because one before them matches all that they could."""
    for position, rule in enumerate(document.rules):
        cover = next((earlier for earlier in document.rules[:position] if _covers(earlier, rule)), None)
        if cover is None:
            continue
        if cover.conditions:
            message = f"Rule “{rule.name}” is never reached: rule “{cover.name}” matches all that it could."
            yield _warning(FindingCode.DEAD_RULE, rule.name, message)
        else:
            message = f"Rule “{rule.name}” is never reached: rule “{cover.name}” before it has no conditions."
            yield _warning(FindingCode.AFTER_UNCONDITIONAL, rule.name, message)


def _covers(earlier: RuleDocument, rule: RuleDocument) -> bool:
    """Whether each condition of `earlier` follows from some condition of `rule`."""
    return all(
        any(stated.implies(condition) for stated in rule.conditions) for condition in earlier.conditions
    )


def _error(code: FindingCode, rule: str | None, message: str) -> Finding:
    return Finding(severity=Severity.ERROR, code=code, rule=rule, message=message)


def _warning(code: FindingCode, rule: str | None, message: str) -> Finding:
    return Finding(severity=Severity.WARNING, code=code, rule=rule, message=message)
