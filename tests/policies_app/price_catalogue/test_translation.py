"""One flat row out of a vendor's prices. The expected amounts are written out by hand beside each."""

from datetime import UTC, date, datetime, time
from decimal import Decimal

import pytest
from genai_prices.types import (
    ClauseEquals,
    ConditionalPrice,
    ModelInfo,
    ModelPrice,
    StartDateConstraint,
    Tier,
    TieredPrices,
    TimeOfDateConstraint,
)

from policies_app.price_catalogue.translation import BY_HOUR, IMAGES, OUTPUT_MISSING, Translation, translate

NOW = datetime(2026, 6, 15, 12, tzinfo=UTC)
USD = 1_000_000_000


def a_model(prices, **fields):
    return ModelInfo(id="m", match=ClauseEquals(equals="m"), prices=prices, **fields)


def a_price(**usd):
    return ModelPrice(**{key: Decimal(amount) for key, amount in usd.items()})


def since(*day, **usd):
    return ConditionalPrice(StartDateConstraint(date(*day)), prices=a_price(**usd))


def between(start, end, **usd):
    hours = TimeOfDateConstraint(time(start, tzinfo=UTC), time(end, tzinfo=UTC))
    return ConditionalPrice(hours, prices=a_price(**usd))


def translated(prices, *, at=NOW, **fields) -> Translation:
    found = translate(a_model(prices, **fields), at=at)
    assert found is not None
    return found


def buckets(prices, **fields):
    return [nanos for _, nanos in translated(prices, **fields).amounts]


@pytest.mark.parametrize(
    ("prices", "expected"),
    [
        # input, cached input, cache write, output, reasoning
        (
            a_price(input_mtok="3", cache_read_mtok="0.3", cache_write_mtok="3.75", output_mtok="15"),
            [3 * USD, USD * 3 // 10, USD * 15 // 4, 15 * USD, 15 * USD],
        ),
        # What has no price of its own is billed as what it is a kind of, and never as nothing.
        (a_price(input_mtok="2", output_mtok="8"), [2 * USD, 2 * USD, 2 * USD, 8 * USD, 8 * USD]),
        (
            a_price(input_mtok="2", output_mtok="8", output_reasoning_mtok="3"),
            [2 * USD, 2 * USD, 2 * USD, 8 * USD, 3 * USD],
        ),
        # A published zero of one bucket is a price.
        (
            a_price(input_mtok="2", cache_read_mtok="0", output_mtok="8"),
            [2 * USD, 0, 2 * USD, 8 * USD, 8 * USD],
        ),
        # Less than a nano-dollar is rounded up: 0.0000000001 USD is a tenth of one.
        (a_price(input_mtok="0.0833333333333333", output_mtok="0.0000000001"), [83_333_334] * 3 + [1, 1]),
        (a_price(input_mtok="1.0399999999999998", output_mtok="1"), [1_040_000_000] * 3 + [USD, USD]),
        # One-hour cache marks are never sent, so their price is not met.
        (
            a_price(input_mtok="1", cache_write_mtok="1.25", cache_write_1h_mtok="2", output_mtok="5"),
            [USD, USD, USD * 5 // 4, 5 * USD, 5 * USD],
        ),
        # An image's tokens count as input and output.
        (
            a_price(input_mtok="4", input_image_mtok="5", output_mtok="24", output_image_mtok="30"),
            [5 * USD, 5 * USD, 5 * USD, 30 * USD, 30 * USD],
        ),
    ],
)
def test_every_bucket_gets_its_price(prices, expected) -> None:
    assert buckets(prices) == expected


def test_of_prices_by_length_the_dearest_tier_is_taken_and_the_note_says_from_where_on() -> None:
    tiered = TieredPrices(base=Decimal(3), tiers=[Tier(200_000, Decimal(6)), Tier(500_000, Decimal(5))])
    found = translated(ModelPrice(input_mtok=tiered, output_mtok=Decimal(15)))

    assert found.amounts.input_nanos == 6 * USD
    assert found.notes == ("Prompts over 200,000 tokens cost more: their price is taken for all.",)


def test_a_tier_that_is_no_dearer_is_not_worth_a_note() -> None:
    tiered = TieredPrices(base=Decimal(3), tiers=[Tier(200_000, Decimal(2))])
    found = translated(ModelPrice(input_mtok=tiered, output_mtok=Decimal(15)))

    assert (found.amounts.input_nanos, found.notes) == (3 * USD, ())


def test_of_prices_by_the_hour_the_dearest_is_taken_bucket_by_bucket() -> None:
    day = ConditionalPrice(prices=a_price(input_mtok="1", output_mtok="9"))
    found = translated(
        [day, between(1, 4, input_mtok="2", output_mtok="4"), between(6, 10, input_mtok="3", output_mtok="2")]
    )

    assert [nanos for _, nanos in found.amounts] == [3 * USD, 3 * USD, 3 * USD, 9 * USD, 9 * USD]
    assert BY_HOUR in found.notes


@pytest.mark.parametrize(
    ("at", "input_usd"),
    [
        (datetime(2026, 1, 31, 23, 59, tzinfo=UTC), 10),
        (datetime(2026, 2, 1, tzinfo=UTC), 5),
        (datetime(2026, 6, 30, 23, 59, tzinfo=UTC), 5),
        (datetime(2026, 7, 1, tzinfo=UTC), 20),
    ],
)
def test_a_price_counts_from_its_day_on(at, input_usd) -> None:
    prices = [
        ConditionalPrice(prices=a_price(input_mtok="10", output_mtok="1")),
        since(2026, 2, 1, input_mtok="5", output_mtok="1"),
        since(2026, 7, 1, input_mtok="20", output_mtok="1"),
    ]

    assert translated(prices, at=at).amounts.input_nanos == input_usd * USD


def test_a_change_that_is_announced_is_told() -> None:
    prices = [
        ConditionalPrice(prices=a_price(input_mtok="10", output_mtok="1")),
        since(2026, 7, 1, input_mtok="20", output_mtok="1"),
        since(2026, 9, 1, input_mtok="30", output_mtok="1"),
    ]

    assert translated(prices).notes == (
        "The catalogue has another price from 2026-07-01 on: import it for that day, too.",
    )
    assert translated(prices, at=datetime(2026, 9, 1, tzinfo=UTC)).notes == ()


def test_hours_that_a_later_list_has_done_away_with_are_not_looked_at() -> None:
    prices = [
        ConditionalPrice(prices=a_price(input_mtok="1", output_mtok="1")),
        between(1, 4, input_mtok="50", output_mtok="50"),
        since(2026, 1, 1, input_mtok="2", output_mtok="2"),
    ]

    assert buckets(prices) == [2 * USD] * 5


@pytest.mark.parametrize(
    "prices",
    [
        a_price(),
        a_price(input_mtok="0", output_mtok="0"),
        a_price(audio_hours="3"),
        a_price(output_mtok="3"),
        [],
        # One of the hours is not known, so nothing bounds it.
        [ConditionalPrice(prices=a_price(input_mtok="1", output_mtok="1")), between(1, 4, output_mtok="2")],
    ],
)
def test_what_is_not_priced_by_the_token_is_not_priced_at_all(prices) -> None:
    assert translate(a_model(prices), at=NOW) is None


def test_a_model_without_a_price_of_output_pays_as_much_as_for_input() -> None:
    found = translated(a_price(input_mtok="0.02"))

    assert [nanos for _, nanos in found.amounts] == [20_000_000] * 5
    assert found.notes == (OUTPUT_MISSING,)


def test_what_a_row_has_no_place_for_is_named_with_its_price() -> None:
    found = translated(
        a_price(
            input_mtok="4",
            output_mtok="16",
            input_audio_mtok="32",
            web_searches_kcount="10",
            requests_kcount="12.5",
        )
    )

    assert found.notes == (
        (
            "Left out, because a price row has no place for it: input audio, 32 USD per million tokens;"
            " web searches, 10 USD per thousand; requests, 12.5 USD per thousand."
        ),
    )


def test_images_and_an_announced_end_are_told() -> None:
    found = translated(a_price(input_mtok="4", input_image_mtok="5", output_mtok="1"), deprecated=True)

    assert found.notes == (IMAGES, "The vendor has announced this model's end.")
