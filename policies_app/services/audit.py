"""Writing the audit trail. Call these in the transaction that makes the change."""

from collections.abc import Mapping
from typing import Any

from django.db import models

from policies_app.models import AuditAction, AuditEntry

Fields = Mapping[str, Any]


def fields_of(subject: models.Model) -> dict[str, Any]:
    """Return the row's columns by name, without binary ones: those hold secrets and their digests."""
    return {
        field.attname: field.value_from_object(subject)
        for field in subject._meta.concrete_fields  # noqa: SLF001 - Django documents it
        if not isinstance(field, models.BinaryField)
    }


def record_creation(*, subject: models.Model, author_name: str, reason: str = "") -> None:
    """Write that `subject` came into being, as it is now."""
    record_action(
        action=AuditAction.CREATED,
        subject=subject,
        author_name=author_name,
        after=fields_of(subject),
        reason=reason,
    )


def record_change(*, subject: models.Model, before: Fields, author_name: str, reason: str = "") -> None:
    """Write which columns of `subject` differ from `before` (see `fields_of`); nothing if none does."""
    after = fields_of(subject)
    changed = [name for name in after if after[name] != before.get(name)]
    if changed:
        record_action(
            action=AuditAction.CHANGED,
            subject=subject,
            author_name=author_name,
            before={name: before.get(name) for name in changed},
            after={name: after[name] for name in changed},
            reason=reason,
        )


def record_action(
    *,
    action: AuditAction,
    subject: models.Model,
    author_name: str,
    before: Fields | None = None,
    after: Fields | None = None,
    reason: str = "",
) -> None:
    """Write that `author_name` did `action` to `subject`."""
    AuditEntry.objects.create(
        author_name=author_name,
        action=action,
        subject_type=subject._meta.model_name or "",  # noqa: SLF001 - Django documents it
        subject_id=str(subject.pk),
        subject_name=str(subject)[:500],
        before=before,
        after=after,
        reason=reason,
    )
