"""Admin page of a rule: its conditions by family, its steps in order."""

from django.contrib import admin
from unfold.admin import ModelAdmin, TabularInline
from unfold.contrib.filters.admin import ChoicesDropdownFilter, RelatedDropdownFilter

from policies_app.models import Rule, Step


class StepInline(TabularInline):
    model = Step
    extra = 0
    ordering = ("position",)
    ordering_field = "position"
    autocomplete_fields = ("model",)


@admin.register(Rule)
class RuleAdmin(ModelAdmin):
    list_display = ("policy", "position", "name", "is_default", "strategy", "enabled")
    list_display_links = ("name",)
    list_filter = ("enabled", ("policy", RelatedDropdownFilter), ("strategy", ChoicesDropdownFilter))
    list_filter_submit = True
    list_select_related = ("policy",)
    search_fields = ("name", "policy__name")
    autocomplete_fields = ("policy", "tenants")
    ordering = ("policy__name", "position")
    inlines = (StepInline,)
