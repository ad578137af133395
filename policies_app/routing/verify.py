"""What is wrong with a policy before it is published: with the policy as a whole, and with each rule as it stands in it."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import datetime
from itertools import combinations

from policies_app.routing.codes import FindingCode, Severity, StickyBy
from policies_app.routing.compilation import DIRECT_POLICY, NO_JUDGES
from policies_app.routing.conditions import Condition, HealthDegraded, LatencyAbove, QualityAtLeast, ShareOf
from policies_app.routing.document import PolicyDocument, RuleDocument
from policies_app.routing.findings import Finding, error, warning
from policies_app.routing.route_checks import check_route
from policies_app.routing.types import Catalogue, Judges


def verify(
    *, document: PolicyDocument, catalogue: Catalogue, now: datetime, judges: Judges = NO_JUDGES
) -> tuple[Finding, ...]:
    """Everything wrong with `document` as of `now`; errors, which forbid publishing, come first.

    Fallbacks that are dearer than the first step need the rule's leave. The later steps of a cascade, and the racers of
    *parallel*, are no fallbacks: dearer ones are what these strategies are for.
    """
    findings = [*_structure(document), *_names(document, catalogue), *_coverage(document), *_shares(document)]
    for rule in document.rules:
        findings += check_route(rule=rule, catalogue=catalogue, judges=judges, now=now)
        findings += _named_in_conditions(rule, catalogue)
        findings += _contradictions(rule)
    return tuple(sorted(findings, key=lambda finding: finding.severity is Severity.WARNING))


def _structure(document: PolicyDocument) -> Iterator[Finding]:
    for name, count in Counter(rule.name for rule in document.rules).items():
        if count > 1:
            yield error(FindingCode.DUPLICATE_RULE, name, f"The name “{name}” stands on {count} rules.")
    defaults = [rule for rule in document.rules if rule.is_default]
    if not defaults:
        yield error(
            FindingCode.NO_DEFAULT, None, "The policy has no default rule: some requests would go nowhere."
        )
    for rule in defaults:
        if rule is not document.rules[-1]:
            yield error(
                FindingCode.DEFAULT_NOT_LAST, rule.name, f"The default rule “{rule.name}” is not the last."
            )
        if rule.conditions:
            message = (
                f"The default rule “{rule.name}” has conditions: it must take whatever no other rule took."
            )
            yield error(FindingCode.CONDITIONAL_DEFAULT, rule.name, message)


def _names(document: PolicyDocument, catalogue: Catalogue) -> Iterator[Finding]:
    if document.name == DIRECT_POLICY:
        message = f"The name “{DIRECT_POLICY}” is reserved for callers that name a model instead of a policy."
        yield error(FindingCode.RESERVED_NAME, None, message)
    name = document.baseline_model
    if name is not None and name not in catalogue:
        yield error(FindingCode.UNKNOWN_BASELINE, None, f"The baseline “{name}” is not in the catalogue.")


def _coverage(document: PolicyDocument) -> Iterator[Finding]:
    """Rules that are never reached, because one before them matches all that they could."""
    for position, rule in enumerate(document.rules):
        cover = next((earlier for earlier in document.rules[:position] if _covers(earlier, rule)), None)
        if cover is None:
            continue
        if cover.conditions:
            message = f"Rule “{rule.name}” is never reached: rule “{cover.name}” matches all that it could."
            yield warning(FindingCode.DEAD_RULE, rule.name, message)
        else:
            message = f"Rule “{rule.name}” is never reached: rule “{cover.name}” before it has no conditions."
            yield warning(FindingCode.AFTER_UNCONDITIONAL, rule.name, message)


def _covers(earlier: RuleDocument, rule: RuleDocument) -> bool:
    """Whether each condition of `earlier` follows from some condition of `rule`."""
    return all(
        any(stated.implies(condition) for stated in rule.conditions) for condition in earlier.conditions
    )


def _shares(document: PolicyDocument) -> Iterator[Finding]:
    """Shares of one name that seem to be meant to add up, which they do not: they are nested."""
    stated: dict[tuple[str, StickyBy], dict[str, float]] = defaultdict(dict)
    for rule in document.rules:
        for condition in rule.conditions:
            if isinstance(condition, ShareOf):
                stated[condition.name, condition.sticky_by][rule.name] = condition.percent
    for (name, _), percents in stated.items():
        if sum(percents.values()) > 100:
            message = (
                f"The shares “{name}” of rules {', '.join(percents)} add up to {sum(percents.values()):g} %. Shares of one "
                "name are nested: a later rule gets only what exceeds the largest before it. Give them different names, or "
                "let each state where it ends."
            )
            yield warning(FindingCode.OVERLAPPING_SHARES, None, message)


def _named_in_conditions(rule: RuleDocument, catalogue: Catalogue) -> Iterator[Finding]:
    providers = {model.provider for model in catalogue.values()}
    for condition in rule.conditions:
        for name in _models_named(condition):
            if name not in catalogue:
                message = f"A condition of rule “{rule.name}” names “{name}”, which is not in the catalogue."
                yield error(FindingCode.UNKNOWN_MODEL, rule.name, message)
        for name in condition.providers if isinstance(condition, HealthDegraded) else ():
            if name not in providers:
                message = f"A condition of rule “{rule.name}” names the provider “{name}”, of which no model is in the catalogue."
                yield warning(FindingCode.UNKNOWN_PROVIDER, rule.name, message)


def _models_named(condition: Condition) -> tuple[str, ...]:
    match condition:
        case LatencyAbove() | QualityAtLeast():
            return (condition.model,)
        case HealthDegraded():
            return condition.models
        case _:
            return ()


def _contradictions(rule: RuleDocument) -> Iterator[Finding]:
    for one, other in combinations(rule.conditions, 2):
        if one.contradicts(other):
            message = f"Rule “{rule.name}” can never match: {one.expected()} and {other.expected()} exclude each other."
            yield warning(FindingCode.CONTRADICTION, rule.name, message)
