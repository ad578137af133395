"""Edits on admin pages leave their trace in the audit trail, in the transaction that makes them."""

from typing import Any

from django.db import models
from django.forms import Form
from django.http import HttpRequest
from unfold.admin import ModelAdmin

from policies_app.models import AuditAction
from policies_app.services.audit import fields_of, record_action, record_change, record_creation


def author_of(request: HttpRequest) -> str:
    """Who is asking, as the audit trail and versions name them."""
    return request.user.get_username()


class AuditedAdmin(ModelAdmin):
    """Records what its form and its deletions change."""

    def save_model(self, request: HttpRequest, obj: models.Model, form: Form, change: bool) -> None:  # noqa: FBT001
        before = fields_of(self.model._default_manager.get(pk=obj.pk)) if change else None
        super().save_model(request, obj, form, change)
        if before is None:
            record_creation(subject=obj, author_name=author_of(request))
        else:
            record_change(subject=obj, before=before, author_name=author_of(request))

    def delete_model(self, request: HttpRequest, obj: models.Model) -> None:
        record_action(
            action=AuditAction.DELETED, subject=obj, author_name=author_of(request), before=fields_of(obj)
        )
        super().delete_model(request, obj)

    def delete_queryset(self, request: HttpRequest, queryset: models.QuerySet[Any]) -> None:
        for row in queryset:
            self.delete_model(request, row)
