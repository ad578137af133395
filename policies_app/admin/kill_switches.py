"""Admin page of kill switches: thrown and lifted, never edited or deleted."""

import re
from typing import Any
from urllib.parse import urlencode

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from unfold.admin import ModelAdmin
from unfold.contrib.filters.admin import ChoicesDropdownFilter, DropdownFilter
from unfold.decorators import action, display
from unfold.enums import ActionVariant
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from policies_app.admin.access import NeverDeleted
from policies_app.admin.auditing import author_of
from policies_app.admin.pages import posted, render_page, row_or_404
from policies_app.admin.stopping import OPERATE_SWITCHES
from policies_app.models import KillSwitch
from policies_app.models.choices import choices_of
from policies_app.routing.codes import KillScope
from policies_app.services.blast_radius import measure_blast_radius
from policies_app.services.errors import SecondPersonNeededError
from policies_app.services.kill_switches import (
    KillSwitchNotActiveError,
    acknowledgements,
    current_epoch,
    lift_kill_switch,
    throw_kill_switch,
)
from policies_app.validation import KILL_SUBJECTS, kill_switch_errors

_SUBJECT_FIELDS = ("provider", "model", "policy", "rule_name", "tenant", "api_key", "end_user")
_MANNER_FIELDS = ("hard", "lift_needs_second_person")


_EPOCH = re.compile(r"\d{1,18}")


class KillSwitchForm(forms.ModelForm):  # type: ignore[type-arg]
    # Nothing is chosen beforehand: a switch for everything must be meant.
    scope = forms.ChoiceField(
        label="Stop what",
        choices=[("", "Select value"), *choices_of(KillScope)],
        widget=UnfoldAdminSelectWidget,
    )

    class Meta:
        model = KillSwitch
        fields = ("scope", *_SUBJECT_FIELDS, "reason", "expires_at", *_MANNER_FIELDS)
        labels = {"expires_at": "Lifts itself at"}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if settings.KILL_SWITCH_LIFT_NEEDS_SECOND_PERSON and "lift_needs_second_person" in self.fields:
            self.initial["lift_needs_second_person"] = True
            self.fields["lift_needs_second_person"].disabled = True

    def clean_expires_at(self) -> Any:
        expires_at = self.cleaned_data["expires_at"]
        if expires_at is not None and expires_at <= timezone.now():
            raise forms.ValidationError("This lies in the past: the switch would stop nothing.")
        return expires_at

    def clean(self) -> dict[str, Any]:
        values = super().clean() or self.cleaned_data
        for field, message in kill_switch_errors(values).items():
            if field not in self.errors:
                self.add_error(field, message)
        return values


class LiftForm(forms.Form):
    reason = forms.CharField(
        required=False,
        max_length=500,
        widget=UnfoldAdminTextInputWidget,
        help_text="For the audit trail, e.g. what was repaired.",
    )


class StateFilter(DropdownFilter):
    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("active", "Active"), ("over", "Lifted or expired")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[KillSwitch]) -> QuerySet[KillSwitch]:
        is_over = Q(lifted_at__isnull=False) | Q(expires_at__lte=timezone.now())
        match self.value():
            case "active":
                return queryset.exclude(is_over)
            case "over":
                return queryset.filter(is_over)
            case _:
                return queryset


def _shown_for(field: str) -> str:
    """When the form shows a subject field, as the page's script reads it."""
    return " || ".join(f"scope == '{scope}'" for scope, fields in KILL_SUBJECTS.items() if field in fields)


def _subject_of(switch: KillSwitch) -> str:
    """What it stops, as the preview was made for it."""
    names = (field if field in {"rule_name", "end_user"} else f"{field}_id" for field in _SUBJECT_FIELDS)
    return repr((switch.scope, *(getattr(switch, name) for name in names)))


def _preview(switch: KillSwitch) -> dict[str, Any]:
    return {"radius": measure_blast_radius(switch), "previewed": _subject_of(switch)}


def _lowered(words: str) -> str:
    return words[:1].lower() + words[1:]


def _with_epoch(page: str, object_id: object, epoch: object) -> str:
    address = reverse(f"admin:policies_app_killswitch_{page}", args=(object_id,))
    return f"{address}?{urlencode({'epoch': str(epoch)})}"


def _to_receipt(switch: KillSwitch) -> HttpResponse:
    return redirect(_with_epoch("change", switch.pk, current_epoch()))


@admin.register(KillSwitch)
class KillSwitchAdmin(NeverDeleted, ModelAdmin):
    form = KillSwitchForm
    list_display = (
        "state",
        "subject",
        "scope",
        "reason",
        "author_name",
        "created_at",
        "expires_at",
        "lifted_at",
    )
    list_display_links = ("subject",)
    list_filter = (StateFilter, ("scope", ChoicesDropdownFilter))
    list_filter_submit = True
    list_select_related = ("provider", "model", "policy", "tenant", "api_key__tenant")
    search_fields = ("reason", "author_name", "provider__name", "model__name", "policy__name", "tenant__name")
    autocomplete_fields = ("provider", "model", "policy", "tenant", "api_key")
    ordering = ("-created_at",)
    conditional_fields = {field: _shown_for(field) for field in _SUBJECT_FIELDS}
    fieldsets = (
        ("What is stopped", {"fields": ("state", "scope", "subject")}),
        ("Why, and for how long", {"fields": ("reason", "expires_at", *_MANNER_FIELDS)}),
        ("Who", {"fields": ("author_name", "created_at", "lifted_by_name", "lifted_at")}),
    )
    add_fieldsets = (
        (
            "What to stop",
            {
                "fields": ("scope", *_SUBJECT_FIELDS),
                "description": "Nothing of it is admitted any more once this form is saved.",
            },
        ),
        ("Why, and for how long", {"fields": ("reason", "expires_at", *_MANNER_FIELDS)}),
    )
    readonly_fields = ("state", "subject", "author_name", "created_at", "lifted_by_name", "lifted_at")
    actions_detail = ("lift",)
    actions_row = ("lift",)
    change_form_before_template = "admin/policies_app/killswitch/preview.html"
    change_form_outer_before_template = "admin/policies_app/killswitch/receipt.html"

    class Media:
        js = (forms.Script("signalbox/live.js", defer=True),)

    def get_urls(self) -> list[URLPattern]:
        receipt = self.admin_site.admin_view(self.show_receipt)
        own = [path("<path:object_id>/receipt/", receipt, name="policies_app_killswitch_receipt")]
        return [*own, *super().get_urls()]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm(OPERATE_SWITCHES)

    def has_change_permission(self, request: HttpRequest, obj: KillSwitch | None = None) -> bool:
        return False

    def get_readonly_fields(self, request: HttpRequest, obj: KillSwitch | None = None) -> tuple[str, ...]:
        return self.readonly_fields if obj else ()

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Tell what would be stopped before it is: above the form if the address names a subject, else on a page of its own."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        context = extra_context or {}
        if request.method == "POST":
            form = self.get_form(request)(request.POST)
            if form.is_valid() and request.POST.get("previewed") != _subject_of(form.instance):
                return self._ask(request, form.instance)
        elif switch := self._asked_for(request):
            context |= _preview(switch)
        response: HttpResponse = super().add_view(request, form_url, context)
        return response

    def _asked_for(self, request: HttpRequest) -> KillSwitch | None:
        """The switch that the address describes, but for its reason; None if it does not say what to stop."""
        form = self.get_form(request)({**request.GET.dict(), "reason": "not given yet"})
        return form.instance if form.is_valid() else None

    def _ask(self, request: HttpRequest, switch: KillSwitch) -> HttpResponse:
        answers = {
            name: value
            for name, value in request.POST.items()
            if name not in {"csrfmiddlewaretoken", "previewed"}
        }
        return render_page(
            self,
            request,
            "admin/policies_app/killswitch/confirm.html",
            title=f"Stop {_lowered(str(switch))}?",
            switch=switch,
            answers=answers.items(),
            back_url=f"{reverse('admin:policies_app_killswitch_add')}?{urlencode(answers)}",
            **_preview(switch),
        )

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """With the receipt of the edit that led here, if one did."""
        context = extra_context or {}
        if _EPOCH.fullmatch(request.GET.get("epoch", "")):
            context |= {
                "receipt": acknowledgements(int(request.GET["epoch"])),
                "receipt_url": _with_epoch("receipt", object_id, request.GET["epoch"]),
            }
        response: HttpResponse = super().change_view(request, object_id, form_url, context)
        return response

    def show_receipt(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """How many processes have the edit by now, for a page that follows it."""
        switch = row_or_404(self, request, object_id)
        if not self.has_view_permission(request, switch):
            raise PermissionDenied
        epoch = request.GET.get("epoch", "")
        receipt = acknowledgements(int(epoch) if _EPOCH.fullmatch(epoch) else current_epoch())
        return TemplateResponse(request, "admin/policies_app/killswitch/_receipt.html", {"receipt": receipt})

    def save_model(self, request: HttpRequest, obj: KillSwitch, form: Any, change: bool) -> None:  # noqa: FBT001
        obj.pk = throw_kill_switch(**form.cleaned_data, author_name=author_of(request)).pk
        request.thrown_switch = obj  # type: ignore[attr-defined]

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """As ever, and after the commit of a new switch to where its receipt comes in."""
        response: HttpResponse = super().changeform_view(request, *args, **kwargs)
        if switch := getattr(request, "thrown_switch", None):
            messages.warning(request, f"Stopped: {switch}.")
            return _to_receipt(switch)
        return response

    @action(
        description="Lift",
        icon="play_arrow",
        url_path="lift",
        permissions=(OPERATE_SWITCHES,),
        variant=ActionVariant.PRIMARY,
    )
    def lift(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask why, then let through again what the switch stops."""
        switch = row_or_404(self, request, object_id)
        form = LiftForm(posted(request))
        if form.is_valid():
            return self._lift(request, switch, form.cleaned_data["reason"])
        return render_page(
            self,
            request,
            "admin/policies_app/killswitch/lift.html",
            title=f"Lift {switch}",
            row=switch,
            form=form,
            takes_another=switch.lift_needs_second_person and switch.author_name == author_of(request),
        )

    def _lift(self, request: HttpRequest, switch: KillSwitch, reason: str) -> HttpResponse:
        try:
            lift_kill_switch(switch=switch, author_name=author_of(request), reason=reason)
        except (KillSwitchNotActiveError, SecondPersonNeededError) as error:
            messages.error(request, str(error))
        else:
            messages.success(request, f"Lifted: {switch}.")
            return _to_receipt(switch)
        return redirect(reverse("admin:policies_app_killswitch_changelist"))

    @display(description="State", label={"active": "danger", "lifted": "info", "expired": "info"})
    def state(self, switch: KillSwitch) -> str:
        if switch.is_active:
            return "active"
        return "lifted" if switch.lifted_at else "expired"

    @admin.display(description="Stops")
    def subject(self, switch: KillSwitch) -> str:
        return switch.subject or "all traffic"
