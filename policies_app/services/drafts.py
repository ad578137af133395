"""Between a draft's rows and a policy document."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from django.db import DataError, connection, transaction
from django.db.models import Prefetch, QuerySet

from policies_app.models import Condition, Judge, Model, Policy, Rule, Step, Tenant, Validator
from policies_app.routing import conditions, validators
from policies_app.routing.codes import BudgetScope, Capability, Pick, Strategy, WhenNonePasses
from policies_app.routing.document import (
    DocumentError,
    PolicyDocument,
    RouteDocument,
    RuleDocument,
    StepDocument,
)
from policies_app.routing.operands import OperandError
from policies_app.services.errors import ServiceError
from policies_app.services.operand_rows import (
    condition_of,
    condition_row,
    newest_version,
    tags_as_lines,
    tags_by_key,
    validator_of,
    validator_row,
)

_Named = TypeVar("_Named", Model, Tenant, Judge)


# All that `draft_document` reads, digested by the database: far cheaper than reading it.
_FINGERPRINTS_SQL = """
WITH newest AS (SELECT judge_id, max(number) AS number FROM policies_app_judgeversion GROUP BY judge_id)
SELECT policy.id,
       md5(concat_ws('|', policy.name, baseline.name, string_agg(concat_ws(
           '|', rule::text,
           (SELECT string_agg(step::text || model.name, '|' ORDER BY step.id)
              FROM policies_app_step AS step JOIN policies_app_model AS model ON model.id = step.model_id
             WHERE step.rule_id = rule.id),
           (SELECT string_agg(tenant.name, '|' ORDER BY tenant.id)
              FROM policies_app_rule_tenants AS chosen JOIN policies_app_tenant AS tenant ON tenant.id = chosen.tenant_id
             WHERE chosen.rule_id = rule.id),
           (SELECT string_agg(concat_ws('|', condition::text, model.name), '|' ORDER BY condition.id)
              FROM policies_app_condition AS condition
              LEFT JOIN policies_app_model AS model ON model.id = condition.model_id
             WHERE condition.rule_id = rule.id),
           (SELECT string_agg(concat_ws('|', validator::text, judge.name, newest.number), '|' ORDER BY validator.id)
              FROM policies_app_validator AS validator
              LEFT JOIN policies_app_judge AS judge ON judge.id = validator.judge_id
              LEFT JOIN newest ON newest.judge_id = judge.id
             WHERE validator.rule_id = rule.id),
           (SELECT concat_ws('|', judge.name, newest.number)
              FROM policies_app_judge AS judge LEFT JOIN newest ON newest.judge_id = judge.id
             WHERE judge.id = rule.judge_id)), '|' ORDER BY rule.id)))
  FROM policies_app_policy AS policy
  LEFT JOIN policies_app_model AS baseline ON baseline.id = policy.baseline_model_id
  LEFT JOIN policies_app_rule AS rule ON rule.policy_id = policy.id
 GROUP BY policy.id, baseline.name
"""


class DraftNotReplacedError(ServiceError):
    """A document could not be turned into rows."""


def policies_with_drafts() -> QuerySet[Policy]:
    """Policies with all that `draft_document` reads, in a fixed number of queries."""
    rules = rules_with_parts().order_by("position")
    return Policy.objects.select_related("baseline_model").prefetch_related(Prefetch("rules", rules))


def rules_with_parts() -> QuerySet[Rule]:
    """Rules with all that `rule_document` reads, in a fixed number of queries."""
    return Rule.objects.select_related("judge").prefetch_related(
        "judge__versions",
        Prefetch("tenants", Tenant.objects.order_by("name")),
        Prefetch("steps", Step.objects.select_related("model").order_by("position")),
        Prefetch("conditions", Condition.objects.select_related("model").order_by("id")),
        Prefetch(
            "validators",
            Validator.objects.select_related("judge").prefetch_related("judge__versions").order_by("id"),
        ),
    )


def read_draft_fingerprints() -> dict[int, str]:
    """Return by policy id what changes whenever `draft_document` would answer something else."""
    with connection.cursor() as cursor:
        cursor.execute(_FINGERPRINTS_SQL)
        return dict(cursor.fetchall())


def draft_document(policy: Policy) -> PolicyDocument:
    """Return the document that the draft's enabled rules make, the default one last. It need not be publishable.

    :raises DocumentError: if a rule states what no document can, naming the rule.
    """
    rules = sorted(_enabled_rules(policy), key=lambda rule: (rule.is_default, rule.position))
    return PolicyDocument(
        name=policy.name,
        baseline_model=policy.baseline_model.name if policy.baseline_model else None,
        rules=tuple(rule_document(rule) for rule in rules),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """What a document names, as rows by name."""

    models: dict[str, Model]
    tenants: dict[str, Tenant]
    judges: dict[str, Judge]


def replace_draft(*, policy: Policy, document: PolicyDocument) -> None:
    """Make the policy's rows say what `document` says. Disabled rules of the draft go, too.

    Judges are taken at their newest versions, as drafts always are.

    :raises DraftNotReplacedError: if it names a model, tenant or judge that does not exist, or states what no row can hold.
    """
    try:
        with transaction.atomic():
            _replace_rows(policy, document)
    except DataError as error:
        raise DraftNotReplacedError(
            "A name or a figure in it is too long or too large to be stored."
        ) from error


def _replace_rows(policy: Policy, document: PolicyDocument) -> None:
    known = _Known(
        models=_find(Model, "model", _model_names(document)),
        tenants=_find(Tenant, "tenant", _tenant_names(document)),
        judges=_find(Judge, "judge", _judge_names(document)),
    )
    policy.baseline_model = known.models[document.baseline_model] if document.baseline_model else None
    policy.save(update_fields=["baseline_model"])
    policy.rules.all().delete()
    for position, rule in enumerate(document.rules, start=1):
        _create_rule(policy=policy, position=position, document=rule, known=known)


def _enabled_rules(policy: Policy) -> Iterable[Rule]:
    if "rules" not in getattr(policy, "_prefetched_objects_cache", {}):
        policy = policies_with_drafts().get(pk=policy.pk)
    return (rule for rule in policy.rules.all() if rule.enabled)


def rule_document(rule: Rule) -> RuleDocument:
    """Return the document of one rule.

    :raises DocumentError: if it states what no document can, naming the rule.
    """
    try:
        return RuleDocument(
            name=rule.name,
            conditions=tuple(_conditions(rule)),
            route=_route(rule),
            is_default=rule.is_default,
        )
    except (OperandError, DocumentError) as error:
        raise DocumentError(f"rule {rule.name}", str(error)) from error


def _route(rule: Rule) -> RouteDocument:
    return RouteDocument(
        strategy=Strategy(rule.strategy),
        steps=tuple(
            _step_document(step, rule) for step in sorted(rule.steps.all(), key=lambda step: step.position)
        ),
        deadline_ms=rule.deadline_ms,
        max_attempts=rule.max_attempts,
        max_cost_nanos=rule.max_cost_nanos,
        allow_dearer_fallback=rule.allow_dearer_fallback,
        fall_back_on_long_context=rule.fall_back_on_long_context,
        continue_broken_streams=rule.continue_broken_streams,
        drain_ms=rule.drain_ms,
        when_none_passes=WhenNonePasses(rule.when_none_passes),
        pick=Pick(rule.pick),
        judge=newest_version(rule.judge) if rule.judge else None,
        patience_ms=rule.patience_ms,
        hedge_delay_ms=rule.hedge_delay_ms,
    )


def _step_document(step: Step, rule: Rule) -> StepDocument:
    return StepDocument(
        model=step.model.name,
        timeout_ms=step.timeout_ms,
        max_output_tokens=step.max_output_tokens,
        weight=step.weight,
        validators=tuple(
            validator_of(validator)
            for validator in rule.validators.all()
            if validator.step_id in {None, step.pk}
        ),
    )


def _conditions(rule: Rule) -> Iterator[conditions.Condition]:
    """The rule's own fields first, then its rows."""
    if rule.tasks:
        yield conditions.TaskIs(tasks=tuple(rule.tasks))
    if tenants := tuple(tenant.name for tenant in rule.tenants.all()):
        yield conditions.TenantIs(tenants=tenants)
    if rule.end_users:
        yield conditions.EndUserIs(end_users=tuple(rule.end_users))
    if rule.tags:
        yield conditions.TagsMatch(tags=tags_by_key(rule.tags))
    if rule.input_tokens_min is not None or rule.input_tokens_max is not None:
        yield conditions.InputTokensBetween(minimum=rule.input_tokens_min, maximum=rule.input_tokens_max)
    if rule.output_tokens_min is not None or rule.output_tokens_max is not None:
        yield conditions.OutputTokensBetween(minimum=rule.output_tokens_min, maximum=rule.output_tokens_max)
    if rule.needs:
        yield conditions.NeedsAll(capabilities=tuple(Capability(need) for need in rule.needs))
    if rule.budget_scope and rule.budget_used_pct_min is not None:
        yield conditions.BudgetUsed(
            scope=BudgetScope(rule.budget_scope), used_pct_min=rule.budget_used_pct_min
        )
    for row in rule.conditions.all():
        yield condition_of(row)


def _create_rule(*, policy: Policy, position: int, document: RuleDocument, known: _Known) -> None:
    route = document.route
    rule = Rule(
        policy=policy,
        position=position,
        name=document.name,
        is_default=document.is_default,
        strategy=route.strategy,
        deadline_ms=route.deadline_ms,
        max_attempts=route.max_attempts,
        max_cost_nanos=route.max_cost_nanos,
        allow_dearer_fallback=route.allow_dearer_fallback,
        fall_back_on_long_context=route.fall_back_on_long_context,
        continue_broken_streams=route.continue_broken_streams,
        drain_ms=route.drain_ms,
        when_none_passes=route.when_none_passes,
        pick=route.pick,
        judge=known.judges[route.judge.name] if route.judge else None,
        patience_ms=route.patience_ms,
        hedge_delay_ms=route.hedge_delay_ms,
    )
    further = _set_conditions(rule, document.conditions)
    rule.save()
    rule.tenants.set(known.tenants[name] for name in _tenants_of_rule(document))
    add_conditions(rule=rule, stated=further)
    steps = [_create_step(rule, place, step, known) for place, step in enumerate(route.steps, start=1)]
    _create_validators(rule, steps, route)


def add_conditions(*, rule: Rule, stated: Iterable[conditions.Condition]) -> None:
    """Give the rule rows that state these conditions.

    :raises DraftNotReplacedError: if one names a model that does not exist.
    """
    stated = list(stated)
    models = _find(Model, "model", _models_of(stated))
    for condition in stated:
        row = condition_row(condition, models=models)
        row.rule = rule
        row.save()


def add_validators(*, rule: Rule, step: Step | None, stated: Iterable[validators.Validator]) -> None:
    """Give the rule rows that state these validators, for one step or, with None, for all of them.

    :raises DraftNotReplacedError: if one names a judge that does not exist.
    """
    stated = list(stated)
    judges = _find(Judge, "judge", _judges_of(stated))
    for validator in stated:
        row = validator_row(validator, judges=judges)
        row.rule, row.step = rule, step
        row.save()


def _create_step(rule: Rule, position: int, step: StepDocument, known: _Known) -> Step:
    return Step.objects.create(
        rule=rule,
        position=position,
        model=known.models[step.model],
        timeout_ms=step.timeout_ms,
        max_output_tokens=step.max_output_tokens,
        weight=step.weight,
    )


def _create_validators(rule: Rule, steps: list[Step], route: RouteDocument) -> None:
    """One row for all steps where all have the same validators, else a row for each step's."""
    of_steps = [step.validators for step in route.steps]
    are_same = len(of_steps) > 1 and all(of_step == of_steps[0] for of_step in of_steps)
    wanted = [(None, of_steps[0])] if are_same else zip(steps, of_steps, strict=True)
    for step, of_step in wanted:
        add_validators(rule=rule, step=step, stated=of_step)


def _set_conditions(rule: Rule, stated: Iterable[conditions.Condition]) -> list[conditions.Condition]:
    """Put conditions into the rule's own fields; those for which it has none, or none left, are returned."""
    taken: set[str] = set()
    further = []
    for condition in stated:
        if condition.kind in taken or not _set_condition(rule, condition):
            further.append(condition)
        taken.add(condition.kind)
    return further


def _set_condition(rule: Rule, condition: conditions.Condition) -> bool:
    match condition:
        case conditions.TaskIs():
            rule.tasks = list(condition.tasks)
        case conditions.TenantIs():
            pass  # A relation: set once the rule has its row.
        case conditions.EndUserIs():
            rule.end_users = list(condition.end_users)
        case conditions.TagsMatch():
            rule.tags = tags_as_lines(condition)
        case conditions.InputTokensBetween():
            rule.input_tokens_min, rule.input_tokens_max = condition.minimum, condition.maximum
        case conditions.OutputTokensBetween():
            rule.output_tokens_min, rule.output_tokens_max = condition.minimum, condition.maximum
        case conditions.NeedsAll():
            rule.needs = list(condition.capabilities)
        case conditions.BudgetUsed():
            rule.budget_scope, rule.budget_used_pct_min = condition.scope, condition.used_pct_min
        case _:
            return False
    return True


def _model_names(document: PolicyDocument) -> set[str]:
    named = {step.model for rule in document.rules for step in rule.route.steps}
    for rule in document.rules:
        named |= _models_of(rule.conditions)
    return named | ({document.baseline_model} if document.baseline_model else set())


def _models_of(stated: Iterable[conditions.Condition]) -> set[str]:
    read = conditions.LatencyAbove | conditions.QualityAtLeast
    return {condition.model for condition in stated if isinstance(condition, read)}


def _judges_of(stated: Iterable[validators.Validator]) -> set[str]:
    return {validator.judge.name for validator in stated if isinstance(validator, validators.JudgedAtLeast)}


def _judge_names(document: PolicyDocument) -> set[str]:
    routes = [rule.route for rule in document.rules]
    named = {route.judge.name for route in routes if route.judge}
    for route in routes:
        for step in route.steps:
            named |= _judges_of(step.validators)
    return named


def _tenants_of(rule: RuleDocument) -> list[tuple[str, ...]]:
    return [condition.tenants for condition in rule.conditions if isinstance(condition, conditions.TenantIs)]


def _tenants_of_rule(rule: RuleDocument) -> tuple[str, ...]:
    """Those of the rule's own field: the first condition of the kind."""
    return next(iter(_tenants_of(rule)), ())


def _tenant_names(document: PolicyDocument) -> set[str]:
    return {name for rule in document.rules for names in _tenants_of(rule) for name in names}


def _find(kind: type[_Named], noun: str, names: set[str]) -> dict[str, _Named]:
    """The rows of these names.

    :raises DraftNotReplacedError: if there is none of one of them.
    """
    found = {row.name: row for row in kind._default_manager.filter(name__in=names)}  # noqa: SLF001
    if missing := sorted(names.difference(found)):
        raise DraftNotReplacedError(f"There is no {noun} called {', '.join(missing)}.")
    return found
