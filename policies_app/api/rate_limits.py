"""Rate limits of tenants, keys and models."""

from collections.abc import Mapping
from typing import Any

from rest_framework import serializers

from policies_app.api.checks import StrictModelSerializer
from policies_app.api.filters import RateLimitFilter
from policies_app.api.viewsets import EditableViewSet
from policies_app.models import ApiKey, Model, RateLimit, Tenant
from policies_app.services.rate_limits import save_rate_limit
from policies_app.validation import RATE_LIMIT_SUBJECTS, rate_limit_errors


class RateLimitSerializer(StrictModelSerializer):
    """The scope says which of tenant, api_key and model to fill in. `limit` is for a minute, or at once."""

    tenant = serializers.SlugRelatedField(
        slug_field="name", queryset=Tenant.objects.all(), required=False, allow_null=True
    )
    api_key = serializers.SlugRelatedField(
        slug_field="public_id",
        queryset=ApiKey.objects.select_related("tenant"),
        required=False,
        allow_null=True,
    )
    model = serializers.SlugRelatedField(
        slug_field="name", queryset=Model.objects.all(), required=False, allow_null=True
    )

    class Meta:
        model = RateLimit
        fields = ("id", "scope", "tenant", "api_key", "model", "kind", "limit", "enabled", "created_at")
        read_only_fields = ("created_at",)

    def field_errors(self, values: Mapping[str, Any]) -> Mapping[str, str]:
        return rate_limit_errors(values) or self._kind_error(values)

    def _kind_error(self, values: Mapping[str, Any]) -> dict[str, str]:
        (subject,) = RATE_LIMIT_SUBJECTS[values["scope"]]
        kind = values.get("kind") or RateLimit._meta.get_field("kind").default  # noqa: SLF001 - Django documents it
        others = RateLimit.objects.filter(kind=kind, **{subject: values[subject]})
        if others.exclude(pk=self.instance.pk if self.instance else 0).exists():
            return {"kind": "There is a limit of this kind already: change that one."}
        return {}


class RateLimitViewSet(EditableViewSet):
    """Requests and tokens a minute, and dispatches at once, of a tenant, a key or a model."""

    queryset = RateLimit.objects.select_related("tenant", "api_key__tenant", "model").order_by("pk")
    serializer_class = RateLimitSerializer
    filterset_class = RateLimitFilter
    search_fields = ("tenant__name", "api_key__label", "model__name")

    def perform_create(self, serializer: serializers.BaseSerializer[Any]) -> None:
        rate_limit = RateLimit(**serializer.validated_data)
        save_rate_limit(rate_limit=rate_limit, author_name=self.author_name())
        serializer.instance = rate_limit

    def perform_update(self, serializer: serializers.BaseSerializer[Any]) -> None:
        rate_limit = self.row_of(serializer)
        for name, value in serializer.validated_data.items():
            setattr(rate_limit, name, value)
        save_rate_limit(rate_limit=rate_limit, author_name=self.author_name())
