"""Admin pages of policies and of their published versions."""

from django.contrib import admin
from unfold.admin import ModelAdmin
from unfold.contrib.filters.admin import RelatedDropdownFilter

from policies_app.admin.access import ReadOnlyAdmin
from policies_app.models import Policy, PolicyVersion


@admin.register(Policy)
class PolicyAdmin(ModelAdmin):
    list_display = ("name", "description", "tenant", "live_version", "enabled")
    list_filter = ("enabled", ("tenant", RelatedDropdownFilter))
    list_filter_submit = True
    list_select_related = ("tenant", "live_version__policy")
    search_fields = ("name", "description", "tenant__name")
    autocomplete_fields = ("tenant", "baseline_model")
    ordering = ("name",)


@admin.register(PolicyVersion)
class PolicyVersionAdmin(ReadOnlyAdmin):
    list_display = ("policy", "number", "published_at", "author_name", "note")
    list_filter = (("policy", RelatedDropdownFilter),)
    list_filter_submit = True
    list_select_related = ("policy",)
    search_fields = ("policy__name", "note", "author_name")
    ordering = ("-published_at",)
