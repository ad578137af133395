"""Judges, which change by versions, and quality scores."""

from collections.abc import Mapping
from typing import Any

from django.db import transaction
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import mixins, serializers, status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from policies_app.api.checks import StrictModelSerializer
from policies_app.api.filters import QualityScoreFilter
from policies_app.api.viewsets import EditableViewSet
from policies_app.models import Judge, JudgeVersion, Model, QualityScore
from policies_app.routing.operands import OperandError
from policies_app.services.judges import VERSION_FIELDS, add_judge_version
from policies_app.services.operand_rows import scale_of


class JudgeVersionSerializer(StrictModelSerializer):
    """A scale of numbers has no `verdicts`; each of these is a word=score, with a score from 0 to 1."""

    model = serializers.SlugRelatedField(slug_field="name", queryset=Model.objects.all())

    class Meta:
        model = JudgeVersion
        fields = ("number", *VERSION_FIELDS, "note", "author_name", "created_at")
        read_only_fields = ("number", "author_name", "created_at")

    def field_errors(self, values: Mapping[str, Any]) -> Mapping[str, str]:
        version = JudgeVersion(verdicts=values.get("verdicts", []))
        try:
            scale_of(version)
        except OperandError as error:
            return {"verdicts": str(error).partition(": ")[2]}
        lowest, highest = values.get("lowest", 0), values.get("highest", 10)
        return {"highest": "The scale's upper end is below its lower end."} if lowest > highest else {}


class JudgeSerializer(StrictModelSerializer):
    """A judge and its newest version. Versions are added at its `versions`."""

    newest_version = serializers.SerializerMethodField()

    class Meta:
        model = Judge
        fields = ("name", "description", "newest_version", "created_at")
        read_only_fields = ("created_at",)

    @extend_schema_field(JudgeVersionSerializer(allow_null=True))
    def get_newest_version(self, judge: Judge) -> dict[str, Any] | None:
        versions = sorted(judge.versions.all(), key=lambda version: version.number)
        return JudgeVersionSerializer(versions[-1]).data if versions else None


class JudgeViewSet(EditableViewSet):
    """Models that rate answers. Drafts use the newest version, published policies the one they were published with."""

    queryset = Judge.objects.prefetch_related("versions__model").order_by("name")
    serializer_class = JudgeSerializer
    lookup_field = "name"
    search_fields = ("name", "description")
    action_permissions = {
        "versions": "policies_app.view_judgeversion",
        "add_version": "policies_app.add_judgeversion",
    }

    @extend_schema(responses=JudgeVersionSerializer(many=True))
    @action(detail=True, filter_backends=[])
    def versions(self, request: Request, name: str) -> Response:
        """All versions, newest first."""
        versions = self.get_object().versions.select_related("model").order_by("-number")
        page = self.paginate_queryset(versions)
        return self.get_paginated_response(JudgeVersionSerializer(page, many=True).data)

    @extend_schema(request=JudgeVersionSerializer, responses={201: JudgeVersionSerializer})
    @versions.mapping.post
    @transaction.atomic
    def add_version(self, request: Request, name: str) -> Response:
        """Add a version. What already is the newest version is answered as such."""
        serializer = JudgeVersionSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        judge = self.get_object()
        sent = serializer.validated_data
        blank = JudgeVersion()
        values = {field: sent.get(field, getattr(blank, field, None)) for field in VERSION_FIELDS}
        version = add_judge_version(
            judge=judge, values=values, author_name=self.author_name(), note=sent.get("note", "")
        )
        if version is None:
            newest = judge.versions.order_by("-number").first()
            return Response(JudgeVersionSerializer(newest).data)
        return Response(JudgeVersionSerializer(version).data, status=status.HTTP_201_CREATED)


class QualityScoreSerializer(StrictModelSerializer):
    model = serializers.SlugRelatedField(slug_field="name", queryset=Model.objects.all())

    class Meta:
        model = QualityScore
        fields = ("id", "model", "task", "score", "measured_at", "note")


class QualityScoreViewSet(EditableViewSet, mixins.DestroyModelMixin):
    """How good models are at tasks, as measured: what quality conditions read."""

    queryset = QualityScore.objects.select_related("model").order_by("task", "model__name")
    serializer_class = QualityScoreSerializer
    filterset_class = QualityScoreFilter
    search_fields = ("task", "model__name")
