"""Rate limits. How much of one is used is the data plane's alone."""

from django.core.exceptions import ValidationError
from django.db import transaction

from policies_app.models import ApiKey, Model, RateLimit, Tenant
from policies_app.routing.codes import RateLimitKind, RateLimitScope
from policies_app.services.audit import fields_of, record_change, record_creation
from policies_app.services.errors import ServiceError

_SCOPES: dict[type[Tenant | ApiKey | Model], RateLimitScope] = {
    Tenant: RateLimitScope.TENANT,
    ApiKey: RateLimitScope.API_KEY,
    Model: RateLimitScope.MODEL,
}


class RateLimitNotSavedError(ServiceError):
    """The limit contradicts itself or another one."""


def limit_rate(
    *, subject: Tenant | ApiKey | Model, kind: RateLimitKind, limit: int, author_name: str, reason: str = ""
) -> RateLimit:
    """Make a limit, or change and enable the one that `subject` has of that kind.

    :raises RateLimitNotSavedError: if it would let nothing through.
    """
    scope = _SCOPES[type(subject)]
    row = RateLimit.objects.filter(kind=kind, **{scope.value: subject}).first()
    row = row or RateLimit(scope=scope, kind=kind, **{scope.value: subject})
    row.limit, row.enabled = limit, True
    save_rate_limit(rate_limit=row, author_name=author_name, reason=reason)
    return row


@transaction.atomic
def save_rate_limit(*, rate_limit: RateLimit, author_name: str, reason: str = "") -> None:
    """Save a new or edited limit. It holds in every process as soon as that has the edit: within a second.

    :raises RateLimitNotSavedError: if the fields contradict one another, or the subject has a limit of that kind.
    """
    _require_valid(rate_limit)
    before = RateLimit.objects.select_for_update().filter(pk=rate_limit.pk).first()
    rate_limit.save()
    if before is None:
        record_creation(subject=rate_limit, author_name=author_name, reason=reason)
    else:
        record_change(subject=rate_limit, before=fields_of(before), author_name=author_name, reason=reason)


def _require_valid(rate_limit: RateLimit) -> None:
    try:
        rate_limit.full_clean()
    except ValidationError as error:
        raise RateLimitNotSavedError(" ".join(error.messages)) from error
