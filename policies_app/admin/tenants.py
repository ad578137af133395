"""Admin pages of tenants and their API keys."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from unfold.admin import ModelAdmin
from unfold.contrib.filters.admin import RelatedDropdownFilter

from policies_app.admin.access import NeverDeleted
from policies_app.models import ApiKey, Tenant


@admin.register(Tenant)
class TenantAdmin(NeverDeleted, ModelAdmin):
    list_display = ("name", "display_name", "time_zone", "enabled", "created_at")
    list_filter = ("enabled",)
    search_fields = ("name", "display_name")
    ordering = ("name",)
    fields = ("name", "display_name", "time_zone", "enabled")


@admin.register(ApiKey)
class ApiKeyAdmin(NeverDeleted, ModelAdmin):
    """The key itself is shown once, on the page that follows its creation."""

    list_display = ("label", "tenant", "public_id", "enabled", "expires_at", "created_at")
    list_filter = ("enabled", ("tenant", RelatedDropdownFilter))
    list_filter_submit = True
    list_select_related = ("tenant",)
    search_fields = ("label", "public_id", "tenant__name")
    autocomplete_fields = ("tenant", "policies")
    readonly_fields = ("public_id", "created_at")
    ordering = ("tenant__name", "label")
    fieldsets = (
        (None, {"fields": ("tenant", "label", "enabled", "expires_at")}),
        ("What it may do", {"fields": ("policies", "may_call_models", "may_explain_drafts")}),
        ("Identity", {"fields": ("public_id", "created_at")}),
    )

    def get_fieldsets(self, request: HttpRequest, obj: ApiKey | None = None) -> Any:
        return super().get_fieldsets(request, obj) if obj else self.fieldsets[:-1]

    def get_readonly_fields(self, request: HttpRequest, obj: ApiKey | None = None) -> tuple[str, ...]:
        return ("tenant", *self.readonly_fields) if obj else self.readonly_fields
