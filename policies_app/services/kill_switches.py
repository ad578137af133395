"""Kill switches: thrown and lifted. No attempt that a switch stops is admitted once throwing it has returned."""

import time
from datetime import datetime
from typing import Any, NamedTuple

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import connection, transaction
from django.utils import timezone

from policies_app.models import ApiKey, AuditAction, KillSwitch, Model, Policy, Provider, Tenant
from policies_app.routing.codes import KillScope
from policies_app.services.audit import fields_of, record_action
from policies_app.services.errors import SecondPersonNeededError, ServiceError

_LOOK_AGAIN_S = 0.02

# The edit that made an epoch is timed only while no later one has replaced it.
_ACKNOWLEDGEMENTS_SQL = """
SELECT count(*) FILTER (WHERE process.epoch >= %(epoch)s),
       count(*),
       extract(epoch FROM max(process.acknowledged_at) FILTER (WHERE process.epoch = %(epoch)s) - max(edit.changed_at))
  FROM serving_process AS process
  LEFT JOIN control_epoch AS edit ON edit.value = %(epoch)s
 WHERE process.seen_at > clock_timestamp() - interval '1 minute'
"""


class KillSwitchNotThrownError(ServiceError):
    """The switch does not say what it stops, or why."""


class KillSwitchNotActiveError(ServiceError):
    """The switch was lifted before, or expired."""


class Acknowledgements(NamedTuple):
    """How many serving processes have loaded an edit, and within how many seconds; None where that is not known."""

    acknowledged: int
    total: int
    seconds: float | None

    @property
    def are_complete(self) -> bool:
        """Whether no process serves without the edit."""
        return self.acknowledged == self.total

    def __str__(self) -> str:
        if self.total == 0:
            return "No process serves requests at the moment."
        reached = f"{self.acknowledged} of {self.total} processes"
        return f"{reached} serve with it." if self.seconds is None else f"{reached} in {self.seconds:.1f} s."


def throw_kill_switch(
    *,
    scope: KillScope,
    reason: str,
    author_name: str,
    provider: Provider | None = None,
    model: Model | None = None,
    policy: Policy | None = None,
    rule_name: str = "",
    tenant: Tenant | None = None,
    api_key: ApiKey | None = None,
    end_user: str = "",
    expires_at: datetime | None = None,
    hard: bool = False,
    lift_needs_second_person: bool = False,
) -> KillSwitch:
    """Stop what `scope` and its subject name, at once for admission. Without `expires_at` it holds until lifted.

    A `hard` switch also cuts what was admitted before. Where the installation asks for a second person, all switches do.

    :raises KillSwitchNotThrownError: if the subject or the reason is missing, or the end has passed.
    """
    switch = KillSwitch(
        scope=scope,
        provider=provider,
        model=model,
        policy=policy,
        rule_name=rule_name,
        tenant=tenant,
        api_key=api_key,
        end_user=end_user,
        reason=reason,
        author_name=author_name,
        expires_at=expires_at,
        hard=hard,
        lift_needs_second_person=lift_needs_second_person or settings.KILL_SWITCH_LIFT_NEEDS_SECOND_PERSON,
    )
    _require_valid(switch)
    with transaction.atomic():
        switch.save()
        record_action(
            action=AuditAction.THROWN,
            subject=switch,
            author_name=author_name,
            after=_stated_fields(switch),
            reason=reason,
        )
    return switch


@transaction.atomic
def lift_kill_switch(*, switch: KillSwitch, author_name: str, reason: str = "") -> KillSwitch:
    """Let through again what `switch` stops.

    :raises SecondPersonNeededError: if the switch takes a second person and `author_name` threw it.
    :raises KillSwitchNotActiveError: if it stops nothing any more.
    """
    if switch.lift_needs_second_person and switch.author_name == author_name:
        raise SecondPersonNeededError(f"{author_name} threw this switch: somebody else has to lift it.")
    now = timezone.now()
    lifted = (
        KillSwitch.objects.active().filter(pk=switch.pk).update(lifted_at=now, lifted_by_name=author_name)
    )
    if not lifted:
        raise KillSwitchNotActiveError(f"Kill switch {switch.pk} is not active.")
    switch.refresh_from_db()
    record_action(
        action=AuditAction.LIFTED,
        subject=switch,
        author_name=author_name,
        before={"lifted_at": None},
        after={"lifted_at": now},
        reason=reason,
    )
    return switch


def current_epoch() -> int:
    """Return the number of the latest committed edit of anything that the data plane serves from."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT value FROM control_epoch")
        return int(cursor.fetchone()[0])


def acknowledgements(epoch: int) -> Acknowledgements:
    """Return how many of the serving processes serve `epoch` or a later one."""
    with connection.cursor() as cursor:
        cursor.execute(_ACKNOWLEDGEMENTS_SQL, {"epoch": epoch})
        acknowledged, total, seconds = cursor.fetchone()
    return Acknowledgements(acknowledged, total, None if seconds is None else max(0.0, float(seconds)))


def wait_for_acknowledgement(*, epoch: int, timeout_s: float = 2.0) -> Acknowledgements:
    """Wait until every serving process serves `epoch`, for `timeout_s` at most, and return how many do."""
    deadline = time.monotonic() + timeout_s
    while True:
        receipt = acknowledgements(epoch)
        if receipt.are_complete or time.monotonic() >= deadline:
            return receipt
        time.sleep(_LOOK_AGAIN_S)


def _require_valid(switch: KillSwitch) -> None:
    if switch.expires_at is not None and switch.expires_at <= timezone.now():
        raise KillSwitchNotThrownError("The switch would have expired already.")
    try:
        switch.full_clean()
    except ValidationError as error:
        raise KillSwitchNotThrownError(" ".join(error.messages)) from error


def _stated_fields(switch: KillSwitch) -> dict[str, Any]:
    return {name: value for name, value in fields_of(switch).items() if value not in {None, "", False}}
