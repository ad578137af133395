"""Tenants and the API keys that their services call with."""

from typing import Any

from django.db.models import Prefetch
from rest_framework import serializers

from policies_app.api.checks import StrictModelSerializer
from policies_app.api.filters import ApiKeyFilter
from policies_app.api.viewsets import EditableViewSet
from policies_app.models import ApiKey, Policy, Tenant
from policies_app.services.api_keys import create_api_key


class TenantSerializer(StrictModelSerializer):
    class Meta:
        model = Tenant
        fields = ("name", "display_name", "time_zone", "enabled", "replay_answers", "created_at")
        read_only_fields = ("created_at",)


class TenantViewSet(EditableViewSet):
    """Who pays."""

    queryset = Tenant.objects.order_by("name")
    serializer_class = TenantSerializer
    lookup_field = "name"
    filterset_fields = ("enabled",)
    search_fields = ("name", "display_name")


class ApiKeySerializer(StrictModelSerializer):
    tenant = serializers.SlugRelatedField(slug_field="name", queryset=Tenant.objects.all())
    policies = serializers.SlugRelatedField(
        slug_field="name", many=True, required=False, queryset=Policy.objects.all()
    )

    class Meta:
        model = ApiKey
        fields: tuple[str, ...] = (
            "public_id",
            "tenant",
            "label",
            "policies",
            "may_call_models",
            "may_explain_drafts",
            "enabled",
            "expires_at",
            "created_at",
        )
        read_only_fields = ("public_id", "created_at")

    def validate_tenant(self, tenant: Tenant) -> Tenant:
        if self.instance is not None and self.instance.tenant_id != tenant.pk:
            raise serializers.ValidationError("A key stays with the tenant that it was made for.")
        return tenant


class NewApiKeySerializer(ApiKeySerializer):
    """A key as it is made: the only time that `key` is answered."""

    key = serializers.CharField(read_only=True, help_text="Shown now and never again.")

    class Meta(ApiKeySerializer.Meta):
        fields = (*ApiKeySerializer.Meta.fields, "key")


class ApiKeyViewSet(EditableViewSet):
    """Keys of the dispatch API. The text of a key is answered once, by the call that makes it."""

    queryset = (
        ApiKey.objects.select_related("tenant")
        .prefetch_related(Prefetch("policies", Policy.objects.order_by("name")))
        .order_by("tenant__name", "label")
    )
    serializer_class = ApiKeySerializer
    lookup_field = "public_id"
    filterset_class = ApiKeyFilter
    search_fields = ("label", "public_id")

    def get_serializer_class(self) -> type[ApiKeySerializer]:
        return NewApiKeySerializer if self.action == "create" else ApiKeySerializer

    def perform_create(self, serializer: serializers.BaseSerializer[Any]) -> None:
        issued = create_api_key(**serializer.validated_data, author_name=self.author_name())
        issued.row.key = issued.text  # type: ignore[attr-defined]
        serializer.instance = issued.row
