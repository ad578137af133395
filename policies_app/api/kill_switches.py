"""Kill switches: thrown and lifted, never edited or deleted."""

from collections.abc import Mapping
from typing import Any

from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from policies_app.api.checks import StrictModelSerializer, StrictSerializer
from policies_app.api.viewsets import AddOnlyViewSet
from policies_app.models import ApiKey, KillSwitch, Model, Policy, Provider, Tenant
from policies_app.services.blast_radius import BlastRadius, RuleLoss, measure_blast_radius
from policies_app.services.kill_switches import (
    Acknowledgements,
    current_epoch,
    lift_kill_switch,
    throw_kill_switch,
    wait_for_acknowledgement,
)
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
        fields: tuple[str, ...] = (
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


class LiftSerializer(StrictSerializer):
    """Why it is lifted, for the audit trail."""

    reason = serializers.CharField(max_length=500, default="", allow_blank=True)


class ReceiptSerializer(serializers.Serializer[Acknowledgements]):
    """How many serving processes have an edit in their plans, and after how many seconds."""

    acknowledged = serializers.IntegerField()
    total = serializers.IntegerField()
    seconds = serializers.FloatField(allow_null=True)


class OperatedKillSwitchSerializer(KillSwitchSerializer):
    """A switch that was just thrown or lifted."""

    receipt = ReceiptSerializer(read_only=True)

    class Meta(KillSwitchSerializer.Meta):
        fields = (*KillSwitchSerializer.Meta.fields, "receipt")


class PreviewSerializer(KillSwitchSerializer):
    """A switch that nobody has to give a reason for yet."""

    class Meta(KillSwitchSerializer.Meta):
        extra_kwargs = {"reason": {"required": False, "allow_blank": True}}


class RuleLossSerializer(serializers.Serializer[RuleLoss]):
    """A published rule that would lose targets."""

    policy = serializers.CharField()
    rule = serializers.CharField()
    lost = serializers.ListField(child=serializers.CharField())
    left = serializers.ListField(child=serializers.CharField())


class BlastRadiusSerializer(serializers.Serializer[BlastRadius]):
    """What a switch would stop: of the last hour's traffic, and of what is published now."""

    dispatches = serializers.IntegerField()
    of_dispatches = serializers.IntegerField()
    dispatch_share_pct = serializers.FloatField()
    cost_share_pct = serializers.FloatField()
    rules = RuleLossSerializer(many=True)


class WaitSerializer(serializers.Serializer[Any]):
    """How long the answer may wait for the receipt to be complete."""

    wait = serializers.FloatField(
        min_value=0,
        max_value=10,
        default=0,
        help_text="Seconds to wait until every process has acknowledged.",
    )


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
        "preview": "policies_app.operate_kill_switch",
    }

    @extend_schema(parameters=[WaitSerializer], responses={201: OperatedKillSwitchSerializer})
    def create(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Stop it. The answer has the receipt: how many processes have the switch in their plans."""
        wait_s = self._wait_s()
        serializer = self.get_serializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        switch = throw_kill_switch(**serializer.validated_data, author_name=self.author_name())
        return Response(self._with_receipt(switch, wait_s), status=status.HTTP_201_CREATED)

    @extend_schema(
        parameters=[WaitSerializer], request=LiftSerializer, responses=OperatedKillSwitchSerializer
    )
    @action(detail=True, methods=["post"])
    def lift(self, request: Request, pk: str) -> Response:
        """Let through again what the switch stops. Where it takes a second person, its author is refused."""
        wait_s = self._wait_s()
        lift = LiftSerializer(data=request.data)
        lift.is_valid(raise_exception=True)
        switch = lift_kill_switch(
            switch=self.get_object(), author_name=self.author_name(), reason=lift.validated_data["reason"]
        )
        return Response(self._with_receipt(switch, wait_s))

    @extend_schema(request=PreviewSerializer, responses=BlastRadiusSerializer)
    @action(detail=False, methods=["post"], serializer_class=PreviewSerializer)
    def preview(self, request: Request) -> Response:
        """Tell what such a switch would stop, and stop nothing."""
        serializer = self.get_serializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        return Response(
            BlastRadiusSerializer(measure_blast_radius(KillSwitch(**serializer.validated_data))).data
        )

    def _wait_s(self) -> float:
        wait = WaitSerializer(data=self.request.query_params)
        wait.is_valid(raise_exception=True)
        return float(wait.validated_data["wait"])

    def _with_receipt(self, switch: KillSwitch, wait_s: float) -> dict[str, Any]:
        receipt = wait_for_acknowledgement(epoch=current_epoch(), timeout_s=wait_s)
        told = KillSwitchSerializer(switch, context=self.get_serializer_context()).data
        return {**told, "receipt": ReceiptSerializer(receipt).data}
