"""A policy ready to decide by: a document joined with the catalogue and the judges of the moment."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from policies_app.routing.codes import Capability, Pick, Strategy
from policies_app.routing.conditions import Condition
from policies_app.routing.document import PolicyDocument, RouteDocument, RuleDocument, StepDocument
from policies_app.routing.index import RuleIndex, index_rules
from policies_app.routing.targets import Target, Targets, target_of
from policies_app.routing.types import Catalogue, CatalogueModel, Judge, Judges
from policies_app.routing.validators import JudgedAtLeast, JudgeReference, LogprobAtLeast, Validator

DIRECT_POLICY = "direct"
"""The policy and the rule of a caller that named a model instead of a policy."""
MOST_RACERS = 3
"""How many models *parallel* asks at once; further steps are asked if none of these answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledStep:
    """One target, None when the catalogue does not know `name`.

    `most_output_tokens` is the least of the step's own limit and the model's. `needs` is what the step's own validators,
    and the way its answer is picked, need of the model.
    """

    name: str
    target: Target | None
    timeout_ms: int | None
    most_output_tokens: int
    weight: int
    validators: tuple[Validator, ...]
    needs: frozenset[Capability]


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledJudge:
    """A judge that the route names. `judge` is None where there is no such version, `model` where there is no such model."""

    reference: JudgeReference
    judge: Judge | None
    model: CatalogueModel | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledRule:
    """One rule with the steps that its strategy can reach, each model once."""

    name: str
    conditions: tuple[Condition, ...]
    route: RouteDocument
    steps: tuple[CompiledStep, ...]
    judges: tuple[CompiledJudge, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledPolicy:
    """A policy as requests meet it. `baseline` is None when it has none, or the catalogue does not know it."""

    name: str
    version: int
    baseline: CatalogueModel | None
    rules: tuple[CompiledRule, ...]

    index: RuleIndex = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "index", index_rules([rule.conditions for rule in self.rules]))


NO_JUDGES: Judges = {}


def compile_policy(
    *, document: PolicyDocument, version: int, catalogue: Catalogue, judges: Judges = NO_JUDGES
) -> CompiledPolicy:
    """Join `document` with `catalogue` and `judges`. What these do not know is dropped, with that reason, on each request."""
    baseline = document.baseline_model
    names = {step.model for rule in document.rules for step in rule.route.steps}
    targets = {name: target_of(catalogue[name]) for name in names if name in catalogue}
    return CompiledPolicy(
        name=document.name,
        version=version,
        baseline=None if baseline is None else catalogue.get(baseline),
        rules=tuple(_compile_rule(rule, targets, catalogue, judges) for rule in document.rules),
    )


def direct_policy(*, model: CatalogueModel) -> CompiledPolicy:
    """The policy of a caller that named `model` itself."""
    route = RouteDocument(strategy=Strategy.SINGLE, steps=(StepDocument(model=model.name),))
    document = PolicyDocument(
        name=DIRECT_POLICY, rules=(RuleDocument(name=DIRECT_POLICY, is_default=True, route=route),)
    )
    return compile_policy(document=document, version=0, catalogue={model.name: model})


def direct_policies(catalogue: Catalogue) -> Mapping[str, CompiledPolicy]:
    """The policies of callers that name a model themselves, by its name."""
    return {name: direct_policy(model=model) for name, model in catalogue.items()}


def for_embeddings(rule: CompiledRule) -> CompiledRule:
    """The rule as requests for embeddings meet it: its steps in order, whatever its strategy.

    Vectors are not validated, judged or compared, and there is no first byte of one to wait for.
    """
    if rule.route.strategy is Strategy.SINGLE:
        return rule
    return replace(
        rule,
        route=replace(rule.route, strategy=Strategy.FAILOVER, pick=Pick.FIRST_VALID, judge=None),
        steps=tuple(replace(step, validators=(), needs=frozenset()) for step in rule.steps),
        judges=(),
    )


def _compile_rule(rule: RuleDocument, targets: Targets, catalogue: Catalogue, judges: Judges) -> CompiledRule:
    route = rule.route
    return CompiledRule(
        name=rule.name,
        conditions=rule.conditions,
        route=route,
        steps=tuple(_compile_step(step, route, targets) for step in reachable_steps(route)),
        judges=tuple(_compile_judge(reference, catalogue, judges) for reference in named_judges(route)),
    )


def _compile_step(step: StepDocument, route: RouteDocument, targets: Targets) -> CompiledStep:
    target = targets.get(step.model)
    limits = [] if target is None else [target.model.max_output_tokens]
    if step.max_output_tokens is not None:
        limits.append(step.max_output_tokens)
    return CompiledStep(
        name=step.model,
        target=target,
        timeout_ms=step.timeout_ms,
        most_output_tokens=min(limits, default=0),
        weight=step.weight,
        validators=step.validators if validates(route) else (),
        needs=needs_of_step(step, route),
    )


def _compile_judge(reference: JudgeReference, catalogue: Catalogue, judges: Judges) -> CompiledJudge:
    judge = judges.get((reference.name, reference.version))
    model = None if judge is None else catalogue.get(judge.model)
    return CompiledJudge(reference=reference, judge=judge, model=model)


def reachable_steps(route: RouteDocument) -> tuple[StepDocument, ...]:
    """The steps that the strategy can come to: no model twice, and for *single* the first one only."""
    first_by_model: dict[str, StepDocument] = {}
    for step in route.steps:
        first_by_model.setdefault(step.model, step)
    steps = tuple(first_by_model.values())
    return steps[:1] if route.strategy is Strategy.SINGLE else steps


def validates(route: RouteDocument) -> bool:
    """Whether the route's strategy looks at validators."""
    return route.strategy in {Strategy.CASCADE, Strategy.PARALLEL}


def needs_of_step(step: StepDocument, route: RouteDocument) -> frozenset[Capability]:
    """What the route needs of the step's model beyond what the request does."""
    by_pick = route.strategy is Strategy.PARALLEL and route.pick is Pick.HIGHEST_CONFIDENCE
    by_validator = validates(route) and any(
        isinstance(validator, LogprobAtLeast) for validator in step.validators
    )
    return frozenset({Capability.LOGPROBS}) if by_pick or by_validator else frozenset()


def named_judges(route: RouteDocument) -> tuple[JudgeReference, ...]:
    """The judges that the route can ask, each once."""
    return tuple(dict.fromkeys(_judges_of(route)))


def _judges_of(route: RouteDocument) -> Iterator[JudgeReference]:
    if route.strategy is Strategy.PARALLEL and route.pick is Pick.JUDGE and route.judge is not None:
        yield route.judge
    if validates(route):
        for step in reachable_steps(route):
            for validator in step.validators:
                if isinstance(validator, JudgedAtLeast):
                    yield validator.judge
