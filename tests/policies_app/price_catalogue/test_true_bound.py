"""A row that was taken from the catalogue is never too low: the package itself says what a call would cost."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from genai_prices import Usage
from genai_prices.data import providers
from genai_prices.types import ModelInfo

from policies_app.price_catalogue.translation import translate
from policies_app.routing import types as routing
from policies_app.routing.money import cost_nanos

NOW = datetime(2026, 11, 28, tzinfo=UTC)
NANOS = Decimal(1_000_000_000)
# Around every threshold that vendors have, and at hours that some price differently.
INPUTS = (0, 1, 100_000, 100_001, 128_001, 200_001, 272_001, 1_000_000)
HOURS = (0, 1, 2, 7, 12, 17)
# A row's price is for tokens; these are for something else, and are named as left out.
NOT_BY_THE_TOKEN = ("_kcount", "_hours", "_kpages", "_mchars", "_gpixels")


def distinct_prices() -> list[ModelInfo]:
    """Every way in which some model of some vendor is priced, once."""
    priced = [info for vendor in providers for info in vendor.models if translate(info, at=NOW)]
    return list({repr(info.prices): info for info in priced}.values())


def hours_of(info: ModelInfo) -> tuple[int, ...]:
    """The hours to look at: one is as good as another where the price does not depend on it."""
    return HOURS if "TimeOfDateConstraint" in repr(info.prices) else HOURS[:1]


def usages() -> list[routing.Usage]:
    """Everything fresh, everything read from the cache, everything written to it, and a mixture; each with output."""
    shares = ((1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 1))
    return [
        routing.Usage(
            input_tokens=total // sum(share) * share[0],
            cached_input_tokens=total // sum(share) * share[1],
            cache_write_tokens=total // sum(share) * share[2],
            output_tokens=1_000,
            reasoning_tokens=reasoning,
        )
        for total in INPUTS
        for share in shares
        for reasoning in (0, 3_000)
    ]


def published_nanos(info: ModelInfo, usage: routing.Usage, at: datetime) -> Decimal:
    """What the package says that it costs. Its input counts what was read from and written to the cache, too."""
    told = Usage(
        input_tokens=usage.input_tokens + usage.cached_input_tokens + usage.cache_write_tokens,
        cache_read_tokens=usage.cached_input_tokens,
        cache_write_tokens=usage.cache_write_tokens,
        output_tokens=usage.output_tokens + usage.reasoning_tokens,
        output_reasoning_tokens=usage.reasoning_tokens,
    )
    price = info.get_prices(at)
    of_tokens = {key: value for key, value in vars(price).items() if not key.endswith(NOT_BY_THE_TOKEN)}
    return Decimal(type(price)(**of_tokens).calc_price(told)["total_price"]) * NANOS


def test_no_call_costs_more_than_the_row_says() -> None:
    catalogue = distinct_prices()
    assert len(catalogue) > 500

    for info in catalogue:
        found = translate(info, at=NOW)
        assert found is not None
        row = routing.Price(id=1, effective_from=NOW, **dict(found.amounts))
        for usage in usages():
            ours = cost_nanos(usage=usage, price=row)
            for hour in hours_of(info):
                theirs = published_nanos(info, usage, NOW + timedelta(hours=hour))
                assert theirs <= ours, (info.id, usage, hour)
