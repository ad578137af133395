"""Admin pages of tenants and their API keys."""

from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from unfold.contrib.filters.admin import RelatedDropdownFilter
from unfold.decorators import action

from policies_app.admin.access import NeverDeleted
from policies_app.admin.auditing import AuditedAdmin, author_of
from policies_app.admin.pages import render_page, row_or_404
from policies_app.admin.stopping import Stoppable
from policies_app.models import ApiKey, Tenant
from policies_app.routing.codes import KillScope
from policies_app.services.api_keys import IssuedApiKey, create_api_key, rotate_api_key


@admin.register(Tenant)
class TenantAdmin(Stoppable, NeverDeleted, AuditedAdmin):
    kill_scope = KillScope.TENANT
    actions_detail = ("stop",)
    actions_row = ("stop",)
    list_display = ("name", "display_name", "time_zone", "enabled", "created_at")
    list_filter = ("enabled",)
    search_fields = ("name", "display_name")
    ordering = ("name",)
    fields = ("name", "display_name", "time_zone", "enabled", "replay_answers")


class ApiKeyForm(forms.ModelForm):  # type: ignore[type-arg]
    class Meta:
        model = ApiKey
        exclude = ()  # noqa: DJ006

    def clean(self) -> dict[str, Any]:
        values = super().clean() or self.cleaned_data
        tenant = values.get("tenant") or (self.instance.tenant if self.instance.pk else None)
        for policy in values.get("policies") or ():
            if tenant and policy.tenant_id not in {None, tenant.pk}:
                self.add_error("policies", f"Policy {policy} belongs to another tenant.")
        return values


@admin.register(ApiKey)
class ApiKeyAdmin(Stoppable, NeverDeleted, AuditedAdmin):
    kill_scope = KillScope.API_KEY
    """The key itself is shown once, on the page that answers its creation or rotation."""

    form = ApiKeyForm
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
    add_fieldsets = (
        (None, {"fields": ("tenant", "label", "expires_at")}),
        ("What it may do", {"fields": ("policies", "may_call_models", "may_explain_drafts")}),
    )
    actions_detail = ("rotate", "stop")
    actions_row = ("stop",)

    def get_readonly_fields(self, request: HttpRequest, obj: ApiKey | None = None) -> tuple[str, ...]:
        return ("tenant", *self.readonly_fields) if obj else self.readonly_fields

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:  # noqa: FBT001
        if change:
            super().save_model(request, obj, form, change)
            return
        issued = create_api_key(**form.cleaned_data, author_name=author_of(request))
        form.instance = issued.row
        obj.pk, obj.issued = issued.row.pk, issued

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:  # noqa: FBT001
        if change:
            super().save_related(request, form, formsets, change)

    def response_add(
        self, request: HttpRequest, obj: ApiKey, post_url_continue: str | None = None
    ) -> HttpResponse:
        return self._show_once(request, obj.issued)  # type: ignore[attr-defined]

    @action(description="Rotate", icon="autorenew", permissions=("change",))
    def rotate(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask, then give the key a new text."""
        api_key = row_or_404(self, request, object_id)
        if request.method == "POST":
            return self._show_once(request, rotate_api_key(api_key=api_key, author_name=author_of(request)))
        return render_page(
            self,
            request,
            "admin/policies_app/apikey/rotate.html",
            title=f"Rotate {api_key}",
            row=api_key,
        )

    def _show_once(self, request: HttpRequest, issued: IssuedApiKey) -> HttpResponse:
        """The one page that holds the key's text. It must not be kept by a cache, or shown again by going back."""
        response = render_page(
            self,
            request,
            "admin/policies_app/apikey/issued.html",
            title=f"Key {issued.row}",
            row=issued.row,
            text=issued.text,
        )
        response["Cache-Control"] = "no-store"
        return response
