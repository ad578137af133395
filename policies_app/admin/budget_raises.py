"""Admin page of budget raises: added, confirmed and withdrawn, never edited or deleted."""

from collections.abc import Callable
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from unfold.admin import ModelAdmin
from unfold.contrib.filters.admin import RelatedDropdownFilter
from unfold.decorators import action, display
from unfold.enums import ActionVariant
from unfold.widgets import UnfoldAdminTextInputWidget

from policies_app.admin.access import NeverDeleted
from policies_app.admin.auditing import author_of
from policies_app.admin.fields import UsdField, show_usd
from policies_app.admin.pages import posted, render_page, row_or_404
from policies_app.models import BudgetRaise
from policies_app.models.budgets import RaiseState
from policies_app.services.budget_raises import confirm_raise, raise_budget, withdraw_raise
from policies_app.services.errors import ServiceError
from policies_app.validation import raise_errors

CHANGE_LIMITS = "policies_app.change_budget_limit"
"""Who holds this permission may raise budgets, and confirm and withdraw raises."""

_STATE_COLOURS = {
    RaiseState.WAITING.value: "warning",
    RaiseState.TO_COME.value: "info",
    RaiseState.RUNNING.value: "success",
}


class BudgetRaiseForm(forms.ModelForm):  # type: ignore[type-arg]
    amount_nanos = UsdField(label="Amount in USD", help_text="On top of the limit, in each period.")

    class Meta:
        model = BudgetRaise
        fields = ("budget", "amount_nanos", "starts_at", "ends_at", "reason")

    def clean(self) -> dict[str, Any]:
        values = super().clean() or self.cleaned_data
        for field, message in raise_errors(values, now=timezone.now()).items():
            self.add_error(field, message)
        return values


class ReasonForm(forms.Form):
    reason = forms.CharField(
        required=False,
        max_length=500,
        widget=UnfoldAdminTextInputWidget,
        help_text="For the audit trail, e.g. who agreed to it.",
    )


@admin.register(BudgetRaise)
class BudgetRaiseAdmin(NeverDeleted, ModelAdmin):
    form = BudgetRaiseForm
    list_display = ("shown_state", "budget", "amount", "starts_at", "ends_at", "reason", "author_name")
    list_display_links = ("budget",)
    list_filter = (("budget__tenant", RelatedDropdownFilter), ("budget", RelatedDropdownFilter))
    list_filter_submit = True
    list_select_related = ("budget__tenant",)
    search_fields = ("budget__name", "budget__tenant__name", "reason", "author_name")
    autocomplete_fields = ("budget",)
    ordering = ("-created_at",)
    fieldsets = (
        ("What is raised", {"fields": ("shown_state", "budget", "amount")}),
        ("For how long, and why", {"fields": ("starts_at", "ends_at", "reason")}),
        (
            "Who",
            {
                "fields": (
                    ("author_name", "created_at"),
                    "needs_second_person",
                    ("confirmed_by_name", "confirmed_at"),
                    ("withdrawn_by_name", "withdrawn_at"),
                )
            },
        ),
    )
    add_fieldsets = (
        ("What is raised", {"fields": ("budget", "amount_nanos")}),
        ("For how long, and why", {"fields": ("starts_at", "ends_at", "reason")}),
    )
    actions_detail = ("confirm", "withdraw")
    actions_row = ("confirm", "withdraw")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm(CHANGE_LIMITS)

    def has_change_permission(self, request: HttpRequest, obj: BudgetRaise | None = None) -> bool:
        return False

    def get_readonly_fields(self, request: HttpRequest, obj: BudgetRaise | None = None) -> Any:
        names = ("confirmed_by_name", "confirmed_at", "withdrawn_by_name", "withdrawn_at", "created_at")
        return ("shown_state", "amount", "author_name", "needs_second_person", *names) if obj else ()

    def save_model(self, request: HttpRequest, obj: BudgetRaise, form: Any, change: bool) -> None:  # noqa: FBT001
        asked = raise_budget(**form.cleaned_data, author_name=author_of(request))
        obj.pk = asked.pk
        if asked.needs_second_person:
            messages.warning(request, "It counts once somebody else has confirmed it.")

    @action(
        description="Confirm",
        icon="check",
        url_path="confirm",
        permissions=(CHANGE_LIMITS,),
        variant=ActionVariant.PRIMARY,
    )
    def confirm(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask, then let a raise count that waits for its second person."""
        return self._decide(request, object_id, "Confirm", confirm_raise)

    @action(
        description="Withdraw",
        icon="undo",
        url_path="withdraw",
        permissions=(CHANGE_LIMITS,),
        variant=ActionVariant.DANGER,
    )
    def withdraw(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask, then end a raise at once."""
        return self._decide(request, object_id, "Withdraw", withdraw_raise)

    def _decide(
        self, request: HttpRequest, object_id: str, verb: str, decide: Callable[..., BudgetRaise]
    ) -> HttpResponse:
        row = row_or_404(self, request, object_id)
        form = ReasonForm(posted(request))
        if not form.is_valid():
            return render_page(
                self,
                request,
                "admin/policies_app/budgetraise/decide.html",
                title=f"{verb} {row}?",
                row=row,
                form=form,
                verb=verb,
            )
        try:
            decided = decide(
                budget_raise=row, author_name=author_of(request), reason=form.cleaned_data["reason"]
            )
        except ServiceError as error:
            messages.error(request, str(error))
        else:
            messages.success(request, f"{row} is {decided.state} now.")
        return redirect(reverse("admin:policies_app_budgetraise_change", args=(row.pk,)))

    @display(description="State", label=_STATE_COLOURS)
    def shown_state(self, row: BudgetRaise) -> str:
        return row.state.value

    @admin.display(description="Amount", ordering="amount_nanos")
    def amount(self, row: BudgetRaise) -> str:
        return show_usd(row.amount_nanos)
