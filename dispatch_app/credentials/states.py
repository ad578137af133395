"""How each credential of a provider fares, as the processes that serve say."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from django.db.models.functions import Now
from django.utils import timezone

from dispatch_app.execution.breaker import Cause
from dispatch_app.health.publication import FRESH_S
from dispatch_app.health.wording import show_wait
from dispatch_app.models import TargetHealth
from policies_app.models import Credential
from policies_app.routing.codes import HealthState
from policies_app.services.credentials import name_of, read_secret

_DEEDS = {
    Cause.CREDENTIAL: "refused for",
    Cause.QUOTA: "out of credit for",
    Cause.RATE_LIMIT: "rate limited for",
    Cause.FAILURES: "failing for",
}


def states_in_words(provider_id: int) -> Mapping[str, str]:
    """By the credential's name: what keeps it from being called, or that nothing does. Those not called are left out."""
    rows: defaultdict[str, list[TargetHealth]] = defaultdict(list)
    fresh = TargetHealth.objects.filter(
        provider_id=provider_id, seen_at__gt=Now() - timedelta(seconds=FRESH_S)
    )
    for row in fresh:
        rows[row.credential].append(row)
    now = timezone.now()
    return {name: _in_words(of_credential, now) for name, of_credential in rows.items()}


def state_of(credential: Credential, states: Mapping[str, str]) -> str:
    """How one credential fares."""
    if not credential.enabled:
        return "off"
    reading = read_secret(credential=credential)
    if reading.problem:
        return f"out of service: {reading.problem}"
    name = name_of(credential, last_four=reading.last_four)
    return states.get(name, "not called in the last 15 minutes")


def is_held_back(credential: Credential) -> bool:
    """Whether a process leaves it alone for what its vendor said of it."""
    name = name_of(credential, last_four=read_secret(credential=credential).last_four)
    fresh = TargetHealth.objects.filter(
        provider_id=credential.provider_id,
        credential=name,
        cause__in=[Cause.CREDENTIAL, Cause.QUOTA, Cause.RATE_LIMIT],
        seen_at__gt=Now() - timedelta(seconds=FRESH_S),
    )
    return fresh.exists()


def _in_words(rows: Sequence[TargetHealth], now: datetime) -> str:
    ailing = [row for row in rows if row.cause and row.state != HealthState.HEALTHY]
    causes = [cause for cause in _DEEDS if any(row.cause == cause for row in ailing)]
    return "; ".join(_sentence(cause, ailing, now) for cause in causes) or "takes traffic"


def _sentence(cause: Cause, ailing: Sequence[TargetHealth], now: datetime) -> str:
    of_cause = [row for row in ailing if row.cause == cause]
    models = ", ".join(sorted({row.model for row in of_cause}))
    waits = [
        (row.until - now).total_seconds() for row in of_cause if row.until is not None and row.until > now
    ]
    again = f", tried again in {show_wait(min(waits))}" if waits else ", the next call tries it again"
    return f"{_DEEDS[cause]} {models}{again}"
