"""The audit trail: who changed what, from what to what, and why."""

from enum import StrEnum

from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.utils import timezone

from policies_app.models.choices import choices_of


class AuditAction(StrEnum):
    """What was done."""

    CREATED = "created"
    CHANGED = "changed"
    DELETED = "deleted"
    PUBLISHED = "published"
    ROLLED_BACK = "rolled_back"
    IMPORTED = "imported"
    THROWN = "thrown"
    LIFTED = "lifted"
    CONFIRMED = "confirmed"
    WITHDRAWN = "withdrawn"
    ROTATED = "rotated"
    DISABLED = "disabled"
    SECRET_SET = "secret_set"  # noqa: S105


class AuditEntry(models.Model):
    """One change, written in the transaction that made it. A database trigger refuses updates and deletes.

    `before` and `after` hold the fields that changed, never a secret.
    """

    at = models.DateTimeField(default=timezone.now)
    author_name = models.CharField(max_length=150)
    action = models.CharField(max_length=16, choices=choices_of(AuditAction))
    subject_type = models.CharField(max_length=64, help_text="Kind of object, such as budget.")
    subject_id = models.CharField(max_length=64)
    subject_name = models.CharField(max_length=500, help_text="What the object was called then.")
    before = models.JSONField(null=True, encoder=DjangoJSONEncoder)
    after = models.JSONField(null=True, encoder=DjangoJSONEncoder)
    reason = models.CharField(max_length=500, blank=True)

    class Meta:
        verbose_name_plural = "audit trail"
        default_permissions = ("view",)
        indexes = (
            models.Index(fields=["subject_type", "subject_id", "-at"], name="audit_by_subject"),
            models.Index(fields=["-at"], name="audit_by_time"),
        )

    def __str__(self) -> str:
        return f"{self.author_name} {self.action} {self.subject_type} {self.subject_name}"
