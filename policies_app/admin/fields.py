"""Form fields for people: amounts in USD, lists one item a line, capabilities as check boxes."""

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from unfold.widgets import (
    UnfoldAdminCheckboxSelectMultipleWidget,
    UnfoldAdminDecimalFieldWidget,
    UnfoldAdminExpandableTextareaWidget,
)

from policies_app.models.catalogue import NANOS_PER_USD

_MOST_USD = Decimal(9_000_000_000)  # what a signed 64-bit number of nano-dollars can hold


def usd_of(nanos: int) -> Decimal:
    """The amount in USD, exact."""
    return Decimal(nanos) / NANOS_PER_USD


def show_usd(nanos: int | None) -> str:
    """The amount as a person reads it: at least two decimals, more only where they say something."""
    if nanos is None:
        return "—"
    plain = f"{usd_of(nanos):,.9f}".rstrip("0")
    whole, _, fraction = plain.partition(".")
    return f"${whole}.{fraction:0<2}"


class UsdField(forms.DecimalField):
    """Reads and shows USD; its cleaned value is an integer number of nano-dollars."""

    def __init__(self, **options: Any) -> None:
        options.setdefault("min_value", Decimal(0))
        options.setdefault("max_value", _MOST_USD)
        options.setdefault("widget", UnfoldAdminDecimalFieldWidget(attrs={"step": "any"}))
        super().__init__(max_digits=19, decimal_places=9, **options)

    def clean(self, value: Any) -> int | None:
        usd = super().clean(value)
        return None if usd is None else int(usd * NANOS_PER_USD)

    def prepare_value(self, value: Any) -> Any:
        return show_usd(value)[1:].replace(",", "") if isinstance(value, int) else value

    def has_changed(self, initial: Any, data: Any) -> bool:
        try:
            return bool(self.clean(data) != initial)
        except ValidationError:
            return True


class LinesField(forms.CharField):
    """A list of texts, one a line; blank lines and repetitions are left out."""

    def __init__(self, *, item_max_length: int, **options: Any) -> None:
        options.setdefault("widget", UnfoldAdminExpandableTextareaWidget(attrs={"rows": 3}))
        super().__init__(**options)
        self.item_max_length = item_max_length

    def to_python(self, value: Any) -> list[str]:  # type: ignore[override]
        lines = (line.strip() for line in (super().to_python(value) or "").splitlines())
        return list(dict.fromkeys(line for line in lines if line))

    def validate(self, value: Any) -> None:
        super().validate(value)
        for item in value:
            if "\0" in item:
                raise ValidationError("Null characters are not allowed.")
            if len(item) > self.item_max_length:
                raise ValidationError(f"“{item[:40]}…” is longer than {self.item_max_length} characters.")

    def prepare_value(self, value: Any) -> Any:
        return value if isinstance(value, str) or value is None else "\n".join(value)

    def has_changed(self, initial: Any, data: Any) -> bool:
        return self.to_python(data) != list(initial or [])


class CheckboxesField(forms.TypedMultipleChoiceField):
    """Some of a closed set, as check boxes."""

    def __init__(self, *, choices: Iterable[tuple[str, str]], **options: Any) -> None:
        super().__init__(choices=choices, widget=UnfoldAdminCheckboxSelectMultipleWidget, **options)
