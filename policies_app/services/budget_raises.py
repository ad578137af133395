"""Raises of budgets: so much more for a time. Large ones count once a second person has confirmed them."""

from datetime import datetime

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Q, Sum
from django.utils import timezone

from policies_app.models import AuditAction, Budget, BudgetRaise
from policies_app.models.budgets import RaiseState
from policies_app.services.audit import fields_of, record_action, record_creation
from policies_app.services.errors import SecondPersonNeededError, ServiceError


class BudgetNotRaisedError(ServiceError):
    """The raise does not make sense."""


class RaiseSettledError(ServiceError):
    """The raise is not in a state in which that can be done with it."""


def takes_second_person(*, limit_nanos: int, more_nanos: int) -> bool:
    """Whether so much more than a limit is more than one person may allow alone."""
    most_pct: int | None = settings.BUDGET_RAISE_ALONE_PCT
    return most_pct is not None and more_nanos > 0 and more_nanos * 100 > limit_nanos * most_pct


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
    asked.needs_second_person = takes_second_person(
        limit_nanos=limit_nanos, more_nanos=amount_nanos + _unconfirmed_nanos(asked)
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


def _unconfirmed_nanos(asked: BudgetRaise) -> int:
    """What else is allowed at some time of `asked` on one person's word."""
    others = BudgetRaise.objects.standing().filter(budget_id=asked.budget_id, needs_second_person=False)
    others = others.filter(Q(ends_at__isnull=True) | Q(ends_at__gt=asked.starts_at))
    if asked.ends_at is not None:
        others = others.filter(starts_at__lt=asked.ends_at)
    return int(others.aggregate(nanos=Sum("amount_nanos"))["nanos"] or 0)


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
