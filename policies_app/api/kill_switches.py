"""Kill switches: thrown and lifted, never edited or deleted."""

from collections.abc import Mapping
from typing import Any

from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from policies_app.api.checks import StrictModelSerializer
from policies_app.api.viewsets import AddOnlyViewSet
from policies_app.models import ApiKey, KillSwitch, Model, Policy, Provider, Tenant
from policies_app.services.kill_switches import lift_kill_switch, throw_kill_switch
from policies_app.validation import kill_switch_errors


def _named(model: Any, *, slug_field: str = "name") -> Any:
    return serializers.SlugRelatedField(
        slug_field=slug_field, queryset=model.objects.all(), required=False, allow_null=True
    )


class KillSwitchSerializer(StrictModelSerializer):
    """The scope says which subject fields to fill in; the others stay empty."""

    provider = _named(Provider)
    model = _named(Model)
    policy = _named(Policy)
    tenant = _named(Tenant)
    api_key = _named(ApiKey, slug_field="public_id")
    is_active = serializers.BooleanField(read_only=True)

    class Meta:
        model = KillSwitch
        fields = (
            "id",
            "scope",
            "provider",
            "model",
            "policy",
            "rule_name",
            "tenant",
            "api_key",
            "end_user",
            "reason",
            "expires_at",
            "hard",
            "lift_needs_second_person",
            "is_active",
            "author_name",
            "created_at",
            "lifted_at",
            "lifted_by_name",
        )
        read_only_fields = ("author_name", "created_at", "lifted_at", "lifted_by_name")

    def validate_expires_at(self, value: Any) -> Any:
        if value is not None and value <= timezone.now():
            raise serializers.ValidationError("This lies in the past: the switch would stop nothing.")
        return value

    def field_errors(self, values: Mapping[str, Any]) -> Mapping[str, str]:
        return kill_switch_errors(values)


class KillSwitchViewSet(AddOnlyViewSet):
    """Emergency stops. None is admitted after the answer to the call that throws one."""

    queryset = KillSwitch.objects.select_related(
        "provider", "model", "policy", "tenant", "api_key__tenant"
    ).order_by("-created_at", "-id")
    serializer_class = KillSwitchSerializer
    filterset_fields = ("scope",)
    search_fields = ("reason", "author_name")
    action_permissions = {
        "create": "policies_app.operate_kill_switch",
        "lift": "policies_app.operate_kill_switch",
    }

    def perform_create(self, serializer: serializers.BaseSerializer[Any]) -> None:
        serializer.instance = throw_kill_switch(**serializer.validated_data, author_name=self.author_name())

    @extend_schema(request=None, responses=KillSwitchSerializer)
    @action(detail=True, methods=["post"])
    def lift(self, request: Request, pk: str) -> Response:
        """Let through again what the switch stops."""
        switch = lift_kill_switch(switch=self.get_object(), author_name=self.author_name())
        return Response(self.get_serializer(switch).data)
