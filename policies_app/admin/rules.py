"""Admin page of a rule: its conditions by family, its steps in order."""

from collections.abc import Iterable, Mapping
from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin.utils import flatten
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from unfold.admin import TabularInline
from unfold.contrib.filters.admin import ChoicesDropdownFilter, RelatedDropdownFilter
from unfold.decorators import action, display

from policies_app.admin.auditing import AuditedAdmin
from policies_app.admin.fields import CheckboxesField, LinesField, UsdField
from policies_app.admin.kinds import ConditionInline, ValidatorInline, show_fields_of
from policies_app.admin.ordering import LAST, OrderedForm, OrderedFormSet, renumber
from policies_app.admin.pages import row_or_404
from policies_app.admin.wording import conditions_of, route_of
from policies_app.models import Rule, Step
from policies_app.models.choices import choices_of
from policies_app.routing.codes import Capability, Pick, Strategy
from policies_app.services.drafts import rules_with_parts
from policies_app.validation import is_stated, rule_errors, step_count_error

FIELDS_OF_STRATEGY: Mapping[str, tuple[str, ...]] = {
    Strategy.SINGLE: (),
    Strategy.FAILOVER: ("allow_dearer_fallback",),
    Strategy.CASCADE: ("when_none_passes", "validators"),
    Strategy.PARALLEL: (
        "when_none_passes",
        "pick",
        "judge",
        "patience_ms",
        "allow_dearer_fallback",
        "validators",
    ),
    Strategy.HEDGED: ("hedge_delay_ms", "allow_dearer_fallback"),
}
FIELDS_OF_PICK: Mapping[str, tuple[str, ...]] = {
    pick: ("judge",) if pick is Pick.JUDGE else () for pick in Pick
}


FOLDED = ("When: caller", "When: shape of the request", "When: budget pressure")


class RuleForm(forms.ModelForm):  # type: ignore[type-arg]
    tasks = LinesField(required=False, item_max_length=64, help_text="Task is one of these, one a line.")
    end_users = LinesField(
        required=False, item_max_length=255, help_text="End user is one of these, one a line."
    )
    tags = LinesField(
        required=False,
        item_max_length=300,
        help_text="One key=value a line. Several values of one key: any of them; several keys: all of them.",
    )
    needs = CheckboxesField(
        choices=choices_of(Capability), required=False, help_text="The request needs all of these."
    )

    max_cost_nanos = UsdField(
        label="Most money, USD",
        required=False,
        help_text="For the whole dispatch, all attempts together; empty: the budgets alone bound it.",
    )

    class Meta:
        model = Rule
        exclude = ("position",)  # noqa: DJ006
        labels = {
            "is_default": "Default rule",
            "input_tokens_min": "Input tokens, least",
            "input_tokens_max": "Input tokens, most",
            "output_tokens_min": "Output tokens, least",
            "output_tokens_max": "Output tokens, most",
            "budget_scope": "Budget of",
            "budget_used_pct_min": "Used to at least, %",
            "deadline_ms": "Deadline, ms",
            "when_none_passes": "If no answer passes",
            "patience_ms": "Patience, ms",
            "hedge_delay_ms": "Hedge after, ms",
            "drain_ms": "Read on after a hang-up, ms",
            "allow_dearer_fallback": "Allow dearer fallback",
        }
        help_texts = {
            "allow_dearer_fallback": "Allow steps that can cost more than what is asked first. Without it, publishing refuses them.",
        }

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        for name, fields_of in (("strategy", FIELDS_OF_STRATEGY), ("pick", FIELDS_OF_PICK)):
            if name in self.fields:
                show_fields_of(self.fields[name].widget, fields_of)

    def clean(self) -> dict[str, Any]:
        values = super().clean() or self.cleaned_data
        for field, message in rule_errors(values).items():
            self.add_error(field, message)
        return values


class StepFormSet(OrderedFormSet):
    """The steps as a whole: how many a strategy takes."""

    def clean(self) -> None:
        super().clean()
        kept = [form for form in self.forms if form.has_changed() or form.instance.pk]
        steps = len([form for form in kept if not self._should_delete_form(form)])
        message = step_count_error(strategy=self.instance.strategy, steps=steps)
        if message:
            raise forms.ValidationError(message)


class StepInline(TabularInline):
    model = Step
    form = OrderedForm
    formset = StepFormSet
    extra = 0
    ordering = ("position",)
    ordering_field = "position"
    autocomplete_fields = ("model",)
    fields = ("position", "model", "timeout_ms", "max_output_tokens", "weight")
    hide_title = True
    verbose_name_plural = "steps, tried in this order: drag to reorder"


@admin.register(Rule)
class RuleAdmin(AuditedAdmin):
    form = RuleForm
    list_display = (
        "name",
        "policy",
        "position",
        "conditions",
        "route",
        "shown_default",
        "enabled",
    )
    list_filter = ("enabled", ("policy", RelatedDropdownFilter), ("strategy", ChoicesDropdownFilter))
    list_filter_submit = True
    list_select_related = ("policy",)
    search_fields = ("name", "policy__name", "steps__model__name")
    autocomplete_fields = ("policy", "tenants")
    ordering = ("policy__name", "position")
    inlines = (ConditionInline, StepInline, ValidatorInline)
    warn_unsaved_form = True
    fieldsets = (
        (None, {"fields": ("policy", "name", ("is_default", "enabled"))}),
        (
            "When: task",
            {
                "fields": ("tasks",),
                "description": "All of the conditions must hold; an empty one holds for every request.",
            },
        ),
        ("When: caller", {"fields": ("tenants", "end_users", "tags")}),
        (
            "When: shape of the request",
            {
                "fields": (
                    ("input_tokens_min", "input_tokens_max"),
                    ("output_tokens_min", "output_tokens_max"),
                    "needs",
                )
            },
        ),
        (
            "When: budget pressure",
            {"fields": (("budget_scope", "budget_used_pct_min"),), "classes": ("before-conditions",)},
        ),
        (
            "Then: strategy",
            {
                "fields": (
                    "strategy",
                    "when_none_passes",
                    "pick",
                    "judge",
                    "patience_ms",
                    "hedge_delay_ms",
                )
            },
        ),
        (
            "Within: one bound on everything that the dispatch does",
            {"fields": (("deadline_ms", "max_attempts"), "max_cost_nanos")},
        ),
        (
            "Also",
            {
                "fields": (
                    "allow_dearer_fallback",
                    "fall_back_on_long_context",
                    "continue_broken_streams",
                    "drain_ms",
                )
            },
        ),
    )
    actions_detail = ("open_policy",)

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Conditions that a rule does not state are folded away."""
        return [
            (title, {**options, "classes": (*options.get("classes", ()), "collapse")})
            if title in FOLDED and not _states(obj, flatten(options["fields"]))
            else (title, options)
            for title, options in super().get_fieldsets(request, obj)
        ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Rule]:
        return rules_with_parts().select_related("policy")

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:  # noqa: FBT001
        if not change or "policy" in form.changed_data:
            obj.position = LAST
        super().save_model(request, obj, form, change)
        renumber(obj.policy.rules.order_by("is_default", "position"))

    @action(description="Policy", icon="alt_route", permissions=("view",))
    def open_policy(self, request: HttpRequest, object_id: str) -> HttpResponse:
        rule = row_or_404(self, request, object_id)
        return redirect(reverse("admin:policies_app_policy_change", args=(rule.policy_id,)))

    @display(description="", label={"default": "primary"})
    def shown_default(self, rule: Rule) -> str | None:
        return "default" if rule.is_default else None

    @admin.display(description="Takes a request")
    def conditions(self, rule: Rule) -> str:
        return conditions_of(rule)

    @admin.display(description="And then")
    def route(self, rule: Rule) -> str:
        return route_of(rule)


def _states(rule: Rule | None, fields: Iterable[str]) -> bool:
    """Whether any of these fields of a rule has something in it."""
    return rule is not None and any(
        is_stated(rule.tenants.all() if name == "tenants" else getattr(rule, name)) for name in fields
    )
