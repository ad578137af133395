"""Budgets, in nano-dollars."""

from collections.abc import Mapping
from typing import Any

from django.utils import timezone
from rest_framework import serializers

from policies_app.api.checks import StrictModelSerializer
from policies_app.api.filters import BudgetFilter
from policies_app.api.viewsets import EditableViewSet
from policies_app.models import ApiKey, Budget, Policy, Tenant
from policies_app.services.budgets import save_budget
from policies_app.validation import budget_errors


class BudgetSerializer(StrictModelSerializer):
    """`limit_nanos` is nano-dollars for each period: 1 USD is 1,000,000,000."""

    tenant = serializers.SlugRelatedField(slug_field="name", queryset=Tenant.objects.all())
    api_key = serializers.SlugRelatedField(
        slug_field="public_id",
        queryset=ApiKey.objects.select_related("tenant"),
        required=False,
        allow_null=True,
    )
    policy = serializers.SlugRelatedField(
        slug_field="name", queryset=Policy.objects.all(), required=False, allow_null=True
    )

    limit_now_nanos = serializers.IntegerField(
        source="limit_at_nanos", read_only=True, help_text="The limit with the raises that run at the moment."
    )

    class Meta:
        model = Budget
        fields = (
            "id",
            "tenant",
            "name",
            "scope",
            "api_key",
            "policy",
            "end_user",
            "tag",
            "period",
            "month_begins_on",
            "limit_nanos",
            "limit_now_nanos",
            "action",
            "mid_from_pct",
            "small_from_pct",
            "shrink_to_tokens",
            "alert_at_pcts",
            "enabled",
            "created_at",
        )
        read_only_fields = ("created_at",)

    def field_errors(self, values: Mapping[str, Any]) -> Mapping[str, str]:
        return budget_errors(values) | self._name_error(values)

    def _name_error(self, values: Mapping[str, Any]) -> dict[str, str]:
        others = Budget.objects.filter(tenant=values["tenant"], name=values["name"])
        if others.exclude(pk=self.instance.pk if self.instance else 0).exists():
            return {"name": "This tenant already has a budget of that name."}
        return {}


class BudgetViewSet(EditableViewSet):
    """Limits on what tenants, their end users, their keys, a policy or what bears a tag may spend."""

    queryset = Budget.objects.select_related("tenant", "api_key__tenant", "policy").order_by(
        "tenant__name", "name"
    )
    serializer_class = BudgetSerializer
    filterset_class = BudgetFilter
    search_fields = ("name", "end_user")

    def get_queryset(self) -> Any:
        return self.queryset.with_limit_at(timezone.now())

    def perform_create(self, serializer: serializers.BaseSerializer[Any]) -> None:
        budget = Budget(**serializer.validated_data)
        save_budget(budget=budget, author_name=self.author_name())
        serializer.instance = self.get_queryset().get(pk=budget.pk)

    def perform_update(self, serializer: serializers.BaseSerializer[Any]) -> None:
        budget = self.row_of(serializer)
        for name, value in serializer.validated_data.items():
            setattr(budget, name, value)
        save_budget(budget=budget, author_name=self.author_name())
        serializer.instance = self.get_queryset().get(pk=budget.pk)
