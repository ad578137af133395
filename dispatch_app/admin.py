"""Read-only pages of the log, of the balances and of the serving processes. Signalbox writes these rows itself."""

from django.contrib import admin
from unfold.contrib.filters.admin import RangeDateTimeFilter, RelatedDropdownFilter

from dispatch_app.models import Attempt, BudgetBalance, Dispatch, ServingProcess
from policies_app.admin.access import ReadOnlyAdmin
from policies_app.admin.fields import show_usd


@admin.register(Dispatch)
class DispatchAdmin(ReadOnlyAdmin):
    list_display = ("created_at", "tenant", "task", "policy", "rule", "model", "status", "total_ms", "cost")
    list_filter = (
        ("created_at", RangeDateTimeFilter),
        ("tenant", RelatedDropdownFilter),
        ("model", RelatedDropdownFilter),
    )
    list_filter_submit = True
    list_select_related = ("tenant", "policy", "model")
    ordering = ("-created_at",)
    show_full_result_count = False

    @admin.display(description="Cost", ordering="cost_nanos")
    def cost(self, dispatch: Dispatch) -> str:
        return show_usd(dispatch.cost_nanos)


@admin.register(Attempt)
class AttemptAdmin(ReadOnlyAdmin):
    list_display = ("created_at", "tenant", "position", "role", "model", "state", "fault", "latency_ms")
    list_filter = (("created_at", RangeDateTimeFilter), ("model", RelatedDropdownFilter))
    list_filter_submit = True
    list_select_related = ("tenant", "model")
    ordering = ("-created_at",)
    show_full_result_count = False


@admin.register(BudgetBalance)
class BudgetBalanceAdmin(ReadOnlyAdmin):
    list_display = ("budget", "subject", "period_start", "settled", "reserved", "overage")
    list_select_related = ("budget__tenant",)
    search_fields = ("budget__name", "budget__tenant__name", "subject")
    ordering = ("-period_start",)

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
