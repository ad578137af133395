"""Admin page of the audit trail, to be read only."""

from django.contrib import admin
from django.utils.html import format_html_join
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import ChoicesDropdownFilter, RangeDateTimeFilter
from unfold.decorators import display

from policies_app.admin.access import ReadOnlyAdmin
from policies_app.models import AuditAction, AuditEntry

_ACTION_COLOURS = {
    AuditAction.PUBLISHED.value: "success",
    AuditAction.LIFTED.value: "success",
    AuditAction.THROWN.value: "danger",
    AuditAction.ROLLED_BACK.value: "warning",
    AuditAction.DELETED.value: "warning",
}


@admin.register(AuditEntry)
class AuditEntryAdmin(ReadOnlyAdmin):
    list_display = (
        "at",
        "author_name",
        "shown_action",
        "subject_type",
        "subject_name",
        "changed_fields",
        "reason",
    )
    list_filter = (("at", RangeDateTimeFilter), ("action", ChoicesDropdownFilter))
    list_filter_submit = True
    search_fields = ("author_name", "subject_type", "subject_name", "reason")
    ordering = ("-at",)
    show_full_result_count = False
    fields = (
        "at",
        "author_name",
        "action",
        "subject_type",
        "subject_id",
        "subject_name",
        "changes",
        "reason",
    )
    readonly_fields = ("changes",)

    @display(description="Action", ordering="action", label=_ACTION_COLOURS)
    def shown_action(self, entry: AuditEntry) -> tuple[str, str]:
        return entry.action, entry.get_action_display()

    @admin.display(description="Fields")
    def changed_fields(self, entry: AuditEntry) -> str:
        """Which fields changed; a new row's are all of them, which says nothing."""
        return ", ".join(entry.before) if entry.action == AuditAction.CHANGED and entry.before else "—"

    @admin.display(description="What changed")
    def changes(self, entry: AuditEntry) -> SafeString | str:
        """Each field that changed, with both values."""
        before, after = entry.before or {}, entry.after or {}
        fields = sorted({*before, *after})
        lines = ((field, before.get(field, "—"), after.get(field, "—")) for field in fields)
        return format_html_join("", "<div><b>{}</b>: {} → {}</div>", lines) or "—"
