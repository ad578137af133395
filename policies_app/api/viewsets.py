"""What all viewsets of the control plane share: every write is one transaction and one entry in the audit trail."""

from typing import Any

from django.db import models, transaction
from rest_framework import mixins, serializers, viewsets

from policies_app.models import AuditAction
from policies_app.services.audit import fields_of, record_action, record_change, record_creation


class AuditedViewSet(viewsets.GenericViewSet[Any]):
    """Records what its serializers and deletions change, in the transaction that changes it."""

    lookup_value_regex = "[-a-zA-Z0-9_]+"

    def author_name(self) -> str:
        """Who is calling, as the audit trail and versions name them."""
        return self.request.user.get_username()

    @staticmethod
    def row_of(serializer: serializers.BaseSerializer[Any]) -> Any:
        """The row that the serializer reads or has just written."""
        return serializer.instance

    @transaction.atomic
    def perform_create(self, serializer: serializers.BaseSerializer[Any]) -> None:
        record_creation(subject=serializer.save(), author_name=self.author_name())

    @transaction.atomic
    def perform_update(self, serializer: serializers.BaseSerializer[Any]) -> None:
        before = fields_of(self.row_of(serializer))
        record_change(subject=serializer.save(), before=before, author_name=self.author_name())

    @transaction.atomic
    def perform_destroy(self, instance: models.Model) -> None:
        record_action(
            action=AuditAction.DELETED,
            subject=instance,
            author_name=self.author_name(),
            before=fields_of(instance),
        )
        instance.delete()


class EditableViewSet(
    AuditedViewSet,
    mixins.ListModelMixin,
    mixins.RetrieveModelMixin,
    mixins.CreateModelMixin,
    mixins.UpdateModelMixin,
):
    """Rows that are added and changed, and switched off instead of deleted."""


class AddOnlyViewSet(
    AuditedViewSet, mixins.ListModelMixin, mixins.RetrieveModelMixin, mixins.CreateModelMixin
):
    """Rows that are history from the moment that they are written."""


class ReadOnlyViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, viewsets.GenericViewSet[Any]):
    """Rows that Signalbox writes itself."""
