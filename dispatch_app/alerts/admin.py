"""Admin pages of alerts and of where they go."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.html import format_html_join
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import RelatedDropdownFilter
from unfold.decorators import action
from unfold.widgets import UnfoldAdminPasswordWidget, UnfoldAdminURLInputWidget

from dispatch_app.alerts.destinations import SHORTEST_SECRET, destination_errors
from dispatch_app.alerts.kinds import AlertKind, DeliveryState
from dispatch_app.alerts.secrets import seal_secret
from dispatch_app.alerts.testing import send_test_alert
from dispatch_app.models import Alert, AlertDelivery, AlertDestination
from policies_app.admin.access import ReadOnlyAdmin
from policies_app.admin.auditing import AuditedAdmin, author_of
from policies_app.admin.fields import CheckboxesField
from policies_app.admin.pages import render_page, row_or_404
from policies_app.models.choices import choices_of
from policies_app.roles import SEE_COSTS


class AlertDestinationForm(forms.ModelForm):  # type: ignore[type-arg]
    """The secret is written, never shown: an empty field keeps the one that there is."""

    webhook_url = forms.URLField(
        label="Webhook",
        required=False,
        max_length=500,
        assume_scheme="https",
        widget=UnfoldAdminURLInputWidget,
    )
    secret = forms.CharField(
        required=False,
        min_length=SHORTEST_SECRET,
        max_length=256,
        widget=UnfoldAdminPasswordWidget(attrs={"autocomplete": "new-password"}),
        help_text="Signs what the webhook is sent. Write-only. Empty keeps the secret that there is.",
    )
    kinds = CheckboxesField(
        choices=[choice for choice in choices_of(AlertKind) if choice[0] != AlertKind.TEST],
        required=False,
        help_text="None chosen means all.",
    )

    class Meta:
        model = AlertDestination
        exclude = ()  # noqa: DJ006

    def clean(self) -> dict[str, Any]:
        values = super().clean() or self.cleaned_data
        if not self.errors:
            has_secret = bool(values.get("secret")) or self.instance.sealed_secret is not None
            for field, error in destination_errors(values, has_secret=has_secret).items():
                self.add_error(field or None, error)
        return values


@admin.register(AlertDestination)
class AlertDestinationAdmin(AuditedAdmin):
    form = AlertDestinationForm
    list_display = ("name", "tenant", "address", "wanted", "enabled")
    list_filter = ("enabled", ("tenant", RelatedDropdownFilter))
    list_filter_submit = True
    list_select_related = ("tenant",)
    search_fields = ("name", "email", "webhook_url")
    autocomplete_fields = ("tenant",)
    ordering = ("name",)
    fieldsets = (
        (None, {"fields": ("name", "tenant", "kinds", "enabled")}),
        ("Where to", {"fields": ("email", "webhook_url", "secret", "allow_private_network")}),
    )
    actions_detail = ("send_test",)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:  # noqa: FBT001
        super().save_model(request, obj, form, change)
        if secret := form.cleaned_data["secret"]:
            seal_secret(obj, secret)

    @admin.display(description="Address")
    def address(self, destination: AlertDestination) -> str:
        return destination.email or destination.webhook_url

    @admin.display(description="Kinds")
    def wanted(self, destination: AlertDestination) -> str:
        return ", ".join(kind.replace("_", " ") for kind in destination.kinds) or "all"

    @action(description="Send a test alert", icon="send", url_path="test", permissions=("change",))
    def send_test(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask, then send it and show the alert with what became of its delivery."""
        destination = row_or_404(self, request, object_id)
        if request.method != "POST":
            template, title = "admin/dispatch_app/alertdestination/test.html", f"Test {destination}"
            return render_page(self, request, template, title=title, row=destination)
        alert = send_test_alert(destination, author_name=author_of(request))
        messages.success(request, f"On its way to {destination}; this page says whether it has arrived.")
        return redirect(reverse("admin:dispatch_app_alert_change", args=(alert.pk,)))


@admin.register(Alert)
class AlertAdmin(ReadOnlyAdmin):
    """Amounts in the details of a tenant's alert are for those who may see costs."""

    list_display = ("created_at", "kind", "tenant", "title", "delivered")
    list_display_links = ("title",)
    list_filter = (("tenant", RelatedDropdownFilter),)
    list_filter_submit = True
    list_select_related = ("tenant",)
    search_fields = ("title", "key")
    ordering = ("-created_at",)
    fields = ("created_at", "kind", "tenant", "title", "facts", "deliveries_in_words")
    readonly_fields = ("facts", "deliveries_in_words")
    show_full_result_count = False

    def get_queryset(self, request: HttpRequest) -> QuerySet[Alert]:
        alerts: QuerySet[Alert] = super().get_queryset(request)
        return alerts.prefetch_related("deliveries__destination")

    def get_fields(self, request: HttpRequest, obj: Alert | None = None) -> list[str]:
        hides_facts = obj is not None and obj.tenant_id is not None and not request.user.has_perm(SEE_COSTS)
        return [name for name in self.fields if not (hides_facts and name == "facts")]

    @admin.display(description="Details")
    def facts(self, alert: Alert) -> SafeString | str:
        rows = ((name.replace("_", " "), value) for name, value in alert.details.items())
        return format_html_join("", "<div>{}: {}</div>", rows) or "—"

    @admin.display(description="Delivered")
    def delivered(self, alert: Alert) -> str:
        deliveries = alert.deliveries.all()
        arrived = sum(delivery.state == DeliveryState.DELIVERED for delivery in deliveries)
        return f"{arrived} of {len(deliveries)}" if deliveries else "nobody is to hear of it"

    @admin.display(description="Deliveries")
    def deliveries_in_words(self, alert: Alert) -> SafeString | str:
        told = ((_in_words(delivery),) for delivery in alert.deliveries.all())
        return format_html_join("", "<div>{}</div>", told) or "nobody is to hear of it"


def _in_words(delivery: AlertDelivery) -> str:
    match delivery.state:
        case DeliveryState.DELIVERED:
            return f"{delivery.destination}: delivered at {delivery.delivered_at:%Y-%m-%d %H:%M:%S} UTC"
        case DeliveryState.FAILED:
            return f"{delivery.destination}: given up after {delivery.tries} tries. {delivery.last_error}"
        case _:
            again = f"next try at {delivery.next_try_at:%H:%M:%S} UTC"
            return f"{delivery.destination}: {again}. {delivery.last_error}"
