"""The dispatch log: what was asked, what was chosen and why, and for those who may see it, what it cost."""

from typing import Any

from django.db.models import QuerySet
from django_filters import rest_framework as filters
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.pagination import CursorPagination

from dispatch_app.models import Attempt, Dispatch
from policies_app.api.viewsets import ReadOnlyViewSet
from policies_app.models.choices import choices_of
from policies_app.roles import SEE_COSTS
from policies_app.routing.codes import DispatchStatus

COST_FIELDS = ("cost_nanos", "baseline_cost_nanos", "wasted_nanos", "reserved_nanos")


class CostAwareSerializer(serializers.ModelSerializer[Any]):
    """Leaves amounts of money out for those who may not see them."""

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        fields = super().get_fields()
        request = self.context.get("request")
        if request is not None and not request.user.has_perm(SEE_COSTS):
            return {name: field for name, field in fields.items() if name not in COST_FIELDS}
        return fields


def _name() -> Any:
    return serializers.SlugRelatedField(slug_field="name", read_only=True, allow_null=True)


@extend_schema_field({"type": "object", "additionalProperties": True})
class ObjectField(serializers.JSONField):
    """A JSON object."""


class AttemptSerializer(CostAwareSerializer):
    model = _name()
    provider = _name()

    class Meta:
        model = Attempt
        fields = (
            "id",
            "created_at",
            "position",
            "role",
            "model",
            "provider",
            "credential",
            "state",
            "wire_status",
            "fault",
            "response_model",
            "input_tokens",
            "cached_input_tokens",
            "cache_write_tokens",
            "output_tokens",
            "reasoning_tokens",
            "reserved_nanos",
            "cost_nanos",
            "estimated",
            "start_offset_ms",
            "first_byte_ms",
            "latency_ms",
            "settled_at",
        )


class DispatchSerializer(CostAwareSerializer):
    tenant = _name()
    api_key: Any = serializers.SlugRelatedField(slug_field="public_id", read_only=True, allow_null=True)
    policy = _name()
    model = _name()
    provider = _name()
    tags = ObjectField(read_only=True)
    reason = ObjectField(read_only=True)

    class Meta:
        model = Dispatch
        fields: tuple[str, ...] = (
            "id",
            "created_at",
            "tenant",
            "api_key",
            "end_user",
            "task",
            "tags",
            "requested_model",
            "policy",
            "policy_version",
            "rule",
            "strategy",
            "reason",
            "stream",
            "has_idempotency_key",
            "status",
            "error_code",
            "model",
            "provider",
            "attempts",
            "input_tokens",
            "cached_input_tokens",
            "cache_write_tokens",
            "output_tokens",
            "reasoning_tokens",
            "cost_nanos",
            "baseline_cost_nanos",
            "wasted_nanos",
            "estimated",
            "total_ms",
            "first_byte_ms",
            "overhead_us",
            "finished_at",
        )


class DispatchDetailSerializer(DispatchSerializer):
    """With every upstream call that was made for it, in order."""

    attempt_log = serializers.SerializerMethodField()

    class Meta(DispatchSerializer.Meta):
        fields = (*DispatchSerializer.Meta.fields, "attempt_log")

    @extend_schema_field(AttemptSerializer(many=True))
    def get_attempt_log(self, dispatch: Dispatch) -> Any:
        attempts = (
            Attempt.objects.filter(dispatch_id=dispatch.id)
            .select_related("model", "provider")
            .order_by("position")
        )
        return AttemptSerializer(attempts, many=True, context=self.context).data


class DispatchFilter(filters.FilterSet):
    """`created_after` is included, `created_before` is not."""

    tenant = filters.CharFilter(field_name="tenant__name")
    policy = filters.CharFilter(field_name="policy__name")
    model = filters.CharFilter(field_name="model__name")
    status = filters.ChoiceFilter(choices=choices_of(DispatchStatus))
    created_after = filters.IsoDateTimeFilter(field_name="created_at", lookup_expr="gte")
    created_before = filters.IsoDateTimeFilter(field_name="created_at", lookup_expr="lt")

    class Meta:
        model = Dispatch
        fields = ("tenant", "policy", "model", "status", "task", "end_user", "rule", "error_code")


class NewestFirst(CursorPagination):
    """Pages that neither shift nor count, however fast the log grows."""

    ordering = ("-created_at", "-id")
    page_size = 50
    page_size_query_param = "page_size"
    max_page_size = 500


class DispatchViewSet(ReadOnlyViewSet):
    """The dispatch log."""

    queryset = Dispatch.objects.select_related("tenant", "api_key", "policy", "model", "provider")
    serializer_class = DispatchSerializer
    pagination_class = NewestFirst
    filter_backends = (filters.DjangoFilterBackend,)
    filterset_class = DispatchFilter

    def get_serializer_class(self) -> type[DispatchSerializer]:
        return DispatchDetailSerializer if self.action == "retrieve" else DispatchSerializer

    def get_queryset(self) -> QuerySet[Dispatch]:
        return super().get_queryset().order_by("-created_at", "-id")
