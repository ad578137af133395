"""Raises of budgets: added, confirmed and withdrawn, never edited or deleted."""

from collections.abc import Mapping
from typing import Any

from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from policies_app.api.checks import StrictModelSerializer, StrictSerializer
from policies_app.api.filters import BudgetRaiseFilter
from policies_app.api.viewsets import AddOnlyViewSet
from policies_app.models import BudgetRaise
from policies_app.services.budget_raises import confirm_raise, raise_budget, withdraw_raise
from policies_app.validation import raise_errors

_CHANGE_LIMITS = "policies_app.change_budget_limit"


class BudgetRaiseSerializer(StrictModelSerializer):
    """`amount_nanos` is nano-dollars on top of the limit, from `starts_at` (now) to `ends_at` (until it is withdrawn)."""

    state = serializers.CharField(read_only=True)

    class Meta:
        model = BudgetRaise
        fields = (
            "id",
            "budget",
            "amount_nanos",
            "starts_at",
            "ends_at",
            "reason",
            "state",
            "needs_second_person",
            "author_name",
            "created_at",
            "confirmed_by_name",
            "confirmed_at",
            "withdrawn_by_name",
            "withdrawn_at",
        )
        read_only_fields = fields[6:]

    def field_errors(self, values: Mapping[str, Any]) -> Mapping[str, str]:
        return raise_errors(values, now=timezone.now())


class ReasonSerializer(StrictSerializer):
    """Why, for the audit trail."""

    reason = serializers.CharField(max_length=500, default="", allow_blank=True)


class BudgetRaiseViewSet(AddOnlyViewSet):
    """So much more than a budget's limit, for a time. Large ones count once a second person has confirmed them."""

    queryset = BudgetRaise.objects.select_related("budget__tenant").order_by("-created_at", "-id")
    serializer_class = BudgetRaiseSerializer
    filterset_class = BudgetRaiseFilter
    search_fields = ("reason", "author_name")
    action_permissions = {
        "create": _CHANGE_LIMITS,
        "confirm": _CHANGE_LIMITS,
        "withdraw": _CHANGE_LIMITS,
    }

    def perform_create(self, serializer: serializers.BaseSerializer[Any]) -> None:
        serializer.instance = raise_budget(**serializer.validated_data, author_name=self.author_name())

    @extend_schema(request=ReasonSerializer, responses=BudgetRaiseSerializer)
    @action(detail=True, methods=["post"])
    def confirm(self, request: Request, pk: str) -> Response:
        """Be the second person. Whoever asked for the raise is refused."""
        confirmed = confirm_raise(
            budget_raise=self.get_object(), author_name=self.author_name(), reason=_reason(request)
        )
        return Response(self.get_serializer(confirmed).data)

    @extend_schema(request=ReasonSerializer, responses=BudgetRaiseSerializer)
    @action(detail=True, methods=["post"])
    def withdraw(self, request: Request, pk: str) -> Response:
        """End it at once."""
        withdrawn = withdraw_raise(
            budget_raise=self.get_object(), author_name=self.author_name(), reason=_reason(request)
        )
        return Response(self.get_serializer(withdrawn).data)


def _reason(request: Request) -> str:
    given = ReasonSerializer(data=request.data)
    given.is_valid(raise_exception=True)
    return str(given.validated_data["reason"])
