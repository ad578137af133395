"""Rows whose order means something: dragged into place, numbered from one."""

from collections.abc import Iterable
from typing import Any

from django import forms
from django.db.models import Model
from unfold.forms import PaginationInlineFormSet

LAST = 32_767
"""The largest position that a row can hold; a row that is put there goes behind all others."""


def renumber(rows: Iterable[Any]) -> None:
    """Give the rows the positions 1, 2, 3 … in the order in which they come, in the transaction that is open.

    The unique constraints on positions are deferred, so the rows may change places.
    """
    moved = []
    for position, row in enumerate(rows, start=1):
        if row.position != position:
            row.position = position
            moved.append(row)
    if moved:
        type(moved[0]).objects.bulk_update(moved, ["position"])


class OrderedForm(forms.ModelForm):  # type: ignore[type-arg]
    """A row that goes last unless it was dragged somewhere."""

    position = forms.IntegerField(required=False, min_value=0, max_value=LAST, widget=forms.NumberInput)

    def clean_position(self) -> int:
        position: int | None = self.cleaned_data["position"]
        return LAST if position is None else position


class OrderedFormSet(PaginationInlineFormSet):
    """Saves its rows in the order of their positions, whatever the numbers were."""

    def get_queryset(self) -> Any:
        return super().get_queryset().order_by("position")

    def validate_unique(self) -> None:
        """Two rows of one position are no error: saving numbers all of them anew."""

    def save(self, commit: bool = True) -> list[Model]:  # noqa: FBT001, FBT002 - Django's signature
        saved: list[Model] = super().save(commit=commit)
        if commit:
            kept = (form.instance for form in self.forms if form not in self.deleted_forms)
            renumber(sorted((row for row in kept if row.pk), key=self.rank))
        return saved

    def rank(self, row: Any) -> tuple[bool, int]:
        """Where the row goes: a policy's default rule behind all others."""
        return getattr(row, "is_default", False), row.position
