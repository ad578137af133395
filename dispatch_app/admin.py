"""Read-only pages of the log, of the balances and of the serving processes. Signalbox writes these rows itself."""

from typing import Any
from uuid import UUID

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import FieldTextFilter, RangeDateTimeFilter, RelatedDropdownFilter
from unfold.decorators import action, display
from unfold.paginator import InfinitePaginator

from dispatch_app.alerts.admin import AlertAdmin, AlertDestinationAdmin
from dispatch_app.credentials.admin import ServedProviderAdmin
from dispatch_app.models import Attempt, BudgetBalance, Dispatch, ServingProcess
from policies_app.admin.access import ReadOnlyAdmin
from policies_app.admin.fields import show_usd
from policies_app.admin.pages import row_or_404
from policies_app.roles import SEE_COSTS
from policies_app.routing.codes import AttemptState, DispatchStatus

__all__ = ["AlertAdmin", "AlertDestinationAdmin", "ServedProviderAdmin"]

_STATUS_COLOURS = {
    DispatchStatus.OPEN.value: "info",
    DispatchStatus.SUCCEEDED.value: "success",
    DispatchStatus.FAILED.value: "danger",
    DispatchStatus.REFUSED.value: "warning",
    "client disconnected": "warning",
    DispatchStatus.EXPIRED.value: "danger",
}
_STATE_COLOURS = {
    AttemptState.OPEN.value: "info",
    AttemptState.SETTLED.value: "success",
    AttemptState.VOIDED.value: "warning",
    AttemptState.EXPIRED.value: "danger",
}
_COST_COLUMNS = {"cost", "reserved"}


class LogAdmin(ReadOnlyAdmin):
    """A table that only grows: nothing counts it, and amounts are for those who may see costs."""

    show_full_result_count = False
    paginator = InfinitePaginator
    list_filter_submit = True
    list_per_page = 50
    ordering = ("-created_at",)

    def get_list_display(self, request: HttpRequest) -> list[str]:
        return _visible(request, super().get_list_display(request))

    def get_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return _visible(request, super().get_fields(request, obj))


def _visible(request: HttpRequest, columns: Any) -> list[str]:
    sees_costs = request.user.has_perm(SEE_COSTS)
    return [column for column in columns if sees_costs or column not in _COST_COLUMNS]


@admin.register(Dispatch)
class DispatchAdmin(LogAdmin):
    list_display = (
        "created_at",
        "tenant",
        "task",
        "policy",
        "rule",
        "model",
        "shown_status",
        "total_ms",
        "cost",
    )
    list_filter = (
        ("created_at", RangeDateTimeFilter),
        ("tenant", RelatedDropdownFilter),
        ("policy", RelatedDropdownFilter),
        ("model", RelatedDropdownFilter),
        ("task", FieldTextFilter),
    )
    list_select_related = ("tenant", "policy", "model")
    search_fields = ("id",)
    search_help_text = "The id of a dispatch, or an end user, in full."
    fields = (
        "created_at",
        "shown_status",
        "error_code",
        "tenant",
        "api_key",
        "end_user",
        "task",
        "tags",
        "requested_model",
        "policy",
        "policy_version",
        "rule",
        "strategy",
        "why",
        "model",
        "attempt_list",
        "input_tokens",
        "cached_input_tokens",
        "cache_write_tokens",
        "output_tokens",
        "reasoning_tokens",
        "cost",
        "total_ms",
        "first_byte_ms",
        "finished_at",
    )
    readonly_fields = ("shown_status", "why", "attempt_list", "cost")
    actions_detail = ("open_cost_page",)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Dispatch], search_term: str
    ) -> tuple[QuerySet[Dispatch], bool]:
        if not search_term:
            return queryset, False
        try:
            return queryset.filter(id=UUID(search_term)), False
        except ValueError:
            return queryset.filter(end_user=search_term), False

    @action(description="Cost and waterfall", icon="receipt_long", url_path="costs", permissions=(SEE_COSTS,))
    def open_cost_page(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return redirect(reverse("costs:dispatch", args=(row_or_404(self, request, object_id).pk,)))

    @display(description="Status", ordering="status", label=_STATUS_COLOURS)
    def shown_status(self, dispatch: Dispatch) -> str:
        return dispatch.status.replace("_", " ")

    @admin.display(description="Why")
    def why(self, dispatch: Dispatch) -> str:
        return str(dispatch.reason.get("words", "")) if isinstance(dispatch.reason, dict) else ""

    @admin.display(description="Attempts")
    def attempt_list(self, dispatch: Dispatch) -> SafeString | str:
        attempts = (
            Attempt.objects.filter(dispatch_id=dispatch.id).select_related("model").order_by("position")
        )
        return format_html_join("", "<div>{}</div>", ((_in_words(attempt),) for attempt in attempts)) or "—"

    @admin.display(description="Cost", ordering="cost_nanos")
    def cost(self, dispatch: Dispatch) -> str:
        return show_usd(dispatch.cost_nanos)


@admin.register(Attempt)
class AttemptAdmin(LogAdmin):
    list_display = (
        "created_at",
        "dispatch",
        "tenant",
        "role",
        "model",
        "shown_state",
        "fault",
        "latency_ms",
        "cost",
    )
    list_filter = (
        ("created_at", RangeDateTimeFilter),
        ("tenant", RelatedDropdownFilter),
        ("model", RelatedDropdownFilter),
        ("credential", FieldTextFilter),
        ("fault", FieldTextFilter),
    )
    list_select_related = ("tenant", "model")
    fields = (
        "created_at",
        "dispatch",
        "tenant",
        "position",
        "role",
        "model",
        "provider",
        "credential",
        "shown_state",
        "wire_status",
        "fault",
        "response_model",
        "input_tokens",
        "cached_input_tokens",
        "cache_write_tokens",
        "output_tokens",
        "reasoning_tokens",
        "reserved",
        "cost",
        "estimated",
        "start_offset_ms",
        "first_byte_ms",
        "latency_ms",
        "settled_at",
    )
    readonly_fields = ("dispatch", "shown_state", "reserved", "cost")

    @admin.display(description="Dispatch")
    def dispatch(self, attempt: Attempt) -> SafeString:
        address = reverse("admin:dispatch_app_dispatch_change", args=(attempt.dispatch_id,))
        return format_html(
            '<a class="text-primary-600 dark:text-primary-500" href="{}">{}</a>', address, attempt
        )

    @display(description="State", ordering="state", label=_STATE_COLOURS)
    def shown_state(self, attempt: Attempt) -> str:
        return attempt.state

    @admin.display(description="Reserved", ordering="reserved_nanos")
    def reserved(self, attempt: Attempt) -> str:
        return show_usd(attempt.reserved_nanos)

    @admin.display(description="Cost", ordering="cost_nanos")
    def cost(self, attempt: Attempt) -> str:
        return show_usd(attempt.cost_nanos)


def _in_words(attempt: Attempt) -> str:
    outcome = attempt.fault.replace("_", " ") or attempt.state
    took = "" if attempt.latency_ms is None else f" in {attempt.latency_ms} ms"
    return f"{attempt.position}. {attempt.model} ({attempt.role}): {outcome}{took}"


@admin.register(BudgetBalance)
class BudgetBalanceAdmin(ReadOnlyAdmin):
    list_display = ("budget", "subject", "period_start", "granted", "settled", "reserved", "overage")
    list_select_related = ("budget__tenant",)
    search_fields = ("budget__name", "budget__tenant__name", "subject")
    ordering = ("-period_start",)
    fields = list_display
    readonly_fields = ("granted", "settled", "reserved", "overage")
    show_full_result_count = False

    @admin.display(description="Granted", ordering="granted_nanos")
    def granted(self, balance: BudgetBalance) -> str:
        return "no hard limit" if balance.granted_nanos is None else show_usd(balance.granted_nanos)

    @admin.display(description="Settled", ordering="settled_nanos")
    def settled(self, balance: BudgetBalance) -> str:
        return show_usd(balance.settled_nanos)

    @admin.display(description="Reserved", ordering="reserved_nanos")
    def reserved(self, balance: BudgetBalance) -> str:
        return show_usd(balance.reserved_nanos)

    @admin.display(description="Overage", ordering="overage_nanos")
    def overage(self, balance: BudgetBalance) -> str:
        return show_usd(balance.overage_nanos)


@admin.register(ServingProcess)
class ServingProcessAdmin(ReadOnlyAdmin):
    list_display = ("hostname", "pid", "epoch", "acknowledged_at", "seen_at", "started_at")
    ordering = ("hostname", "pid")
