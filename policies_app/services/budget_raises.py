"""Raises of budgets: so much more for a time. Large ones count once a second person has confirmed them."""

from datetime import datetime, timedelta

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Q, QuerySet, Sum
from django.utils import timezone

from policies_app.models import AuditAction, AuditEntry, Budget, BudgetRaise
from policies_app.models.budgets import RaiseState
from policies_app.services.audit import fields_of, record_action, record_creation
from policies_app.services.errors import SecondPersonNeededError, ServiceError

EDITS_ADD_UP = timedelta(days=1)
"""For so long, what a limit was raised by is held against whoever raises it further."""


class BudgetNotRaisedError(ServiceError):
    """The raise does not make sense."""


class RaiseSettledError(ServiceError):
    """The raise is not in a state in which that can be done with it."""


def limit_takes_second_person(*, budget_id: int, limit_nanos: int) -> bool:
    """Whether one person may not set a saved budget's limit to this alone. Lowering it takes nobody else."""
    current_nanos = Budget.objects.values_list("limit_nanos", flat=True).get(pk=budget_id)
    others = _unconfirmed(budget_id)
    return limit_nanos > current_nanos and _is_too_much(
        budget_id, current_nanos=current_nanos, wanted_nanos=limit_nanos + _sum_nanos(others)
    )


@transaction.atomic
def raise_budget(
    *,
    budget: Budget,
    amount_nanos: int,
    reason: str,
    author_name: str,
    starts_at: datetime | None = None,
    ends_at: datetime | None = None,
) -> BudgetRaise:
    """Allow `amount_nanos` more in each period, from `starts_at` (now) to `ends_at` (until it is withdrawn).

    Where it is too much for one person, together with the others of that time that nobody else has confirmed, it counts
    once somebody else has.

    :raises BudgetNotRaisedError: if there is no reason, nothing is added, or it would be over before it began.
    """
    limit_nanos = Budget.objects.select_for_update().get(pk=budget.pk).limit_nanos
    asked = BudgetRaise(
        budget=budget,
        amount_nanos=amount_nanos,
        starts_at=starts_at or timezone.now(),
        ends_at=ends_at,
        reason=reason,
        author_name=author_name,
    )
    _require_valid(asked)
    asked.needs_second_person = _is_too_much(
        budget.pk,
        current_nanos=limit_nanos,
        wanted_nanos=limit_nanos + amount_nanos + _sum_nanos(_beside(asked)),
    )
    asked.save()
    record_creation(subject=asked, author_name=author_name, reason=reason)
    return asked


@transaction.atomic
def confirm_raise(*, budget_raise: BudgetRaise, author_name: str, reason: str = "") -> BudgetRaise:
    """Be the second person of a raise, which counts from now on, or from its start.

    :raises SecondPersonNeededError: if `author_name` asked for it.
    :raises RaiseSettledError: if it does not wait for anybody.
    """
    waiting = BudgetRaise.objects.select_for_update(of=("self",)).get(pk=budget_raise.pk)
    if waiting.state is not RaiseState.WAITING:
        raise RaiseSettledError(f"This raise is {waiting.state}: it waits for nobody.")
    if waiting.author_name == author_name:
        raise SecondPersonNeededError(f"{author_name} asked for this raise: somebody else has to confirm it.")
    before = fields_of(waiting)
    waiting.confirmed_at, waiting.confirmed_by_name = timezone.now(), author_name
    waiting.save(update_fields=["confirmed_at", "confirmed_by_name"])
    _record(AuditAction.CONFIRMED, waiting, before, author_name=author_name, reason=reason)
    return waiting


@transaction.atomic
def withdraw_raise(*, budget_raise: BudgetRaise, author_name: str, reason: str = "") -> BudgetRaise:
    """End a raise at once, or before it began. What is reserved or spent by it stays so.

    :raises RaiseSettledError: if it is over, or was withdrawn before.
    """
    ended = BudgetRaise.objects.select_for_update(of=("self",)).get(pk=budget_raise.pk)
    if ended.state in {RaiseState.OVER, RaiseState.WITHDRAWN}:
        raise RaiseSettledError(f"This raise is {ended.state} already.")
    before = fields_of(ended)
    ended.withdrawn_at, ended.withdrawn_by_name = timezone.now(), author_name
    ended.save(update_fields=["withdrawn_at", "withdrawn_by_name"])
    _record(AuditAction.WITHDRAWN, ended, before, author_name=author_name, reason=reason)
    return ended


def _is_too_much(budget_id: int, *, current_nanos: int, wanted_nanos: int) -> bool:
    """Whether this is more than one person may make of the limit, as it was before the edits of the last day."""
    most_pct: int | None = settings.BUDGET_RAISE_ALONE_PCT
    if most_pct is None:
        return False
    known_nanos = _limit_a_day_ago(budget_id, current_nanos)
    return (wanted_nanos - known_nanos) * 100 > known_nanos * most_pct


def _limit_a_day_ago(budget_id: int, current_nanos: int) -> int:
    edits = AuditEntry.objects.filter(
        subject_type="budget",
        subject_id=str(budget_id),
        at__gt=timezone.now() - EDITS_ADD_UP,
        before__has_key="limit_nanos",
    )
    earliest = edits.order_by("at", "pk").values_list("before__limit_nanos", flat=True).first()
    return current_nanos if earliest is None else int(earliest)


def _unconfirmed(budget_id: int) -> QuerySet[BudgetRaise]:
    """What is allowed, or will be, on one person's word."""
    return BudgetRaise.objects.standing().filter(budget_id=budget_id, needs_second_person=False)


def _beside(asked: BudgetRaise) -> QuerySet[BudgetRaise]:
    """What else is allowed on one person's word at some time of `asked`."""
    others = _unconfirmed(asked.budget_id).filter(Q(ends_at__isnull=True) | Q(ends_at__gt=asked.starts_at))
    return others if asked.ends_at is None else others.filter(starts_at__lt=asked.ends_at)


def _sum_nanos(raises: QuerySet[BudgetRaise]) -> int:
    return int(raises.aggregate(nanos=Sum("amount_nanos"))["nanos"] or 0)


def _require_valid(asked: BudgetRaise) -> None:
    if asked.ends_at is not None and asked.ends_at <= timezone.now():
        raise BudgetNotRaisedError("The raise would be over already.")
    try:
        asked.full_clean()
    except ValidationError as error:
        raise BudgetNotRaisedError(" ".join(error.messages)) from error


def _record(
    action: AuditAction, row: BudgetRaise, before: dict[str, object], *, author_name: str, reason: str
) -> None:
    after = fields_of(row)
    changed = [name for name in after if after[name] != before[name]]
    record_action(
        action=action,
        subject=row,
        author_name=author_name,
        before={name: before[name] for name in changed},
        after={name: after[name] for name in changed},
        reason=reason,
    )
