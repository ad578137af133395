"""What a kill switch would stop, told before it is thrown: a share of the last hour's traffic, and targets of rules."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db import connection
from django.utils import timezone

from policies_app.models import KillSwitch, Model, Policy
from policies_app.routing.codes import KillScope
from policies_app.routing.document import DocumentError, PolicyDocument, RuleDocument, load

LOOKS_BACK = timedelta(hours=1)

_DISPATCHES_SQL = """
SELECT count(*) FILTER (WHERE is_concerned), coalesce(sum(cost_nanos) FILTER (WHERE is_concerned), 0),
       count(*), coalesce(sum(cost_nanos), 0)
  FROM (SELECT cost_nanos,
               CASE %(scope)s
                   WHEN 'everything' THEN true
                   WHEN 'policy' THEN policy_id = %(policy)s
                   WHEN 'rule' THEN policy_id = %(policy)s AND rule = %(rule)s
                   WHEN 'tenant' THEN tenant_id = %(tenant)s
                   WHEN 'api_key' THEN api_key_id = %(api_key)s
                   WHEN 'end_user' THEN tenant_id = %(tenant)s AND end_user = %(end_user)s
                   ELSE false
               END AS is_concerned
          FROM dispatch WHERE created_at > %(since)s) AS recent
"""
# A dispatch may have asked several targets: it is concerned if one of them is, with what that one cost.
_ATTEMPTS_SQL = """
SELECT count(DISTINCT dispatch_id), coalesce(sum(cost_nanos), 0)
  FROM attempt
 WHERE created_at > %(since)s
   AND CASE %(scope)s WHEN 'model' THEN model_id = %(model)s ELSE provider_id = %(provider)s END
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleLoss:
    """A published rule that loses targets. `left` are those that it could still be served by."""

    policy: str
    rule: str
    lost: tuple[str, ...]
    left: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BlastRadius:
    """What a switch would stop. Costs are told as a share only: not everybody who may stop traffic may see amounts."""

    dispatches: int
    of_dispatches: int
    dispatch_share_pct: float
    cost_share_pct: float
    rules: tuple[RuleLoss, ...]

    @property
    def emptied(self) -> tuple[RuleLoss, ...]:
        """Rules that would have no target left."""
        return tuple(loss for loss in self.rules if not loss.left)


def measure_blast_radius(switch: KillSwitch) -> BlastRadius:
    """Return what `switch`, which need not be saved, concerns: of the last hour's log, and of what is published now."""
    dispatches, cost_nanos, of_dispatches, of_cost_nanos = _traffic(switch)
    return BlastRadius(
        dispatches=dispatches,
        of_dispatches=of_dispatches,
        dispatch_share_pct=_share_pct(dispatches, of_dispatches),
        cost_share_pct=_share_pct(cost_nanos, of_cost_nanos),
        rules=tuple(_losses(switch)),
    )


def _traffic(switch: KillSwitch) -> tuple[int, int, int, int]:
    values: dict[str, Any] = {
        "scope": switch.scope,
        "since": timezone.now() - LOOKS_BACK,
        "provider": switch.provider_id,
        "model": switch.model_id,
        "policy": switch.policy_id,
        "rule": switch.rule_name,
        "tenant": switch.tenant_id,
        "api_key": switch.api_key_id,
        "end_user": switch.end_user,
    }
    with connection.cursor() as cursor:
        cursor.execute(_DISPATCHES_SQL, values)
        concerned, cost_nanos, of_dispatches, of_cost_nanos = map(int, cursor.fetchone())
        if switch.scope in {KillScope.PROVIDER, KillScope.MODEL}:
            cursor.execute(_ATTEMPTS_SQL, values)
            concerned, cost_nanos = map(int, cursor.fetchone())
    return concerned, cost_nanos, of_dispatches, of_cost_nanos


def _share_pct(part: int, whole: int) -> float:
    # Attempts may be younger than the hour whose dispatches are older, and cost what their dispatch has not booked yet.
    return round(min(100.0, 100 * part / whole), 1) if whole else 0.0


def _losses(switch: KillSwitch) -> Iterator[RuleLoss]:
    """The rules of published policies that lose targets, in the order of policies and rules."""
    scope = KillScope(switch.scope)
    if scope in {KillScope.TENANT, KillScope.API_KEY, KillScope.END_USER}:
        return
    models = list(Model.objects.select_related("provider"))
    available = {model.name for model in models if model.enabled and model.provider.enabled}
    available -= _stopped_already(models)
    stopped = {model.name for model in models if _stops(switch, model)}
    for document in published_documents():
        for rule in document.rules:
            is_whole = _stops_rule(switch, document, rule)
            if loss := _loss(document, rule, stopped=available if is_whole else stopped, available=available):
                yield loss


def _loss(
    document: PolicyDocument, rule: RuleDocument, *, stopped: Collection[str], available: Collection[str]
) -> RuleLoss | None:
    served_by = [name for name in dict.fromkeys(step.model for step in rule.route.steps) if name in available]
    lost = tuple(name for name in served_by if name in stopped)
    if not lost:
        return None
    left = tuple(name for name in served_by if name not in stopped)
    return RuleLoss(policy=document.name, rule=rule.name, lost=lost, left=left)


def published_documents() -> Iterator[PolicyDocument]:
    """What is live of the policies that are enabled, in the order of their names."""
    policies = Policy.objects.filter(enabled=True).exclude(live_version=None).select_related("live_version")
    for policy in policies.order_by("name"):
        if policy.live_version is not None:
            try:
                yield load(policy.live_version.document)
            except DocumentError:
                continue  # such a policy is served from memory or not at all; the snapshot loader logs it


def _stopped_already(models: Collection[Model]) -> set[str]:
    switches = KillSwitch.objects.active().filter(
        scope__in=(KillScope.EVERYTHING, KillScope.PROVIDER, KillScope.MODEL)
    )
    return {model.name for switch in switches for model in models if _stops(switch, model)}


def _stops(switch: KillSwitch, model: Model) -> bool:
    match KillScope(switch.scope):
        case KillScope.EVERYTHING:
            return True
        case KillScope.PROVIDER:
            return switch.provider_id == model.provider_id
        case KillScope.MODEL:
            return switch.model_id == model.pk
        case _:
            return False


def _stops_rule(switch: KillSwitch, document: PolicyDocument, rule: RuleDocument) -> bool:
    if switch.policy is None or switch.policy.name != document.name:
        return False
    return switch.scope == KillScope.POLICY or switch.rule_name == rule.name
