"""Admin page of budgets, entered and shown in USD."""

from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.postgres.forms import SimpleArrayField
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from unfold.admin import ModelAdmin
from unfold.contrib.filters.admin import ChoicesDropdownFilter, RelatedDropdownFilter
from unfold.decorators import display
from unfold.widgets import UnfoldAdminTextInputWidget

from policies_app.admin.access import NeverDeleted
from policies_app.admin.auditing import author_of
from policies_app.admin.fields import UsdField, show_usd
from policies_app.models import Budget
from policies_app.models.budgets import default_alerts
from policies_app.services.budget_raises import limit_takes_second_person
from policies_app.services.budgets import RAISE_INSTEAD, save_budget
from policies_app.validation import budget_errors

_ACTION_COLOURS = {"Reject": "danger", "Downgrade": "warning", "Alert": "info"}


class BudgetForm(forms.ModelForm):  # type: ignore[type-arg]
    limit_nanos = UsdField(label="Limit in USD", help_text="For each period, e.g. 250 or 0.05.")
    alert_at_pcts = SimpleArrayField(
        forms.IntegerField(min_value=1, max_value=1_000),
        label="Alert at",
        required=False,
        initial=default_alerts,
        widget=UnfoldAdminTextInputWidget,
        help_text="Percent of the limit, e.g. 50, 80, 100. The tenant's alert destinations hear of each once a period. Empty: never.",
    )

    class Meta:
        model = Budget
        exclude = ()  # noqa: DJ006

    def clean(self) -> dict[str, Any]:
        values = super().clean() or self.cleaned_data
        for field, message in budget_errors(values).items():
            self.add_error(field, message)
        if self._takes_second_person(values.get("limit_nanos")):
            self.add_error("limit_nanos", RAISE_INSTEAD)
        return values

    def _takes_second_person(self, limit_nanos: int | None) -> bool:
        if self.instance.pk is None or limit_nanos is None:
            return False
        return limit_takes_second_person(budget_id=self.instance.pk, limit_nanos=limit_nanos)


@admin.register(Budget)
class BudgetAdmin(NeverDeleted, ModelAdmin):
    form = BudgetForm
    list_display = ("name", "tenant", "scope", "subject", "limit", "period", "shown_action", "enabled")
    list_filter = (
        "enabled",
        ("tenant", RelatedDropdownFilter),
        ("scope", ChoicesDropdownFilter),
        ("period", ChoicesDropdownFilter),
        ("action", ChoicesDropdownFilter),
    )
    list_filter_submit = True
    list_select_related = ("tenant", "api_key__tenant", "policy")
    search_fields = ("name", "tenant__name", "end_user", "tag")
    autocomplete_fields = ("tenant", "api_key", "policy")
    ordering = ("tenant__name", "name")
    radio_fields = {"action": admin.VERTICAL}
    conditional_fields = {
        "api_key": "scope == 'api_key'",
        "policy": "scope == 'policy'",
        "end_user": "scope == 'end_user'",
        "tag": "scope == 'tag'",
        "shrink_to_tokens": "action != 'alert'",
        "month_begins_on": "period == 'month'",
        "mid_from_pct": "action == 'downgrade'",
        "small_from_pct": "action == 'downgrade'",
    }
    fieldsets = (
        (None, {"fields": ("tenant", "name", "enabled")}),
        ("Whose spend", {"fields": ("scope", "api_key", "policy", "end_user", "tag")}),
        ("How much", {"fields": ("limit_nanos", "period", "month_begins_on")}),
        ("Who is told", {"fields": ("alert_at_pcts",)}),
        ("When it is used up", {"fields": ("action", "mid_from_pct", "small_from_pct", "shrink_to_tokens")}),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Budget]:
        return super().get_queryset(request).with_limit_at(timezone.now())  # type: ignore[no-any-return]

    def save_model(self, request: HttpRequest, obj: Budget, form: BudgetForm, change: bool) -> None:  # noqa: FBT001
        save_budget(budget=obj, author_name=author_of(request))

    @admin.display(description="Subject")
    def subject(self, budget: Budget) -> str:
        return str(budget.api_key or budget.policy or budget.end_user or budget.tag or "—")

    @admin.display(description="Limit", ordering="limit_nanos")
    def limit(self, budget: Budget) -> str:
        limit_nanos = budget.limit_at_nanos
        raised = limit_nanos != budget.limit_nanos
        return f"{show_usd(limit_nanos)}, raised" if raised else show_usd(limit_nanos)

    @display(description="When used up", ordering="action", label=_ACTION_COLOURS)
    def shown_action(self, budget: Budget) -> str:
        return budget.get_action_display()
