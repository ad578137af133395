"""Admin page of kill switches: thrown and lifted, never edited or deleted."""

from django.contrib import admin
from django.http import HttpRequest
from unfold.admin import ModelAdmin
from unfold.contrib.filters.admin import ChoicesDropdownFilter
from unfold.decorators import display

from policies_app.admin.access import NeverDeleted
from policies_app.models import KillSwitch


@admin.register(KillSwitch)
class KillSwitchAdmin(NeverDeleted, ModelAdmin):
    list_display = (
        "state",
        "scope",
        "subject",
        "reason",
        "author_name",
        "created_at",
        "expires_at",
        "lifted_at",
    )
    list_display_links = ("scope",)
    list_filter = (("scope", ChoicesDropdownFilter),)
    list_filter_submit = True
    list_select_related = ("provider", "model", "policy", "tenant", "api_key__tenant")
    search_fields = ("reason", "author_name", "provider__name", "model__name", "policy__name", "tenant__name")
    autocomplete_fields = ("provider", "model", "policy", "tenant", "api_key")
    ordering = ("-created_at",)

    def has_change_permission(self, request: HttpRequest, obj: KillSwitch | None = None) -> bool:
        return False

    @display(description="State", label={"active": "danger", "over": "info"})
    def state(self, switch: KillSwitch) -> str:
        return "active" if switch.is_active else "over"

    @admin.display(description="Stops")
    def subject(self, switch: KillSwitch) -> str:
        return switch.subject or "all traffic"
