"""What tenants spent, added up by day or by month. As exact as the rollups: they follow the log within seconds."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from django.db.models import QuerySet, Sum
from drf_spectacular.utils import extend_schema
from rest_framework import mixins, serializers, viewsets
from rest_framework.request import Request
from rest_framework.response import Response

from dispatch_app.models import RollupDay, RollupMonth
from policies_app.models import Model, Policy, Tenant
from policies_app.roles import SEE_COSTS

_NAMED: Mapping[str, QuerySet[Any]] = {
    "tenant": Tenant.objects.all(),
    "model": Model.objects.all(),
    "policy": Policy.objects.all(),
}
_TEXTS = ("task", "end_user")
_SUMS = (
    "dispatches",
    "attempts",
    "input_tokens",
    "cached_input_tokens",
    "cache_write_tokens",
    "output_tokens",
    "reasoning_tokens",
    "cost_nanos",
    "baseline_cost_nanos",
    "wasted_nanos",
)


class CostQuerySerializer(serializers.Serializer[Any]):
    """Which figures to add up. Both ends of the range are included."""

    granularity = serializers.ChoiceField(choices=("day", "month"), default="day")
    since = serializers.DateField(required=False, help_text="First day, or the first of the first month.")
    until = serializers.DateField(required=False, help_text="Last day, or the first of the last month.")
    tenant = serializers.SlugRelatedField(slug_field="name", queryset=Tenant.objects.all(), required=False)
    by = serializers.MultipleChoiceField(
        choices=(*_NAMED, *_TEXTS), required=False, help_text="Split the figures by these."
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        since, until = attrs.get("since"), attrs.get("until")
        if since and until and since > until:
            raise serializers.ValidationError({"until": ["This lies before the first day."]})
        return attrs


class CostSerializer(serializers.Serializer[Any]):
    """One sum. What the figures were not split by is left out; an empty text is what a dispatch did not name."""

    period = serializers.DateField(help_text="The day in the tenant's time zone, or the first of the month.")
    tenant = serializers.CharField(required=False)
    model = serializers.CharField(required=False)
    policy = serializers.CharField(required=False)
    task = serializers.CharField(required=False)
    end_user = serializers.CharField(required=False)
    dispatches = serializers.IntegerField()
    attempts = serializers.IntegerField()
    input_tokens = serializers.IntegerField()
    cached_input_tokens = serializers.IntegerField()
    cache_write_tokens = serializers.IntegerField()
    output_tokens = serializers.IntegerField()
    reasoning_tokens = serializers.IntegerField()
    cost_nanos = serializers.IntegerField()
    baseline_cost_nanos = serializers.IntegerField(
        help_text="What the same tokens would have cost at the policy's baseline model."
    )
    wasted_nanos = serializers.IntegerField(
        help_text="The part of the cost that Signalbox itself caused beside the answers: what lost, was not taken or was cut here."
    )


class CostViewSet(mixins.ListModelMixin, viewsets.GenericViewSet[Any]):
    """What was spent, from the rollups."""

    queryset = RollupDay.objects.none()
    serializer_class = CostSerializer
    filter_backends = ()
    action_permissions: ClassVar[dict[str, str]] = {"list": SEE_COSTS}

    @extend_schema(parameters=[CostQuerySerializer])
    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Add up what was spent in each day or month, split as asked."""
        query = CostQuerySerializer(data=request.query_params)
        query.is_valid(raise_exception=True)
        split = [name for name in (*_NAMED, *_TEXTS) if name in query.validated_data.get("by", ())]
        page = self.paginate_queryset(_sums(query.validated_data, split))
        return self.get_paginated_response(_with_names(page or (), split))


def _sums(query: Mapping[str, Any], split: Sequence[str]) -> QuerySet[Any, Any]:
    rollup, period = (RollupDay, "day") if query["granularity"] == "day" else (RollupMonth, "month")
    rows: QuerySet[Any] = rollup.objects.all()
    if tenant := query.get("tenant"):
        rows = rows.filter(tenant_id=tenant.pk)
    if since := query.get("since"):
        rows = rows.filter(**{f"{period}__gte": since})
    if until := query.get("until"):
        rows = rows.filter(**{f"{period}__lte": until})
    columns = [f"{name}_id" if name in _NAMED else name for name in split]
    sums = {f"sum_{name}": Sum(name) for name in _SUMS}
    added: QuerySet[Any, Any] = rows.values(period, *columns).annotate(**sums)
    return added.order_by(f"-{period}", *columns)


def _with_names(sums: Sequence[Mapping[str, Any]], split: Sequence[str]) -> list[dict[str, Any]]:
    names = {
        name: _names_of(_NAMED[name], {row[f"{name}_id"] for row in sums}) for name in split if name in _NAMED
    }
    return [
        {"period": row.get("day") or row.get("month")}
        | {name: names[name].get(row[f"{name}_id"], "") for name in names}
        | {name: row[name] for name in split if name in _TEXTS}
        | {name: int(row[f"sum_{name}"]) for name in _SUMS}
        for row in sums
    ]


def _names_of(rows: QuerySet[Any], ids: set[int]) -> dict[int, str]:
    return dict(rows.filter(pk__in=ids).values_list("pk", "name"))
