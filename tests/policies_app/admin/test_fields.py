from decimal import Decimal

import pytest
from django.core.exceptions import ValidationError

from policies_app.admin.fields import LinesField, UsdField, show_usd


@pytest.mark.parametrize(
    ("typed", "nanos"),
    [("250", 250_000_000_000), ("0.000000001", 1), ("0", 0), ("12.5", 12_500_000_000)],
)
def test_usd_are_read_exactly(typed, nanos):
    assert UsdField().clean(typed) == nanos


@pytest.mark.parametrize("typed", ["-1", "0.0000000001", "NaN", "Infinity", "1e30", "a lot", ""])
def test_what_is_no_amount_is_refused(typed):
    with pytest.raises(ValidationError):
        UsdField().clean(typed)


@pytest.mark.parametrize(
    ("nanos", "shown"),
    [(0, "$0.00"), (1, "$0.000000001"), (1_500_000_000, "$1.50"), (1_234_567_000_000_000, "$1,234,567.00")],
)
def test_amounts_are_shown_with_as_many_decimals_as_say_something(nanos, shown):
    assert show_usd(nanos) == shown


@pytest.mark.parametrize("nanos", [0, 1, 250_000_000_000, 123_456_789_012_345])
def test_what_the_field_shows_reads_back_as_the_same_amount(nanos):
    field = UsdField()

    assert field.clean(field.prepare_value(nanos)) == nanos
    assert not field.has_changed(nanos, field.prepare_value(nanos))
    assert field.has_changed(nanos, str(Decimal(field.prepare_value(nanos)) + 1))


def test_lines_are_items_without_blanks_and_repetitions():
    field = LinesField(item_max_length=10)

    assert field.clean("  b \n\na\nb\r\n") == ["b", "a"]
    assert field.prepare_value(["b", "a"]) == "b\na"
    assert not field.has_changed(["b", "a"], "b\na\n")


def test_a_line_that_is_too_long_is_named():
    with pytest.raises(ValidationError, match="aaaaaaaaaaa"):
        LinesField(item_max_length=10).clean("short\naaaaaaaaaaa")
