"""Alerts about budgets of which much is spent, and about what came to more than was reserved."""

from datetime import datetime
from zoneinfo import ZoneInfo

from django.db import connection
from django.db.models import Exists, OuterRef, TextField
from django.db.models.functions import Cast
from django.utils import timezone

from dispatch_app.alerts.kinds import AlertKind
from dispatch_app.alerts.raising import raise_alert
from dispatch_app.models import Alert, BudgetBalance
from policies_app.models import Budget
from policies_app.routing.codes import BudgetPeriod
from policies_app.routing.money import usd
from policies_app.routing.periods import period_start

MOST_AT_ONCE = 200
"""Alerts of one run; the next takes what is left."""

# One row a balance, with the highest threshold that it has reached, unless somebody was told of that one.
_REACHED_SQL = """
SELECT balance.budget_id, balance.subject, balance.period_start, reached.pct, reached.key,
       balance.settled_nanos + balance.overage_nanos AS spent_nanos, allowed.nanos AS limit_nanos
  FROM unnest(%s::bigint[], %s::timestamptz[]) AS running (budget_id, period_start)
  JOIN policies_app_budget AS budget ON budget.id = running.budget_id
  JOIN budget_balance AS balance ON balance.budget_id = running.budget_id AND balance.period_start = running.period_start
 CROSS JOIN LATERAL (SELECT budget_limit_nanos(budget, clock_timestamp()) AS nanos) AS allowed
 CROSS JOIN LATERAL (
           SELECT max(pct) AS pct, concat_ws(':', balance.id, max(pct)) AS key
             FROM unnest(budget.alert_at_pcts) AS pct
            WHERE (balance.settled_nanos + balance.overage_nanos) * 100 >= allowed.nanos * pct::numeric
       ) AS reached
 WHERE allowed.nanos > 0 AND reached.pct IS NOT NULL
   AND NOT EXISTS (SELECT FROM dispatch_app_alert AS known WHERE known.kind = %s AND known.key = reached.key)
 ORDER BY balance.id
 LIMIT %s
"""


def alert_about_budgets() -> None:
    """Tell of each threshold that a running period has reached, once; of several at once, of the highest."""
    budgets = {budget.pk: budget for budget in Budget.objects.filter(enabled=True).select_related("tenant")}
    now = timezone.now()
    starts = [_running_since(budget, now) for budget in budgets.values()]
    with connection.cursor() as cursor:
        cursor.execute(_REACHED_SQL, [list(budgets), starts, AlertKind.BUDGET_THRESHOLD, MOST_AT_ONCE])
        reached = cursor.fetchall()
    for budget_id, subject, start, pct, key, spent_nanos, limit_nanos in reached:
        budget = budgets[budget_id]
        raise_alert(
            kind=AlertKind.BUDGET_THRESHOLD,
            key=key,
            tenant_id=budget.tenant_id,
            title=f"{budget}{_of(subject)} has spent {pct} % of its limit",
            details={
                "budget": budget.name,
                **({"end_user": subject} if subject else {}),
                "period": budget.get_period_display(),
                "since": start,
                "limit_usd": usd(limit_nanos),
                "spent_usd": usd(spent_nanos),
                "when_used_up": budget.get_action_display(),
            },
        )


def alert_about_overages() -> None:
    """Tell the installation of each balance that was charged more than was reserved for it, once."""
    told = Alert.objects.filter(kind=AlertKind.BUDGET_OVERAGE, key=Cast(OuterRef("pk"), TextField()))
    overdrawn = BudgetBalance.objects.filter(~Exists(told), overage_nanos__gt=0)
    for balance in overdrawn.order_by("pk")[:MOST_AT_ONCE]:
        budget = Budget.objects.select_related("tenant").filter(pk=balance.budget_id).first()
        name = f"Budget {balance.budget_id}" if budget is None else str(budget)
        raise_alert(
            kind=AlertKind.BUDGET_OVERAGE,
            key=str(balance.pk),
            tenant_id=None,
            title=f"{name}{_of(balance.subject)} was charged more than was reserved",
            details={
                "since": balance.period_start,
                "above_reservations_usd": usd(balance.overage_nanos),
                "spent_usd": usd(balance.settled_nanos + balance.overage_nanos),
            },
        )


def _running_since(budget: Budget, now: datetime) -> datetime:
    return period_start(
        period=BudgetPeriod(budget.period),
        now=now,
        zone=ZoneInfo(budget.tenant.time_zone),
        month_day=budget.month_begins_on,
    )


def _of(subject: str) -> str:
    return f" of {subject}" if subject else ""
