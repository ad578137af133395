"""Policies with their rules and steps, what publishing would do, and publishing itself."""

from collections.abc import Mapping, Sequence
from typing import Any

from django.db import transaction
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers, status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from policies_app.api.catalogue import CapabilitiesField
from policies_app.api.checks import StrictModelSerializer, StrictSerializer
from policies_app.api.document_values import ConditionField, ValidatorField
from policies_app.api.filters import PolicyFilter
from policies_app.api.viewsets import EditableViewSet
from policies_app.models import AuditAction, Judge, Model, Policy, PolicyVersion, Rule, Step, Tenant
from policies_app.routing.codes import FindingCode, Severity, Strategy
from policies_app.routing.reading import plain
from policies_app.services.audit import record_action
from policies_app.services.drafts import add_conditions, add_validators, policies_with_drafts
from policies_app.services.operand_rows import condition_of, validator_of
from policies_app.services.publishing import publish_policy, roll_back_policy
from policies_app.services.reviews import review_draft
from policies_app.validation import policy_errors, rule_errors, step_count_error


class ConditionsField(serializers.ListField):
    """Rows told as conditions, conditions taken as they are."""

    def to_representation(self, data: Any) -> list[Any]:
        return [plain(condition_of(row)) for row in data.all()]


class StepSerializer(StrictModelSerializer):
    """`validators` are what an answer of this step must pass, where the strategy looks at them."""

    model = serializers.SlugRelatedField(slug_field="name", queryset=Model.objects.all())
    validators = serializers.ListField(child=ValidatorField(), required=False)  # type: ignore[assignment] # declared fields are taken out of the class

    class Meta:
        model = Step
        fields = ("model", "timeout_ms", "max_output_tokens", "weight", "validators")

    def to_representation(self, instance: Step) -> Any:
        """With the validators that stand for every step, too."""
        told = {name: self.fields[name].to_representation(getattr(instance, name)) for name in ("model",)}
        told |= {name: getattr(instance, name) for name in ("timeout_ms", "max_output_tokens", "weight")}
        of_step = (row for row in instance.rule.validators.all() if row.step_id in {None, instance.pk})
        return told | {"validators": [plain(validator_of(row)) for row in of_step]}


class RuleSerializer(StrictModelSerializer):
    """Conditions as the admin has them: all must hold, an empty one holds always. Steps are tried in order."""

    tenants = serializers.SlugRelatedField(
        slug_field="name", many=True, required=False, queryset=Tenant.objects.all()
    )
    needs = CapabilitiesField(required=False)
    conditions = ConditionsField(
        child=ConditionField(), required=False, help_text="Further conditions, as policy documents have them."
    )
    judge = serializers.SlugRelatedField(
        slug_field="name", queryset=Judge.objects.all(), required=False, allow_null=True
    )
    steps = StepSerializer(many=True)

    class Meta:
        model = Rule
        fields = (
            "name",
            "is_default",
            "enabled",
            "tasks",
            "tenants",
            "end_users",
            "tags",
            "input_tokens_min",
            "input_tokens_max",
            "output_tokens_min",
            "output_tokens_max",
            "needs",
            "budget_scope",
            "budget_used_pct_min",
            "conditions",
            "strategy",
            "deadline_ms",
            "max_attempts",
            "max_cost_nanos",
            "allow_dearer_fallback",
            "fall_back_on_long_context",
            "continue_broken_streams",
            "drain_ms",
            "when_none_passes",
            "pick",
            "judge",
            "patience_ms",
            "hedge_delay_ms",
            "steps",
        )

    def field_errors(self, values: Mapping[str, Any]) -> Mapping[str, str]:
        strategy = values.get("strategy", Strategy.FAILOVER)
        steps_error = step_count_error(strategy=strategy, steps=len(values["steps"]))
        return rule_errors(values) | ({"steps": steps_error} if steps_error else {})


class PolicySerializer(StrictModelSerializer):
    """A policy and its draft. Sending `rules` replaces the draft's rules; clients are served the live version only."""

    tenant = serializers.SlugRelatedField(
        slug_field="name", queryset=Tenant.objects.all(), required=False, allow_null=True
    )
    baseline_model = serializers.SlugRelatedField(
        slug_field="name", queryset=Model.objects.all(), required=False, allow_null=True
    )
    rules = RuleSerializer(many=True, required=False)
    live_version: Any = serializers.SlugRelatedField(slug_field="number", read_only=True)

    class Meta:
        model = Policy
        fields = (
            "name",
            "description",
            "tenant",
            "baseline_model",
            "enabled",
            "live_version",
            "created_at",
            "rules",
        )
        read_only_fields = ("created_at",)

    def field_errors(self, values: Mapping[str, Any]) -> Mapping[str, str]:
        return policy_errors(values)

    def validate_rules(self, rules: list[dict[str, Any]]) -> list[dict[str, Any]]:
        names = [rule["name"] for rule in rules]
        if repeated := sorted({name for name in names if names.count(name) > 1}):
            raise serializers.ValidationError(f"The name “{repeated[0]}” stands on several rules.")
        if sum(bool(rule.get("is_default")) for rule in rules) > 1:
            raise serializers.ValidationError("A policy has only one default rule.")
        return rules

    def create(self, validated_data: dict[str, Any]) -> Policy:
        rules = validated_data.pop("rules", [])
        policy: Policy = super().create(validated_data)
        _replace_rules(policy, rules)
        return policy

    def update(self, instance: Policy, validated_data: dict[str, Any]) -> Policy:
        rules = validated_data.pop("rules", None)
        policy: Policy = super().update(instance, validated_data)
        if rules is not None:
            _replace_rules(policy, rules)
        return policy


def _replace_rules(policy: Policy, rules: Sequence[dict[str, Any]]) -> None:
    """Make these the draft's rules, in this order, with the default one last."""
    policy.rules.all().delete()
    in_order = sorted(rules, key=lambda rule: bool(rule.get("is_default")))
    for position, fields in enumerate(in_order, start=1):
        steps, tenants = fields.pop("steps"), fields.pop("tenants", [])
        conditions = fields.pop("conditions", [])
        rule = Rule.objects.create(policy=policy, position=position, **fields)
        rule.tenants.set(tenants)
        add_conditions(rule=rule, stated=conditions)
        for number, step in enumerate(steps, start=1):
            validators = step.pop("validators", [])
            row = Step.objects.create(rule=rule, position=number, **step)
            add_validators(rule=rule, step=row, stated=validators)


class FindingSerializer(serializers.Serializer[Any]):
    severity = serializers.ChoiceField(choices=[(severity.value, severity.value) for severity in Severity])
    code = serializers.ChoiceField(choices=[(code.value, code.value) for code in FindingCode])
    rule = serializers.CharField(allow_null=True)
    message = serializers.CharField()


class ChangeSerializer(serializers.Serializer[Any]):
    kind = serializers.CharField()
    rule = serializers.CharField(allow_null=True)
    text = serializers.CharField()


class WorstCaseSerializer(serializers.Serializer[Any]):
    rule = serializers.CharField()
    attempts = serializers.IntegerField()
    duration_ms = serializers.IntegerField()
    cost_nanos = serializers.IntegerField()


class DiffSerializer(serializers.Serializer[Any]):
    """What publishing the draft (or rolling back to a version) would change for clients."""

    changes = ChangeSerializer(many=True)


class VerdictSerializer(serializers.Serializer[Any]):
    """What is wrong with the draft, and what one dispatch of each rule can take at most."""

    is_publishable = serializers.BooleanField(help_text="Whether it says something new and has no error.")
    findings = FindingSerializer(many=True)
    worst_cases = WorstCaseSerializer(many=True)


class VersionSerializer(serializers.ModelSerializer[PolicyVersion]):
    rolled_back_to: Any = serializers.SlugRelatedField(slug_field="number", read_only=True)
    document = serializers.SerializerMethodField()

    class Meta:
        model = PolicyVersion
        fields = (
            "number",
            "published_at",
            "author_name",
            "note",
            "rolled_back_to",
            "content_hash",
            "schema_version",
            "document",
        )
        read_only_fields = fields

    @extend_schema_field({"type": "object", "additionalProperties": True})
    def get_document(self, version: PolicyVersion) -> Any:
        return version.document


class PublishSerializer(StrictSerializer):
    note = serializers.CharField(required=False, allow_blank=True, default="", max_length=500)


class RollBackSerializer(PublishSerializer):
    to = serializers.IntegerField(
        min_value=1, help_text="Number of the version whose document to publish again."
    )


class PolicyViewSet(EditableViewSet):
    """Policies, their drafts, and what clients are served."""

    queryset = Policy.objects.order_by("name")
    serializer_class = PolicySerializer
    lookup_field = "name"
    filterset_class = PolicyFilter
    search_fields = ("name", "description")
    action_permissions = {
        "publish": "policies_app.publish_policy",
        "roll_back": "policies_app.publish_policy",
        "versions": "policies_app.view_policyversion",
    }

    def get_queryset(self) -> Any:
        return policies_with_drafts().select_related("tenant", "live_version").order_by("name")

    @transaction.atomic
    def perform_update(self, serializer: serializers.BaseSerializer[Any]) -> None:
        before = _draft_of(self.row_of(serializer))
        super().perform_update(serializer)
        policy = self.get_queryset().get(pk=self.row_of(serializer).pk)
        serializer.instance = policy
        if (after := _draft_of(policy)) != before:
            record_action(
                action=AuditAction.CHANGED,
                subject=policy,
                author_name=self.author_name(),
                before={"rules": before},
                after={"rules": after},
            )

    @extend_schema(responses=VerdictSerializer)
    @action(detail=True, pagination_class=None, filter_backends=[])
    def verify(self, request: Request, name: str) -> Response:
        """Say what is wrong with the draft, and what each of its routes can cost at worst."""
        return Response(VerdictSerializer(review_draft(self.get_object())).data)

    @extend_schema(responses=DiffSerializer)
    @action(detail=True, pagination_class=None, filter_backends=[])
    def diff(self, request: Request, name: str) -> Response:
        """Say in words what publishing the draft would change."""
        return Response(DiffSerializer(review_draft(self.get_object())).data)

    @extend_schema(request=PublishSerializer, responses={201: VersionSerializer})
    @action(detail=True, methods=["post"])
    def publish(self, request: Request, name: str) -> Response:
        """Make the draft the live version. A draft that does not verify is refused, with the findings."""
        options = _read(PublishSerializer, request)
        version = publish_policy(policy=self.get_object(), author_name=self.author_name(), **options)
        return Response(VersionSerializer(version).data, status=status.HTTP_201_CREATED)

    @extend_schema(request=RollBackSerializer, responses={201: VersionSerializer})
    @action(detail=True, methods=["post"], url_path="roll-back")
    def roll_back(self, request: Request, name: str) -> Response:
        """Publish an old version's document again, under a new number."""
        options = _read(RollBackSerializer, request)
        policy = self.get_object()
        to = policy.versions.filter(number=options["to"]).first()
        if to is None:
            raise serializers.ValidationError({"to": [f"{policy} has no version {options['to']}."]})
        version = roll_back_policy(policy=policy, to=to, author_name=self.author_name(), note=options["note"])
        return Response(VersionSerializer(version).data, status=status.HTTP_201_CREATED)

    @extend_schema(responses=VersionSerializer(many=True))
    @action(detail=True, filter_backends=[])
    def versions(self, request: Request, name: str) -> Response:
        """The published versions, newest first."""
        versions = self.get_object().versions.select_related("rolled_back_to").order_by("-number")
        page = self.paginate_queryset(versions)
        return self.get_paginated_response(VersionSerializer(page, many=True).data)


def _draft_of(policy: Policy) -> Any:
    return RuleSerializer(policy.rules.all(), many=True).data


def _read(serializer_class: type[StrictSerializer], request: Request) -> dict[str, Any]:
    serializer = serializer_class(data=request.data)
    serializer.is_valid(raise_exception=True)
    return dict(serializer.validated_data)
