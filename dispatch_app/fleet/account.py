"""Who pays for what Signalbox asks of its own accord: tenants of its own, with budgets that the staff can change like any other."""

import secrets

from django.conf import settings
from django.db import transaction

from policies_app.api_key_format import generate_key
from policies_app.models import ApiKey, Budget, Tenant
from policies_app.models.catalogue import NANOS_PER_USD
from policies_app.routing.codes import BudgetAction, BudgetPeriod, BudgetScope

KEEP_WARM = "keep-warm"
CONNECTION_TESTS = "connection-tests"
"""Names of tenants, of the key and the budget of each, and of the task of its dispatches."""


def keep_warm_key() -> str:
    """The public id of the key that pings are logged under; see `_own_key`."""
    return _own_key(KEEP_WARM, display_name="Keeping models warm", daily_cents=settings.KEEP_WARM_DAILY_CENTS)


def connection_test_key() -> str:
    """The public id of the key that tests of credentials are logged under; see `_own_key`."""
    return _own_key(
        CONNECTION_TESTS,
        display_name="Tests of credentials",
        daily_cents=settings.CONNECTION_TEST_DAILY_CENTS,
    )


@transaction.atomic
def _own_key(name: str, *, display_name: str, daily_cents: int) -> str:
    """The public id of the tenant's key, made with its tenant and budget if there is none.

    Nobody can call with the key: it is disabled, and its secret was never known.
    """
    tenant, is_new = Tenant.objects.get_or_create(name=name, defaults={"display_name": display_name})
    if is_new:
        Budget.objects.create(
            tenant=tenant,
            name=name,
            scope=BudgetScope.TENANT,
            period=BudgetPeriod.DAY,
            limit_nanos=daily_cents * NANOS_PER_USD // 100,
            action=BudgetAction.REJECT,
        )
    key, _ = ApiKey.objects.get_or_create(
        tenant=tenant,
        label=name,
        defaults={
            "public_id": generate_key().public_id,
            "secret_hmac": secrets.token_bytes(32),
            "may_call_models": True,
            "enabled": False,
        },
    )
    return key.public_id
