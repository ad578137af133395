"""API keys: made, rotated and switched off. A key's text is returned once and kept nowhere."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from django.conf import settings
from django.db import transaction

from policies_app.api_key_format import generate_key, secret_digest
from policies_app.models import ApiKey, AuditAction, Policy, Tenant
from policies_app.sealing import secret_key_from_text
from policies_app.services.audit import record_action, record_creation
from policies_app.services.errors import ServiceError


class ApiKeyLabelTakenError(ServiceError):
    """The tenant already has a key of that label."""


class ApiKeyPolicyError(ServiceError):
    """A key was to use a policy of another tenant."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuedApiKey:
    """A key's row, with the text that its caller presents."""

    row: ApiKey
    text: str = field(repr=False)


@transaction.atomic
def create_api_key(
    *,
    tenant: Tenant,
    label: str,
    author_name: str,
    policies: Iterable[Policy] = (),
    may_call_models: bool = False,
    may_explain_drafts: bool = False,
    expires_at: datetime | None = None,
    reason: str = "",
) -> IssuedApiKey:
    """Make a key of `tenant`. Without `policies` it may use every policy that the tenant may.

    :raises ApiKeyLabelTakenError: if the tenant has a key of that label.
    :raises ApiKeyPolicyError: if a policy belongs to another tenant.
    """
    chosen = list(policies)
    _require_usable(tenant, chosen)
    if ApiKey.objects.filter(tenant=tenant, label=label).exists():
        raise ApiKeyLabelTakenError(f"{tenant} already has a key called “{label}”.")
    generated = generate_key()
    row = ApiKey.objects.create(
        tenant=tenant,
        label=label,
        public_id=generated.public_id,
        secret_hmac=_digest(generated.secret),
        may_call_models=may_call_models,
        may_explain_drafts=may_explain_drafts,
        expires_at=expires_at,
    )
    row.policies.set(chosen)
    record_creation(subject=row, author_name=author_name, reason=reason)
    return IssuedApiKey(row=row, text=generated.text)


@transaction.atomic
def rotate_api_key(*, api_key: ApiKey, author_name: str, reason: str = "") -> IssuedApiKey:
    """Give the key a new id and secret; the old text stops working within 250 ms. Budgets and log rows stay with it."""
    before = api_key.public_id
    generated = generate_key()
    api_key.public_id = generated.public_id
    api_key.secret_hmac = _digest(generated.secret)
    api_key.save(update_fields=["public_id", "secret_hmac"])
    record_action(
        action=AuditAction.ROTATED,
        subject=api_key,
        author_name=author_name,
        before={"public_id": before},
        after={"public_id": api_key.public_id},
        reason=reason,
    )
    return IssuedApiKey(row=api_key, text=generated.text)


@transaction.atomic
def disable_api_key(*, api_key: ApiKey, author_name: str, reason: str = "") -> None:
    """Refuse the key from within 250 ms on. Disabling twice is the same as once."""
    if not ApiKey.objects.filter(pk=api_key.pk, enabled=True).update(enabled=False):
        return
    api_key.enabled = False
    record_action(
        action=AuditAction.DISABLED,
        subject=api_key,
        author_name=author_name,
        before={"enabled": True},
        after={"enabled": False},
        reason=reason,
    )


def _require_usable(tenant: Tenant, policies: Iterable[Policy]) -> None:
    for policy in policies:
        if policy.tenant_id not in {None, tenant.pk}:
            raise ApiKeyPolicyError(f"Policy {policy} belongs to another tenant.")


def _digest(secret: str) -> bytes:
    return secret_digest(secret=secret, pepper=secret_key_from_text(settings.API_KEY_PEPPER))
