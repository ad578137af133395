import pytest

from dispatch_app.costs.formats import (
    show_count,
    show_duration,
    show_exact_usd,
    show_percent,
    show_tokens,
    show_usd,
)

_TYPOGRAPHY = str.maketrans({"\u202f": " ", "\u2212": "-", "\u2013": "(none)"})


def plain(text: str) -> str:
    """A text with its typographic characters as one types them."""
    return text.translate(_TYPOGRAPHY)


@pytest.mark.parametrize(
    ("nanos", "shown"),
    [
        (None, "(none)"),
        (0, "$0.00"),
        (1, "$0.000000001"),
        (123_000, "$0.000123"),
        (1_234_567, "$0.00123"),
        (70_000_000, "$0.07"),
        (500_000_000, "$0.50"),
        (999_900_000, "$1.00"),
        (1_005_000_000, "$1.00"),
        (1_234_567_891_234, "$1,234.57"),
        (-2_500_000_000, "-$2.50"),
        (-123_000, "-$0.000123"),
    ],
)
def test_an_amount_shows_the_digits_that_say_something(nanos: int | None, shown: str) -> None:
    assert plain(show_usd(nanos)) == shown


@pytest.mark.parametrize(
    ("nanos", "shown"),
    [
        (None, "(none)"),
        (0, "$0.00"),
        (1, "$0.000000001"),
        (1_500_000_000, "$1.50"),
        (1_234_567_891_234, "$1,234.567891234"),
    ],
)
def test_an_exact_amount_loses_nothing(nanos: int | None, shown: str) -> None:
    assert plain(show_exact_usd(nanos)) == shown


@pytest.mark.parametrize(
    ("milliseconds", "shown"),
    [(None, "(none)"), (0, "0 ms"), (999, "999 ms"), (1_500, "1.50 s"), (61_000, "1 min 1 s")],
)
def test_a_duration_has_the_unit_that_suits_it(milliseconds: int | None, shown: str) -> None:
    assert plain(show_duration(milliseconds)) == shown


@pytest.mark.parametrize(
    ("count", "shown"), [(999, "999"), (1_000, "1.00 k"), (12_340, "12.3 k"), (345_678_900, "346 M")]
)
def test_tokens_show_three_digits(count: int, shown: str) -> None:
    assert plain(show_tokens(count)) == shown


def test_counts_and_shares_are_readable() -> None:
    assert plain(show_count(1_234_567)) == "1 234 567"
    assert [plain(show_percent(share)) for share in (None, 0.0, 0.25, 9.94, 55.5, -3.0)] == [
        "(none)",
        "0 %",
        "0.2 %",
        "9.9 %",
        "56 %",
        "-3.0 %",
    ]
