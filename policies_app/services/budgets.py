"""Budgets and what the running periods grant. Spend itself is the ledger's alone."""

from typing import Any
from zoneinfo import ZoneInfo

from django.core.exceptions import ValidationError
from django.db import connection, transaction
from django.utils import timezone

from policies_app.models import Budget, Tenant
from policies_app.routing.codes import BudgetAction, BudgetPeriod, BudgetScope
from policies_app.routing.periods import period_start
from policies_app.services.audit import fields_of, record_change, record_creation
from policies_app.services.budget_raises import limit_takes_second_person
from policies_app.services.errors import SecondPersonNeededError, ServiceError

# Locked in the order of their ids, as admission locks them. A lowered limit cannot go below what is already spoken for;
# admission itself reads the limit of the budget, so nothing more is admitted.
_GRANT_SQL = """
UPDATE budget_balance AS balance
   SET granted_nanos = CASE WHEN budget.action <> 'alert'
                            THEN greatest(budget_limit_nanos(budget, clock_timestamp()), settled_nanos + reserved_nanos) END
  FROM policies_app_budget AS budget
 WHERE budget.id = balance.budget_id
   AND balance.id IN (SELECT id FROM budget_balance
                       WHERE budget_id = %(budget_id)s AND period_start = %(period_start)s
                       ORDER BY id FOR NO KEY UPDATE)
"""


RAISE_INSTEAD = (
    "This raises the limit by more than one person may alone: add a raise, which somebody else confirms."
)


class BudgetNotSavedError(ServiceError):
    """The budget contradicts itself or another one."""


def create_budget(
    *,
    tenant: Tenant,
    name: str,
    limit_nanos: int,
    author_name: str,
    scope: BudgetScope = BudgetScope.TENANT,
    period: BudgetPeriod = BudgetPeriod.MONTH,
    action: BudgetAction = BudgetAction.REJECT,
    reason: str = "",
    **fields: Any,
) -> Budget:
    """Make a budget; `fields` are further columns of `Budget`, such as `api_key` or `small_from_pct`.

    :raises BudgetNotSavedError: if the fields contradict one another, or the tenant has a budget of that name.
    """
    budget = Budget(
        tenant=tenant,
        name=name,
        limit_nanos=limit_nanos,
        scope=scope,
        period=period,
        action=action,
        **fields,
    )
    save_budget(budget=budget, author_name=author_name, reason=reason)
    return budget


def change_budget_limit(*, budget: Budget, limit_nanos: int, author_name: str, reason: str = "") -> None:
    """Set the limit, for the running period at once.

    :raises BudgetNotSavedError: if the limit is negative.
    :raises SecondPersonNeededError: if it is raised by more than one person may alone.
    """
    budget.limit_nanos = limit_nanos
    save_budget(budget=budget, author_name=author_name, reason=reason)


@transaction.atomic
def save_budget(*, budget: Budget, author_name: str, reason: str = "") -> None:
    """Save a new or edited budget and grant the running period's balances what it says now.

    :raises BudgetNotSavedError: if the fields contradict one another, or the tenant has a budget of that name.
    :raises SecondPersonNeededError: if the limit is raised by more than one person may alone.
    """
    budget.alert_at_pcts = sorted(set(budget.alert_at_pcts))
    _require_valid(budget)
    before = Budget.objects.select_for_update().filter(pk=budget.pk).first()
    if before is not None and limit_takes_second_person(budget_id=before.pk, limit_nanos=budget.limit_nanos):
        raise SecondPersonNeededError(RAISE_INSTEAD)
    budget.save()
    if before is None:
        record_creation(subject=budget, author_name=author_name, reason=reason)
        return
    _grant_running_period(budget)
    record_change(subject=budget, before=fields_of(before), author_name=author_name, reason=reason)


def _require_valid(budget: Budget) -> None:
    try:
        budget.full_clean()
    except ValidationError as error:
        raise BudgetNotSavedError(" ".join(error.messages)) from error


def _grant_running_period(budget: Budget) -> None:
    start = period_start(
        period=BudgetPeriod(budget.period),
        now=timezone.now(),
        zone=ZoneInfo(budget.tenant.time_zone),
        month_day=budget.month_begins_on,
    )
    with connection.cursor() as cursor:
        cursor.execute(
            _GRANT_SQL,
            {"budget_id": budget.pk, "period_start": start},
        )
