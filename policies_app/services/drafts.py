"""Between a draft's rows and a policy document."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import TypeVar

from django.db import connection, transaction
from django.db.models import Prefetch, QuerySet

from policies_app.models import Model, Policy, Rule, Step, Tenant
from policies_app.routing import conditions
from policies_app.routing.codes import BudgetScope, Capability, Strategy
from policies_app.routing.document import (
    DocumentError,
    PolicyDocument,
    RouteDocument,
    RuleDocument,
    StepDocument,
)
from policies_app.routing.operands import OperandError
from policies_app.services.errors import ServiceError

_Named = TypeVar("_Named", Model, Tenant)


# All that `draft_document` reads, digested by the database: far cheaper than reading it.
_FINGERPRINTS_SQL = """
SELECT policy.id,
       md5(concat_ws('|', policy.name, baseline.name, string_agg(concat_ws(
           '|', rule::text,
           (SELECT string_agg(step::text || model.name, '|' ORDER BY step.id)
              FROM policies_app_step AS step JOIN policies_app_model AS model ON model.id = step.model_id
             WHERE step.rule_id = rule.id),
           (SELECT string_agg(tenant.name, '|' ORDER BY tenant.id)
              FROM policies_app_rule_tenants AS chosen JOIN policies_app_tenant AS tenant ON tenant.id = chosen.tenant_id
             WHERE chosen.rule_id = rule.id)), '|' ORDER BY rule.id)))
  FROM policies_app_policy AS policy
  LEFT JOIN policies_app_model AS baseline ON baseline.id = policy.baseline_model_id
  LEFT JOIN policies_app_rule AS rule ON rule.policy_id = policy.id
 GROUP BY policy.id, baseline.name
"""


class DraftNotReplacedError(ServiceError):
    """A document could not be turned into rows."""


def policies_with_drafts() -> QuerySet[Policy]:
    """Policies with all that `draft_document` reads, in a fixed number of queries."""
    steps = Prefetch("steps", Step.objects.select_related("model"))
    rules = Rule.objects.order_by("position").prefetch_related(steps, "tenants")
    return Policy.objects.select_related("baseline_model").prefetch_related(Prefetch("rules", rules))


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


@transaction.atomic
def replace_draft(*, policy: Policy, document: PolicyDocument) -> None:
    """Make the policy's rows say what `document` says. Disabled rules of the draft go, too.

    :raises DraftNotReplacedError: if it names a model or tenant that does not exist, or states what rows cannot hold.
    """
    models = _by_name(Model.objects.filter(name__in=_model_names(document)))
    tenants = _by_name(Tenant.objects.filter(name__in=_tenant_names(document)))
    _require_known("model", _model_names(document), models)
    _require_known("tenant", _tenant_names(document), tenants)
    policy.baseline_model = models[document.baseline_model] if document.baseline_model else None
    policy.save(update_fields=["baseline_model"])
    policy.rules.all().delete()
    for position, rule in enumerate(document.rules, start=1):
        _create_rule(policy=policy, position=position, document=rule, models=models, tenants=tenants)


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
            route=RouteDocument(
                strategy=Strategy(rule.strategy),
                steps=tuple(
                    _step_document(step) for step in sorted(rule.steps.all(), key=lambda step: step.position)
                ),
                deadline_ms=rule.deadline_ms,
                max_attempts=rule.max_attempts,
                allow_dearer_fallback=rule.allow_dearer_fallback,
            ),
            is_default=rule.is_default,
        )
    except OperandError as error:
        raise DocumentError(f"rule {rule.name}", str(error)) from error


def _step_document(step: Step) -> StepDocument:
    return StepDocument(
        model=step.model.name, timeout_ms=step.timeout_ms, max_output_tokens=step.max_output_tokens
    )


def _conditions(rule: Rule) -> Iterator[conditions.Condition]:
    if rule.tasks:
        yield conditions.TaskIs(tasks=tuple(rule.tasks))
    if tenants := tuple(tenant.name for tenant in rule.tenants.all()):
        yield conditions.TenantIs(tenants=tenants)
    if rule.end_users:
        yield conditions.EndUserIs(end_users=tuple(rule.end_users))
    if rule.tags:
        yield conditions.TagsMatch(tags=_tags_by_key(rule.tags))
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


def _tags_by_key(tags: Iterable[str]) -> dict[str, tuple[str, ...]]:
    values: dict[str, list[str]] = defaultdict(list)
    for tag in tags:
        key, separator, value = tag.partition("=")
        if not (key and separator and value):
            raise OperandError(f"tags: “{tag}” is not of the form key=value")
        values[key].append(value)
    return {key: tuple(of_key) for key, of_key in values.items()}


def _create_rule(
    *,
    policy: Policy,
    position: int,
    document: RuleDocument,
    models: dict[str, Model],
    tenants: dict[str, Tenant],
) -> None:
    route = document.route
    rule = Rule(
        policy=policy,
        position=position,
        name=document.name,
        is_default=document.is_default,
        strategy=route.strategy,
        deadline_ms=route.deadline_ms,
        max_attempts=route.max_attempts,
        allow_dearer_fallback=route.allow_dearer_fallback,
    )
    _set_conditions(rule, document.conditions)
    rule.save()
    rule.tenants.set(tenants[name] for name in _tenants_of(document))
    Step.objects.bulk_create(
        Step(
            rule=rule,
            position=step_position,
            model=models[step.model],
            timeout_ms=step.timeout_ms,
            max_output_tokens=step.max_output_tokens,
        )
        for step_position, step in enumerate(route.steps, start=1)
    )


def _set_conditions(rule: Rule, stated: Iterable[conditions.Condition]) -> None:
    kinds = [condition.kind for condition in stated]
    if len(set(kinds)) < len(kinds):
        raise DraftNotReplacedError(f"Rule {rule.name} states a kind of condition twice.")
    for condition in stated:
        _set_condition(rule, condition)


def _set_condition(rule: Rule, condition: conditions.Condition) -> None:
    match condition:
        case conditions.TaskIs():
            rule.tasks = list(condition.tasks)
        case conditions.TenantIs():
            pass  # A relation: set once the rule has its row.
        case conditions.EndUserIs():
            rule.end_users = list(condition.end_users)
        case conditions.TagsMatch():
            rule.tags = [f"{key}={value}" for key, values in condition.tags.items() for value in values]
        case conditions.InputTokensBetween():
            rule.input_tokens_min, rule.input_tokens_max = condition.minimum, condition.maximum
        case conditions.OutputTokensBetween():
            rule.output_tokens_min, rule.output_tokens_max = condition.minimum, condition.maximum
        case conditions.NeedsAll():
            rule.needs = list(condition.capabilities)
        case conditions.BudgetUsed():
            rule.budget_scope, rule.budget_used_pct_min = condition.scope, condition.used_pct_min
        case _:
            raise DraftNotReplacedError(
                f"Rule {rule.name}: a condition on {condition.kind} cannot be edited as a draft yet."
            )


def _model_names(document: PolicyDocument) -> set[str]:
    named = {step.model for rule in document.rules for step in rule.route.steps}
    return named | ({document.baseline_model} if document.baseline_model else set())


def _tenants_of(rule: RuleDocument) -> tuple[str, ...]:
    return tuple(
        name
        for condition in rule.conditions
        if isinstance(condition, conditions.TenantIs)
        for name in condition.tenants
    )


def _tenant_names(document: PolicyDocument) -> set[str]:
    return {name for rule in document.rules for name in _tenants_of(rule)}


def _by_name(rows: Iterable[_Named]) -> dict[str, _Named]:
    return {row.name: row for row in rows}


def _require_known(kind: str, wanted: set[str], known: Iterable[str]) -> None:
    if missing := sorted(wanted.difference(known)):
        raise DraftNotReplacedError(f"There is no {kind} called {', '.join(missing)}.")
