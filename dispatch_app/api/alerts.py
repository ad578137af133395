"""Alerts that were raised, and the e-mail addresses and webhooks that hear of them."""

from collections.abc import Mapping
from typing import Any

from django.db import transaction
from django_filters import rest_framework as filters
from drf_spectacular.utils import extend_schema
from rest_framework import mixins, serializers, status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.settings import api_settings

from dispatch_app.alerts.destinations import SHORTEST_SECRET, destination_errors
from dispatch_app.alerts.kinds import AlertKind
from dispatch_app.alerts.secrets import seal_secret
from dispatch_app.alerts.testing import send_test_alert
from dispatch_app.api.dispatches import NewestFirst, ObjectField
from dispatch_app.models import Alert, AlertDelivery, AlertDestination
from policies_app.api.checks import StrictModelSerializer
from policies_app.api.viewsets import EditableViewSet, ReadOnlyViewSet
from policies_app.models import Tenant
from policies_app.models.choices import choices_of
from policies_app.roles import SEE_COSTS

WANTED_KINDS = [choice for choice in choices_of(AlertKind) if choice[0] != AlertKind.TEST]


class AlertDestinationSerializer(StrictModelSerializer):
    """One of `email` and `webhook_url`. The secret that signs goes in and never comes out."""

    tenant = serializers.SlugRelatedField(
        slug_field="name", queryset=Tenant.objects.all(), required=False, allow_null=True
    )
    kinds: Any = serializers.ListField(child=serializers.ChoiceField(choices=WANTED_KINDS), required=False)
    secret = serializers.CharField(
        write_only=True, required=False, min_length=SHORTEST_SECRET, max_length=256
    )
    has_secret = serializers.SerializerMethodField()

    class Meta:
        model = AlertDestination
        fields = (
            "id",
            "name",
            "tenant",
            "kinds",
            "email",
            "webhook_url",
            "secret",
            "has_secret",
            "allow_private_network",
            "enabled",
            "created_at",
        )
        read_only_fields = ("created_at",)

    def get_has_secret(self, destination: AlertDestination) -> bool:
        return destination.sealed_secret is not None

    def field_errors(self, values: Mapping[str, Any]) -> Mapping[str, str]:
        is_sealed = self.instance is not None and self.instance.sealed_secret is not None
        errors = destination_errors(values, has_secret=bool(values.get("secret")) or is_sealed)
        return {field or api_settings.NON_FIELD_ERRORS_KEY: error for field, error in errors.items()}


class AlertDeliverySerializer(serializers.ModelSerializer[Any]):
    destination: Any = serializers.SlugRelatedField(slug_field="name", read_only=True)

    class Meta:
        model = AlertDelivery
        fields = ("destination", "state", "tries", "next_try_at", "delivered_at", "last_error")


class AlertSerializer(serializers.ModelSerializer[Any]):
    """The details of a tenant's alert hold amounts: without the permission to see costs they are left out."""

    tenant: Any = serializers.SlugRelatedField(slug_field="name", read_only=True, allow_null=True)
    details = ObjectField(read_only=True)
    deliveries = AlertDeliverySerializer(many=True, read_only=True)

    class Meta:
        model = Alert
        fields = ("id", "created_at", "kind", "tenant", "title", "details", "deliveries")

    def to_representation(self, instance: Alert) -> dict[str, Any]:
        shown = super().to_representation(instance)
        request = self.context.get("request")
        if instance.tenant_id is not None and request is not None and not request.user.has_perm(SEE_COSTS):
            del shown["details"]
        return shown


class AlertFilter(filters.FilterSet):
    """`created_after` is included."""

    kind = filters.ChoiceFilter(choices=choices_of(AlertKind))
    tenant = filters.CharFilter(field_name="tenant__name")
    created_after = filters.IsoDateTimeFilter(field_name="created_at", lookup_expr="gte")

    class Meta:
        model = Alert
        fields = ()


class AlertViewSet(ReadOnlyViewSet):
    """What was raised, newest first, and what became of it on its way."""

    queryset = (
        Alert.objects.select_related("tenant")
        .prefetch_related("deliveries__destination")
        .order_by("-created_at", "-id")
    )
    serializer_class = AlertSerializer
    pagination_class = NewestFirst
    filter_backends = (filters.DjangoFilterBackend,)
    filterset_class = AlertFilter


class AlertDestinationViewSet(EditableViewSet, mixins.DestroyModelMixin):
    """Where alerts go: those of a tenant, or without one those of the installation."""

    queryset = AlertDestination.objects.select_related("tenant").order_by("name")
    serializer_class = AlertDestinationSerializer
    lookup_field = "name"
    lookup_value_regex = "[^/]+"
    filterset_fields = ("enabled",)
    action_permissions = {"test": "dispatch_app.change_alertdestination"}

    @transaction.atomic
    def perform_create(self, serializer: serializers.BaseSerializer[Any]) -> None:
        secret = serializer.validated_data.pop("secret", "")
        super().perform_create(serializer)
        self._seal(serializer, secret)

    @transaction.atomic
    def perform_update(self, serializer: serializers.BaseSerializer[Any]) -> None:
        secret = serializer.validated_data.pop("secret", "")
        super().perform_update(serializer)
        self._seal(serializer, secret)

    @extend_schema(request=None, responses={status.HTTP_202_ACCEPTED: AlertSerializer})
    @action(detail=True, methods=["post"])
    def test(self, request: Request, name: str) -> Response:
        """Send it an alert that says that this is a test. Reading the alert tells whether it has arrived."""
        alert = send_test_alert(self.get_object(), author_name=self.author_name())
        shown = AlertSerializer(alert, context=self.get_serializer_context()).data
        return Response(shown, status=status.HTTP_202_ACCEPTED)

    def _seal(self, serializer: serializers.BaseSerializer[Any], secret: str) -> None:
        if secret:
            seal_secret(self.row_of(serializer), secret)
