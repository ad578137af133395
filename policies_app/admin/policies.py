"""Admin pages of policies: the draft beside what is live, publishing, rolling back, and the versions so far."""

from typing import Any
from urllib.parse import urlencode

import yaml
from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.admin import TabularInline
from unfold.contrib.filters.admin import RelatedDropdownFilter
from unfold.decorators import action, display
from unfold.enums import ActionVariant
from unfold.widgets import (
    UnfoldAdminExpandableTextareaWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
)

from policies_app.admin.access import NeverDeleted, ReadOnlyAdmin
from policies_app.admin.auditing import AuditedAdmin, author_of
from policies_app.admin.fields import show_usd
from policies_app.admin.ordering import OrderedForm, OrderedFormSet
from policies_app.admin.pages import posted, render_page, row_or_404
from policies_app.admin.receipts import receipt_in_words
from policies_app.admin.stopping import Stoppable
from policies_app.admin.wording import conditions_of, draft_state, route_of
from policies_app.models import Policy, PolicyVersion, Rule
from policies_app.routing.codes import KillScope
from policies_app.routing.document import load
from policies_app.services.document_diff import diff_documents
from policies_app.services.drafts import policies_with_drafts, rules_with_parts
from policies_app.services.errors import ServiceError
from policies_app.services.policy_files import export_policy, import_policy
from policies_app.services.publishing import publish_policy, roll_back_policy
from policies_app.services.reviews import Review, review_draft, review_version
from policies_app.validation import policy_errors

_STATE_COLOURS = {"same": "success", "differs": "warning", "new": "info", "broken": "danger"}
_PUBLISH = "policies_app.publish_policy"


class PolicyForm(forms.ModelForm):  # type: ignore[type-arg]
    class Meta:
        model = Policy
        exclude = ()  # noqa: DJ006

    def clean(self) -> dict[str, Any]:
        values = super().clean() or self.cleaned_data
        for field, message in policy_errors(values).items():
            self.add_error(field, message)
        return values


class NoteForm(forms.Form):
    note = forms.CharField(
        required=False,
        max_length=500,
        widget=UnfoldAdminExpandableTextareaWidget(attrs={"rows": 2}),
        help_text="Why, for whoever reads the history.",
    )


class RollBackForm(NoteForm):
    """Which version, then why."""

    to = forms.ModelChoiceField(
        label="Version", queryset=PolicyVersion.objects.none(), widget=UnfoldAdminSelectWidget
    )
    field_order = ("to", "note")

    def __init__(self, *args: Any, policy: Policy, **options: Any) -> None:
        super().__init__(*args, **options)
        older = policy.versions.select_related("policy").order_by("-number")
        if policy.live_version:
            older = older.exclude(pk=policy.live_version.pk)
        self.fields["to"].queryset = older  # type: ignore[attr-defined]


class ImportForm(forms.Form):
    text = forms.CharField(
        label="Policy as YAML",
        max_length=1_000_000,
        strip=False,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 18, "spellcheck": "false"}),
        help_text="As an export gave it. It becomes the draft of the policy that it names; nothing is published.",
    )


class RuleInline(TabularInline):
    """The draft's rules in order. Each is edited on its own page."""

    model = Rule
    form = OrderedForm
    formset = OrderedFormSet
    fields = ("position", "rule", "conditions", "route", "enabled")
    readonly_fields = ("rule", "conditions", "route")
    ordering_field = "position"
    ordering = ("is_default", "position")
    extra = 0
    can_delete = False
    hide_title = True
    verbose_name_plural = "rules, first match wins: drag to reorder"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Rule]:
        return rules_with_parts().select_related("policy")

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    @admin.display(description="Rule")
    def rule(self, rule: Rule) -> SafeString:
        return format_html(
            '<a class="text-primary-600 font-semibold dark:text-primary-500" href="{}">{}</a>',
            reverse("admin:policies_app_rule_change", args=(rule.pk,)),
            rule.name,
        )

    @admin.display(description="Takes a request")
    def conditions(self, rule: Rule) -> str:
        return conditions_of(rule)

    @admin.display(description="And then")
    def route(self, rule: Rule) -> str:
        return route_of(rule)


@admin.register(Policy)
class PolicyAdmin(Stoppable, NeverDeleted, AuditedAdmin):
    kill_scope = KillScope.POLICY
    form = PolicyForm
    list_display = ("name", "description", "tenant", "live", "state", "enabled")
    list_filter = ("enabled", ("tenant", RelatedDropdownFilter))
    list_filter_submit = True
    search_fields = ("name", "description", "tenant__name")
    autocomplete_fields = ("tenant", "baseline_model")
    ordering = ("name",)
    inlines = (RuleInline,)
    fieldsets = ((None, {"fields": ("name", "description", ("tenant", "baseline_model"), "enabled")}),)
    change_form_outer_before_template = "admin/policies_app/policy/review.html"
    change_form_outer_after_template = "admin/policies_app/policy/limits.html"
    actions_list = ("import_yaml",)
    actions_row = ("stop",)
    actions_detail = (
        "publish",
        "roll_back",
        "add_rule",
        "stop",
        {"title": "More", "icon": "more_vert", "items": ["history_of_versions", "export_yaml"]},
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Policy]:
        return policies_with_drafts().select_related("tenant", "live_version")

    def get_inlines(self, request: HttpRequest, obj: Policy | None) -> Any:
        return self.inlines if obj else ()

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        policy = self.get_object(request, object_id)
        context = _draft_context(policy) if policy else {}
        response: HttpResponse = super().change_view(
            request, object_id, form_url, {**(extra_context or {}), **context}
        )
        return response

    @admin.display(description="Live", ordering="live_version__number")
    def live(self, policy: Policy) -> str:
        return f"v{policy.live_version.number}" if policy.live_version else "—"

    @display(description="Draft", label=_STATE_COLOURS)
    def state(self, policy: Policy) -> tuple[str, str]:
        return draft_state(policy)

    @action(description="Publish", icon="publish", variant=ActionVariant.PRIMARY, permissions=(_PUBLISH,))
    def publish(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Show what would change and what is wrong, ask for a note, then make the draft live."""
        policy = row_or_404(self, request, object_id)
        form = NoteForm(posted(request))
        if form.is_valid():
            try:
                version = publish_policy(
                    policy=policy, author_name=author_of(request), note=form.cleaned_data["note"]
                )
            except ServiceError as error:
                messages.error(request, f"Not published. {error}")
            else:
                messages.success(request, f"{version} is live. {receipt_in_words()}")
                return _to(policy)
        return render_page(
            self,
            request,
            "admin/policies_app/policy/publish.html",
            title=f"Publish {policy}",
            row=policy,
            form=form,
            **_draft_context(policy),
        )

    @action(description="Roll back", icon="undo", url_path="roll-back", permissions=(_PUBLISH,))
    def roll_back(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Choose a version, see what going back to it changes, then publish it again."""
        policy = row_or_404(self, request, object_id)
        form = RollBackForm(posted(request) or request.GET or None, policy=policy)
        chosen = form.cleaned_data["to"] if form.is_bound and form.is_valid() else None
        if request.method == "POST" and chosen:
            try:
                version = roll_back_policy(
                    policy=policy, to=chosen, author_name=author_of(request), note=form.cleaned_data["note"]
                )
            except ServiceError as error:
                messages.error(request, f"Not rolled back. {error}")
            else:
                messages.success(request, f"{version} is live. {receipt_in_words()}")
                return _to(policy)
        return render_page(
            self,
            request,
            "admin/policies_app/policy/roll_back.html",
            title=f"Roll back {policy}",
            row=policy,
            form=form,
            chosen=chosen,
            **(_review_context(review_version(chosen)) if chosen else {}),
        )

    @action(description="Add a rule", icon="add", url_path="add-rule", permissions=("policies_app.add_rule",))
    def add_rule(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return redirect(f"{reverse('admin:policies_app_rule_add')}?{urlencode({'policy': object_id})}")

    @action(
        description="Versions so far", url_path="versions", permissions=("policies_app.view_policyversion",)
    )
    def history_of_versions(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return redirect(
            f"{reverse('admin:policies_app_policyversion_changelist')}?{urlencode({'policy__id__exact': object_id})}"
        )

    @action(
        description="Export the draft as YAML", url_path="export", permissions=("policies_app.view_policy",)
    )
    def export_yaml(self, request: HttpRequest, object_id: str) -> HttpResponse:
        policy = row_or_404(self, request, object_id)
        headers = {"Content-Disposition": f'attachment; filename="{policy.name}.yaml"'}
        return HttpResponse(export_policy(policy=policy), content_type="application/yaml", headers=headers)

    @action(
        description="Import YAML",
        icon="upload",
        url_path="import",
        permissions=("policies_app.add_policy", "policies_app.change_policy", "policies_app.delete_rule"),
    )
    def import_yaml(self, request: HttpRequest) -> HttpResponse:
        """Take a policy from its YAML as a draft."""
        form = ImportForm(posted(request))
        if form.is_valid():
            try:
                policy = import_policy(text=form.cleaned_data["text"], author_name=author_of(request))
            except ServiceError as error:
                form.add_error("text", str(error))
            else:
                messages.success(
                    request, f"The draft of {policy} is what the file says. Nothing is published yet."
                )
                return _to(policy)
        return render_page(
            self, request, "admin/policies_app/policy/import.html", title="Import a policy", form=form
        )


@admin.register(PolicyVersion)
class PolicyVersionAdmin(ReadOnlyAdmin):
    list_display = ("version", "policy", "published_at", "author_name", "note", "standing")
    list_filter = (("policy", RelatedDropdownFilter),)
    list_filter_submit = True
    list_select_related = ("policy__live_version", "rolled_back_to")
    search_fields = ("policy__name", "note", "author_name")
    ordering = ("-published_at",)
    fieldsets = (
        (None, {"fields": ("policy", "number", "published_at", "author_name", "note", "rolled_back_to")}),
        ("What it changed", {"fields": ("changes",)}),
        ("The document", {"fields": ("document_as_yaml", "content_hash")}),
    )
    readonly_fields = ("changes", "document_as_yaml")

    @admin.display(description="Version", ordering="number")
    def version(self, version: PolicyVersion) -> str:
        return f"v{version.number}"

    @display(description="", label={"live": "success"})
    def standing(self, version: PolicyVersion) -> str | None:
        return "live" if version.policy.live_version_id == version.pk else None

    @admin.display(description="Against the version before")
    def changes(self, version: PolicyVersion) -> SafeString:
        before = version.policy.versions.filter(number__lt=version.number).order_by("-number").first()
        old = load(before.document) if before else None
        lines = ((str(change),) for change in diff_documents(old, load(version.document)))
        return format_html_join("", "<div>{}</div>", lines)

    @admin.display(description="As YAML")
    def document_as_yaml(self, version: PolicyVersion) -> SafeString:
        text = yaml.safe_dump(version.document, sort_keys=False, allow_unicode=True)
        return format_html('<pre class="overflow-x-auto text-xs">{}</pre>', text)


def _draft_context(policy: Policy) -> dict[str, Any]:
    """What the pages about a draft show: its state and its review, or why it cannot be reviewed."""
    code, words = draft_state(policy)
    state = {"draft_variant": _STATE_COLOURS[code], "draft_words": words}
    try:
        return state | _review_context(review_draft(policy))
    except ServiceError as error:
        return state | {"complaint": str(error)}


def _review_context(review: Review) -> dict[str, Any]:
    worst_cases = [
        {
            "rule": worst.rule,
            "attempts": worst.attempts,
            "seconds": f"{worst.duration_ms / 1000:g}",
            "cost": show_usd(worst.cost_nanos),
        }
        for worst in review.worst_cases
    ]
    return {"review": review, "worst_cases": worst_cases}


def _to(policy: Policy) -> HttpResponse:
    return redirect(reverse("admin:policies_app_policy_change", args=(policy.pk,)))
