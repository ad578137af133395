"""The demo's tenants, their budgets and rate limits, and the key that its visitor calls with."""

from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from policies_app.api_key_format import parse_key, secret_digest
from policies_app.demo.fleet import AUTHOR
from policies_app.models import ApiKey, Budget, Policy, Tenant
from policies_app.routing.codes import BudgetAction, BudgetPeriod, BudgetScope, RateLimitKind
from policies_app.sealing import secret_key_from_text
from policies_app.services.api_keys import create_api_key, rotate_api_key
from policies_app.services.audit import record_creation
from policies_app.services.budget_raises import raise_budget
from policies_app.services.budgets import create_budget
from policies_app.services.rate_limits import limit_rate

NANOS_PER_USD = 1_000_000_000
VISITOR = "acme"
VISITOR_KEY = "demo"
OTHER_KEYS = {"acme": ("help-desk", "code-assistant"), "globex": ("back-office",)}


def seed_tenants() -> None:
    """Create the tenants, keys and budgets that are missing."""
    _seed_tenant("acme", display_name="Acme GmbH", time_zone="Europe/Berlin")
    _seed_tenant("globex", display_name="Globex", time_zone="America/New_York")
    for tenant_name, labels in OTHER_KEYS.items():
        tenant = Tenant.objects.get(name=tenant_name)
        for label in labels:
            if not tenant.api_keys.filter(label=label).exists():
                create_api_key(tenant=tenant, label=label, author_name=AUTHOR)


def seed_budgets() -> None:
    """Create the budgets of tenants that have none. Needs the policies."""
    acme, globex = Tenant.objects.get(name="acme"), Tenant.objects.get(name="globex")
    if not acme.budgets.exists():
        _create(acme, "Month", 50, action=BudgetAction.REJECT)
        _create(
            acme,
            "Each user's day",
            2,
            scope=BudgetScope.END_USER,
            period=BudgetPeriod.DAY,
            action=BudgetAction.DOWNGRADE,
            mid_from_pct=50,
            small_from_pct=80,
        )
        _create(
            acme,
            "Support bot",
            5,
            scope=BudgetScope.POLICY,
            policy=Policy.objects.get(name="support-bot"),
            action=BudgetAction.ALERT,
        )
        _create(
            acme,
            "Platform team",
            25,
            scope=BudgetScope.TAG,
            tag="team=platform",
            month_begins_on=15,
            action=BudgetAction.REJECT,
            shrink_to_tokens=256,
        )
    if not globex.budgets.exists():
        month = _create(
            globex, "Month", 20, action=BudgetAction.DOWNGRADE, mid_from_pct=80, small_from_pct=95
        )
        raise_budget(
            budget=month,
            amount_nanos=10 * NANOS_PER_USD,
            ends_at=timezone.now() + timedelta(days=30),
            reason="Contracts of the new branch are summarised once.",
            author_name=AUTHOR,
        )


def seed_rate_limits() -> None:
    """Limit the rates of tenants that have no limits yet, far above what a visitor sends by hand."""
    for name, requests, at_once in (("acme", 6_000, 256), ("globex", 600, 16)):
        tenant = Tenant.objects.get(name=name)
        if not tenant.rate_limits.exists():
            _limit(tenant, RateLimitKind.REQUESTS_PER_MINUTE, requests)
            _limit(tenant, RateLimitKind.CONCURRENT_DISPATCHES, at_once)


@transaction.atomic
def seed_visitor_key(*, known_text: str | None) -> str:
    """Return a working key of the visitor's tenant: the known one if it still is, else a new one."""
    if known_text and _is_working(known_text):
        return known_text
    tenant = Tenant.objects.get(name=VISITOR)
    row = tenant.api_keys.filter(label=VISITOR_KEY, enabled=True).first()
    if row is not None:
        return rotate_api_key(api_key=row, author_name=AUTHOR, reason="The demo's key was lost.").text
    return create_api_key(
        tenant=tenant,
        label=_free_label(tenant),
        may_call_models=True,
        may_explain_drafts=True,
        author_name=AUTHOR,
    ).text


def _seed_tenant(name: str, **fields: Any) -> None:
    tenant, is_new = Tenant.objects.get_or_create(name=name, defaults=fields)
    if is_new:
        record_creation(subject=tenant, author_name=AUTHOR)


def _create(tenant: Tenant, name: str, limit_usd: int, **fields: Any) -> Budget:
    return create_budget(
        tenant=tenant, name=name, limit_nanos=limit_usd * NANOS_PER_USD, author_name=AUTHOR, **fields
    )


def _limit(tenant: Tenant, kind: RateLimitKind, limit: int) -> None:
    limit_rate(subject=tenant, kind=kind, limit=limit, author_name=AUTHOR)


def _is_working(text: str) -> bool:
    parsed = parse_key(text)
    if parsed is None:
        return False
    row = ApiKey.objects.filter(public_id=parsed.public_id, enabled=True, tenant__name=VISITOR).first()
    if row is None or (row.expires_at is not None and row.expires_at <= timezone.now()):
        return False
    digest = secret_digest(secret=parsed.secret, pepper=secret_key_from_text(settings.API_KEY_PEPPER))
    return digest == bytes(row.secret_hmac)


def _free_label(tenant: Tenant) -> str:
    """The demo key's label, numbered where a disabled key bears it already."""
    taken = set(tenant.api_keys.values_list("label", flat=True))
    number = 1
    label = VISITOR_KEY
    while label in taken:
        number += 1
        label = f"{VISITOR_KEY}-{number}"
    return label
