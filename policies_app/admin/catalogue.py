"""Admin pages of providers, their credentials, models and prices."""

from typing import Any
from urllib.parse import urlencode

from django import forms
from django.contrib import admin
from django.core.validators import RegexValidator
from django.db import models
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from unfold.admin import ModelAdmin, TabularInline
from unfold.contrib.filters.admin import ChoicesDropdownFilter, RelatedDropdownFilter
from unfold.decorators import action, display
from unfold.widgets import UnfoldAdminPasswordWidget

from policies_app.admin.access import NeverDeleted
from policies_app.admin.auditing import AuditedAdmin, author_of
from policies_app.admin.fields import CheckboxesField, UsdField, show_usd
from policies_app.admin.price_imports import PriceImports
from policies_app.admin.quirks import QuirksForm, quirks_fieldset
from policies_app.admin.stopping import Stoppable
from policies_app.models import AuditAction, Credential, Model, Price, Provider
from policies_app.models.choices import choices_of
from policies_app.routing.codes import Capability, KillScope
from policies_app.services.audit import fields_of, record_action, record_change, record_creation
from policies_app.services.credentials import read_secret, set_provider_secret
from policies_app.services.prices import set_price
from policies_app.validation import model_errors

PRICE_BUCKETS = (
    "input_nanos",
    "cached_input_nanos",
    "cache_write_nanos",
    "output_nanos",
    "reasoning_nanos",
)
_TIER_COLOURS = {"Small": "success", "Mid": "info", "Frontier": "warning"}


class CredentialForm(forms.ModelForm):  # type: ignore[type-arg]
    """The secret is written, never shown: an empty field keeps the one that there is."""

    secret = forms.CharField(
        required=False,
        strip=True,
        max_length=4096,
        validators=[
            RegexValidator(r"^[!-~]+\Z", "It holds spaces or characters that no HTTP header can carry.")
        ],
        widget=UnfoldAdminPasswordWidget(attrs={"autocomplete": "new-password"}),
        help_text="Write-only. Empty keeps the secret that there is.",
    )

    class Meta:
        model = Credential
        fields = ("label", "weight", "secret", "environment_variable", "enabled")

    def clean(self) -> dict[str, Any]:
        values = super().clean() or self.cleaned_data
        has_secret = bool(values.get("secret")) or self.instance.sealed_secret is not None
        if not has_secret and not values.get("environment_variable"):
            raise forms.ValidationError("Give the secret, or the environment variable that holds it.")
        return values


class CredentialInline(TabularInline):
    model = Credential
    form = CredentialForm
    fields: tuple[str, ...] = (
        "label",
        "weight",
        "secret",
        "shown_secret",
        "environment_variable",
        "enabled",
    )
    readonly_fields: tuple[str, ...] = ("shown_secret",)
    extra = 0

    @admin.display(description="Secret on file")
    def shown_secret(self, credential: Credential) -> str:
        """Its end, wherever it is: the web process that shows this page has the variables of those that serve."""
        reading = read_secret(credential=credential)
        if reading.secret is not None:
            return f"…{reading.last_four}" if reading.last_four else "too short to be shown"
        if credential.environment_variable:
            return "variable not set"
        return "none" if credential.sealed_secret is None else "cannot be opened"


@admin.register(Provider)
class ProviderAdmin(Stoppable, NeverDeleted, AuditedAdmin):
    kill_scope = KillScope.PROVIDER
    actions_detail = ("stop",)
    actions_row = ("stop",)
    list_display = ("name", "wire_format", "base_url", "model_count", "enabled")
    list_filter = ("enabled", ("wire_format", ChoicesDropdownFilter))
    list_filter_submit = True
    search_fields = ("name", "base_url")
    ordering = ("name",)
    inlines = (CredentialInline,)
    formfield_overrides = {models.URLField: {"assume_scheme": "https"}}
    fieldsets = (
        (
            None,
            {
                "fields": (
                    "name",
                    "wire_format",
                    "base_url",
                    "api_version",
                    "region",
                    "allow_private_network",
                    "enabled",
                )
            },
        ),
        (
            "Timeouts and billing",
            {
                "fields": (
                    "connect_timeout_ms",
                    "first_byte_timeout_ms",
                    "idle_timeout_ms",
                    "bills_server_errors",
                    "bills_after_cut",
                )
            },
        ),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Provider]:
        providers: QuerySet[Provider] = super().get_queryset(request)
        return providers.prefetch_related("models")

    @admin.display(description="Models")
    def model_count(self, provider: Provider) -> int:
        return len(provider.models.all())

    def save_formset(self, request: HttpRequest, form: Any, formset: Any, change: bool) -> None:  # noqa: FBT001
        """Save the credentials, each change in the audit trail."""
        author = author_of(request)
        before = {row.pk: fields_of(row) for row in Credential.objects.filter(provider=form.instance)}
        for row in formset.deleted_forms:
            if row.instance.pk is not None:
                record_action(
                    action=AuditAction.DELETED,
                    subject=row.instance,
                    author_name=author,
                    before=before[row.instance.pk],
                )
        super().save_formset(request, form, formset, change)
        for added in formset.new_objects:
            record_creation(subject=added, author_name=author)
        for changed, _names in formset.changed_objects:
            record_change(subject=changed, before=before[changed.pk], author_name=author)
        for row in formset.forms:
            secret = row.cleaned_data.get("secret")
            if secret and not row.cleaned_data.get("DELETE"):
                set_provider_secret(credential=row.instance, secret=secret, author_name=author)


class FleetModelForm(QuirksForm):
    capabilities = CheckboxesField(
        choices=choices_of(Capability),
        required=False,
        help_text=Model._meta.get_field("capabilities").help_text,
    )

    class Meta(QuirksForm.Meta):
        model = Model
        exclude = ()

    def clean(self) -> dict[str, Any]:
        values = super().clean() or self.cleaned_data
        for field, message in model_errors(values).items():
            self.add_error(field, message)
        return values


class PriceInline(TabularInline):
    """The prices so far. A new one is added on its own page, where it says from when it counts."""

    model = Price
    fields = ("effective_from", "input", "cached_input", "cache_write", "output", "reasoning", "origin")
    readonly_fields = fields
    ordering = ("-effective_from",)
    extra = 0
    can_delete = False
    verbose_name_plural = "prices, USD per million tokens"

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    @admin.display(description="Input")
    def input(self, price: Price) -> str:
        return show_usd(price.input_nanos)

    @admin.display(description="Cached input")
    def cached_input(self, price: Price) -> str:
        return show_usd(price.cached_input_nanos)

    @admin.display(description="Cache write")
    def cache_write(self, price: Price) -> str:
        return show_usd(price.cache_write_nanos)

    @admin.display(description="Output")
    def output(self, price: Price) -> str:
        return show_usd(price.output_nanos)

    @admin.display(description="Reasoning")
    def reasoning(self, price: Price) -> str:
        return show_usd(price.reasoning_nanos)

    @admin.display(description="From")
    def origin(self, price: Price) -> str:
        return price.source or "by hand"


@admin.register(Model)
class FleetModelAdmin(Stoppable, NeverDeleted, PriceImports, AuditedAdmin):
    kill_scope = KillScope.MODEL
    form = FleetModelForm
    list_display = (
        "name",
        "provider",
        "shown_tier",
        "capability_list",
        "price_now",
        "context_window_tokens",
        "enabled",
    )
    list_filter = ("enabled", ("tier", ChoicesDropdownFilter), ("provider", RelatedDropdownFilter))
    list_filter_submit = True
    list_select_related = ("provider",)
    search_fields = ("name", "wire_name", "provider__name")
    autocomplete_fields = ("provider",)
    ordering = ("name",)
    inlines = (PriceInline,)
    fieldsets = (
        (None, {"fields": ("name", "provider", "wire_name", "tier", "enabled")}),
        (
            "What it can do",
            {"fields": ("capabilities", "context_window_tokens", "max_output_tokens", "image_tokens_bound")},
        ),
        ("Cold start", {"fields": ("cold_after_s", "cold_penalty_ms", "keep_warm")}),
    )
    actions_detail = ("add_price", "price_from_catalogue", "stop")
    actions_row = ("price_from_catalogue", "stop")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Model]:
        fleet: QuerySet[Model] = super().get_queryset(request)
        return fleet.prefetch_related("prices")

    def get_fieldsets(self, request: HttpRequest, obj: Model | None = None) -> Any:
        return (*super().get_fieldsets(request, obj), quirks_fieldset(obj))

    @display(description="Tier", ordering="tier", label=_TIER_COLOURS)
    def shown_tier(self, model: Model) -> str:
        return model.get_tier_display()

    @admin.display(description="Capabilities")
    def capability_list(self, model: Model) -> str:
        return ", ".join(capability.replace("_", " ") for capability in model.capabilities) or "—"

    @admin.display(description="In / out per million tokens")
    def price_now(self, model: Model) -> str:
        now = timezone.now()
        in_force = [price for price in model.prices.all() if price.effective_from <= now]
        if not in_force:
            return "no price: never used"
        price = max(in_force, key=lambda row: row.effective_from)
        return f"{show_usd(price.input_nanos)} / {show_usd(price.output_nanos)}"

    @action(description="Add a price", icon="sell", permissions=("add_price",))
    def add_price(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return redirect(f"{reverse('admin:policies_app_price_add')}?{urlencode({'model': object_id})}")

    def has_add_price_permission(self, request: HttpRequest, _object_id: str | None = None) -> bool:
        return request.user.has_perm("policies_app.add_price")


class PriceForm(forms.ModelForm):  # type: ignore[type-arg]
    input_nanos = UsdField(label="Input")
    cached_input_nanos = UsdField(
        label="Cached input", help_text="Input tokens read from the vendor's cache."
    )
    cache_write_nanos = UsdField(label="Cache write", help_text="Input tokens written to the vendor's cache.")
    output_nanos = UsdField(label="Output")
    reasoning_nanos = UsdField(
        label="Reasoning", help_text="Hidden reasoning tokens; usually the output price."
    )

    class Meta:
        model = Price
        fields = ("model", "effective_from", *PRICE_BUCKETS, "note")


@admin.register(Price)
class PriceAdmin(NeverDeleted, ModelAdmin):
    """Rows are added, never edited: the log points at the row that each attempt was charged by."""

    form = PriceForm
    list_display = ("model", "effective_from", "input", "output", "origin")
    list_filter = (("model", RelatedDropdownFilter),)
    list_filter_submit = True
    list_select_related = ("model",)
    search_fields = ("model__name",)
    autocomplete_fields = ("model",)
    ordering = ("-effective_from",)
    fieldsets = (
        (None, {"fields": ("model", "effective_from", "origin")}),
        ("USD per million tokens", {"fields": PRICE_BUCKETS}),
        ("What the amounts do not say", {"fields": ("note",)}),
    )
    add_fieldsets = (
        (None, {"fields": ("model", "effective_from")}),
        ("USD per million tokens", {"fields": PRICE_BUCKETS}),
        ("What the amounts do not say", {"fields": ("note",)}),
    )
    readonly_fields = ("origin",)

    def has_change_permission(self, request: HttpRequest, obj: Price | None = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: Price, form: PriceForm, change: bool) -> None:  # noqa: FBT001
        obj.pk = set_price(**form.cleaned_data, author_name=author_of(request)).pk

    @admin.display(description="Input, USD per million")
    def input(self, price: Price) -> str:
        return show_usd(price.input_nanos)

    @admin.display(description="Output, USD per million")
    def output(self, price: Price) -> str:
        return show_usd(price.output_nanos)

    @admin.display(description="From", ordering="source")
    def origin(self, price: Price) -> str:
        return price.source or "by hand"
