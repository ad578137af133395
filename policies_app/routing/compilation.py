"""A policy ready to decide by: a document joined with the catalogue of the moment."""

from dataclasses import dataclass

from policies_app.routing.codes import Strategy
from policies_app.routing.conditions import Condition
from policies_app.routing.document import PolicyDocument, RouteDocument, RuleDocument, StepDocument
from policies_app.routing.types import Catalogue, CatalogueModel

DIRECT_POLICY = "direct"
"""The policy and the rule of a caller that named a model instead of a policy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledStep:
    """One target. `model` is None when the catalogue does not know `name`."""

    name: str
    model: CatalogueModel | None
    timeout_ms: int | None
    max_output_tokens: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledRule:
    """One rule with the steps that its strategy can reach, each model once."""

    name: str
    conditions: tuple[Condition, ...]
    strategy: Strategy
    steps: tuple[CompiledStep, ...]
    deadline_ms: int
    max_attempts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledPolicy:
    """A policy as requests meet it. `baseline` is None when it has none, or the catalogue does not know it."""

    name: str
    version: int
    baseline: CatalogueModel | None
    rules: tuple[CompiledRule, ...]


def compile_policy(*, document: PolicyDocument, version: int, catalogue: Catalogue) -> CompiledPolicy:
    """Join `document` with `catalogue`. Models that it does not know stay in the plan, to be dropped with that reason."""
    baseline = document.baseline_model
    return CompiledPolicy(
        name=document.name,
        version=version,
        baseline=None if baseline is None else catalogue.get(baseline),
        rules=tuple(_compile_rule(rule, catalogue) for rule in document.rules),
    )


def direct_policy(*, model: CatalogueModel) -> CompiledPolicy:
    """The policy of a caller that named `model` itself."""
    route = RouteDocument(strategy=Strategy.SINGLE, steps=(StepDocument(model=model.name),))
    document = PolicyDocument(
        name=DIRECT_POLICY, rules=(RuleDocument(name=DIRECT_POLICY, is_default=True, route=route),)
    )
    return compile_policy(document=document, version=0, catalogue={model.name: model})


def _compile_rule(rule: RuleDocument, catalogue: Catalogue) -> CompiledRule:
    route = rule.route
    return CompiledRule(
        name=rule.name,
        conditions=rule.conditions,
        strategy=route.strategy,
        steps=tuple(_compile_step(step, catalogue) for step in reachable_steps(route)),
        deadline_ms=route.deadline_ms,
        max_attempts=route.max_attempts,
    )


def _compile_step(step: StepDocument, catalogue: Catalogue) -> CompiledStep:
    return CompiledStep(
        name=step.model,
        model=catalogue.get(step.model),
        timeout_ms=step.timeout_ms,
        max_output_tokens=step.max_output_tokens,
    )


def reachable_steps(route: RouteDocument) -> tuple[StepDocument, ...]:
    """The steps that the strategy can come to: no model twice, and for *single* the first one only."""
    first_by_model: dict[str, StepDocument] = {}
    for step in route.steps:
        first_by_model.setdefault(step.model, step)
    steps = tuple(first_by_model.values())
    return steps[:1] if route.strategy is Strategy.SINGLE else steps
