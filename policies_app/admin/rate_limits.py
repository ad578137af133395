"""Admin page of rate limits."""

from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from unfold.admin import ModelAdmin
from unfold.contrib.filters.admin import ChoicesDropdownFilter, RelatedDropdownFilter

from policies_app.admin.access import NeverDeleted
from policies_app.admin.auditing import author_of
from policies_app.models import RateLimit
from policies_app.services.rate_limits import save_rate_limit
from policies_app.validation import RATE_LIMIT_SUBJECTS, rate_limit_errors


class RateLimitForm(forms.ModelForm):  # type: ignore[type-arg]
    class Meta:
        model = RateLimit
        exclude = ()  # noqa: DJ006

    def clean(self) -> dict[str, Any]:
        values = super().clean() or self.cleaned_data
        for field, message in rate_limit_errors(values).items():
            if field not in self.errors:
                self.add_error(field, message)
        return values


@admin.register(RateLimit)
class RateLimitAdmin(NeverDeleted, ModelAdmin):
    form = RateLimitForm
    list_display = ("subject", "scope", "kind", "shown_limit", "enabled")
    list_filter = (
        "enabled",
        ("scope", ChoicesDropdownFilter),
        ("kind", ChoicesDropdownFilter),
        ("tenant", RelatedDropdownFilter),
        ("model", RelatedDropdownFilter),
    )
    list_filter_submit = True
    list_select_related = ("tenant", "api_key__tenant", "model")
    search_fields = ("tenant__name", "api_key__label", "api_key__public_id", "model__name")
    autocomplete_fields = ("tenant", "api_key", "model")
    ordering = ("scope", "tenant__name", "api_key__label", "model__name", "kind")
    conditional_fields = {
        field: f"scope == '{scope}'" for scope, fields in RATE_LIMIT_SUBJECTS.items() for field in fields
    }
    fieldsets = (
        ("Whose rate", {"fields": ("scope", "tenant", "api_key", "model")}),
        ("How much", {"fields": ("kind", "limit", "enabled")}),
    )

    def save_model(self, request: HttpRequest, obj: RateLimit, form: RateLimitForm, change: bool) -> None:  # noqa: FBT001
        save_rate_limit(rate_limit=obj, author_name=author_of(request))

    @admin.display(description="Subject")
    def subject(self, rate_limit: RateLimit) -> str:
        return rate_limit.subject

    @admin.display(description="Limit", ordering="limit")
    def shown_limit(self, rate_limit: RateLimit) -> str:
        return f"{rate_limit.limit:,}"
