"""Admin pages of judges, which change by versions, and of quality scores."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Max, QuerySet
from django.http import HttpRequest
from django.utils.html import format_html_join
from django.utils.safestring import SafeString
from unfold.admin import TabularInline
from unfold.contrib.filters.admin import RelatedDropdownFilter
from unfold.widgets import UnfoldAdminExpandableTextareaWidget

from policies_app.admin.access import NeverDeleted
from policies_app.admin.auditing import AuditedAdmin, author_of
from policies_app.admin.fields import LinesField
from policies_app.models import Judge, JudgeVersion, QualityScore
from policies_app.routing.operands import OperandError
from policies_app.services.judges import VERSION_FIELDS, add_judge_version, version_changes
from policies_app.services.operand_rows import scale_of


class JudgeForm(forms.ModelForm):  # type: ignore[type-arg]
    """The judge with what its newest version says; saving a change makes the next version."""

    class Meta:
        model = Judge
        fields = ("name", "description")

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        newest = self.instance.versions.order_by("-number").first() if self.instance.pk else None
        for name in VERSION_FIELDS if newest else ():
            value = getattr(newest, name)
            self.initial.setdefault(name, getattr(value, "pk", value))

    def clean(self) -> dict[str, Any]:
        values = super().clean() or self.cleaned_data
        if self.errors:
            return values
        version = JudgeVersion(number=1, **{name: values[name] for name in VERSION_FIELDS})
        try:
            version.full_clean(exclude=("judge", "author_name", "number"))
        except ValidationError as error:
            self._take(error)
        try:
            scale_of(version)
        except OperandError as error:
            self.add_error("verdicts", str(error).partition(": ")[2])
        return values

    def _take(self, error: ValidationError) -> None:
        for name, problems in error.message_dict.items():
            self.add_error(name if name in self.fields else None, ValidationError(problems))


class VersionInline(TabularInline):
    """What the judge was, version by version."""

    model = JudgeVersion
    fields = ("number", "created_at", "author_name", "model", "rubric", "changes", "note")
    readonly_fields = fields
    ordering = ("-number",)
    extra = 0
    can_delete = False
    hide_title = True
    verbose_name_plural = "versions, newest first; policies keep the one that they were published with"

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    @admin.display(description="What it changed")
    def changes(self, version: JudgeVersion) -> SafeString | str:
        before = {row.number: row for row in version.judge.versions.all()}.get(version.number - 1)
        if before is None:
            return "—"
        return format_html_join("", "<div>{}</div>", ((line,) for line in version_changes(before, version)))


@admin.register(Judge)
class JudgeAdmin(NeverDeleted, AuditedAdmin):
    list_display = ("name", "description", "version", "rates_by")
    search_fields = ("name", "description")
    ordering = ("name",)
    inlines = (VersionInline,)
    formfield_overrides = {models.TextField: {"widget": UnfoldAdminExpandableTextareaWidget}}
    fieldsets = (
        (None, {"fields": ("name", "description")}),
        (
            "What it does",
            {
                "fields": ("model", "instructions", "rubric"),
                "description": "A change here is a new version. Policies use it once they are published again.",
            },
        ),
        (
            "Scale",
            {
                "fields": (("lowest", "highest"), "verdicts", "default"),
                "description": "Numbers from one end to the other, or words instead. Scores become figures from 0 to 1.",
            },
        ),
        ("Bounds", {"fields": (("timeout_ms", "max_output_tokens"),)}),
        ("Why", {"fields": ("note",)}),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Judge]:
        judges: QuerySet[Judge] = super().get_queryset(request)
        return judges.annotate(newest=Max("versions__number")).prefetch_related("versions__model")

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Who may only look sees what the judge does among its versions."""
        may_edit = self.has_change_permission(request, obj) if obj else self.has_add_permission(request)
        return super().get_fieldsets(request, obj) if may_edit else self.fieldsets[:1]

    def get_form(
        self,
        request: HttpRequest,
        obj: Any = None,
        change: bool = False,  # noqa: FBT001, FBT002 - Django's signature
        **options: Any,
    ) -> Any:
        """The judge's own form with the fields of a version, as this admin shows such fields."""
        version_fields = {
            name: self.formfield_for_dbfield(JudgeVersion._meta.get_field(name), request)
            for name in (*VERSION_FIELDS, "note")
        }
        version_fields["verdicts"] = LinesField(
            required=False, item_max_length=100, help_text="Words instead of numbers, one word=score a line."
        )
        form = type("JudgeWithVersionForm", (JudgeForm,), version_fields)
        return super().get_form(request, obj, change, **{"form": form} | options)

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:  # noqa: FBT001
        super().save_related(request, form, formsets, change)
        values = form.cleaned_data
        version = add_judge_version(
            judge=form.instance,
            values={name: values[name] for name in VERSION_FIELDS},
            author_name=author_of(request),
            note=values["note"],
        )
        if version is not None:
            messages.info(request, f"{version} is the newest. Publish the policies that shall use it.")

    @admin.display(description="Newest", ordering="newest")
    def version(self, judge: Judge) -> str:
        newest = getattr(judge, "newest", None)
        return f"v{newest}" if newest else "—"

    @admin.display(description="Rates by")
    def rates_by(self, judge: Judge) -> str:
        versions = sorted(judge.versions.all(), key=lambda version: version.number)
        return str(versions[-1].model) if versions else "—"


@admin.register(QualityScore)
class QualityScoreAdmin(AuditedAdmin):
    list_display = ("model", "task", "score", "measured_at", "note")
    list_filter = (("model", RelatedDropdownFilter),)
    list_filter_submit = True
    search_fields = ("model__name", "task")
    list_select_related = ("model",)
    autocomplete_fields = ("model",)
    ordering = ("task", "model__name")
    fields = (("model", "task"), "score", "measured_at", "note")
