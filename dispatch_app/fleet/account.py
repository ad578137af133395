"""Who pays for keeping models warm: a tenant of its own, with a budget that the staff can change like any other."""

import secrets

from django.conf import settings
from django.db import transaction

from policies_app.api_key_format import generate_key
from policies_app.models import ApiKey, Budget, Tenant
from policies_app.models.catalogue import NANOS_PER_USD
from policies_app.routing.codes import BudgetAction, BudgetPeriod, BudgetScope

KEEP_WARM = "keep-warm"
"""The name of the tenant, of its key and its budget, and the task of its dispatches."""


@transaction.atomic
def keep_warm_key() -> str:
    """The public id of the key that pings are logged under, made with its tenant and budget if there is none.

    Nobody can call with the key: it is disabled, and its secret was never known.
    """
    tenant, is_new = Tenant.objects.get_or_create(
        name=KEEP_WARM, defaults={"display_name": "Keeping models warm"}
    )
    if is_new:
        Budget.objects.create(
            tenant=tenant,
            name=KEEP_WARM,
            scope=BudgetScope.TENANT,
            period=BudgetPeriod.DAY,
            limit_nanos=settings.KEEP_WARM_DAILY_CENTS * NANOS_PER_USD // 100,
            action=BudgetAction.REJECT,
        )
    key, _ = ApiKey.objects.get_or_create(
        tenant=tenant,
        label=KEEP_WARM,
        defaults={
            "public_id": generate_key().public_id,
            "secret_hmac": secrets.token_bytes(32),
            "may_call_models": True,
            "enabled": False,
        },
    )
    return key.public_id
