"""The catalogue's prices as one flat row that nothing Signalbox sends can exceed. Performs no I/O.

A row has one price for each bucket, and a reservation by it must be a true upper bound. So where a vendor's price depends
on the prompt's length or on the hour, the dearest is taken, bucket by bucket; it is dear for some requests and too low
for none. A price is never taken for zero because it is missing.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import ROUND_CEILING, Decimal

from genai_prices.types import (
    ModelInfo,
    ModelPrice,
    StartDateConstraint,
    TieredPrices,
    TimeOfDateConstraint,
)

from policies_app.price_catalogue.types import Amounts

_NANOS = Decimal(1_000_000_000)

# Which of the catalogue's prices an input or output token of Signalbox's can meet: it sends text and images.
_BUCKETS: Mapping[str, tuple[str, ...]] = {
    "input_nanos": ("input_mtok", "input_text_mtok", "input_image_mtok"),
    "cached_input_nanos": ("cache_read_mtok", "cache_text_read_mtok", "cache_image_read_mtok"),
    "cache_write_nanos": (
        "cache_write_mtok",
        "cache_write_5m_mtok",
        "cache_text_write_mtok",
        "cache_text_write_5m_mtok",
        "cache_image_write_mtok",
        "cache_image_write_5m_mtok",
    ),
    "output_nanos": ("output_mtok", "output_text_mtok", "output_image_mtok"),
    "reasoning_nanos": (
        "output_reasoning_mtok",
        "output_text_reasoning_mtok",
        "output_image_reasoning_mtok",
    ),
}
# Never asked for: a cache mark that a vendor is sent lasts the usual time, whatever the caller's says.
_NEVER_ASKED_FOR = "_1h_mtok"
_UNITS = {
    "mtok": "per million tokens",
    "mchars": "per million characters",
    "gpixels": "per billion pixels",
    "hours": "an hour",
    "kpages": "per thousand pages",
    "kcount": "per thousand",
}

OUTPUT_MISSING = (
    "No price of output is published, as for models that only read: as much as input is taken, not zero."
)
BY_HOUR = "The price depends on the hour: the dearest is taken for all."
IMAGES = "Tokens of images have a price of their own: the dearest is taken for all."


@dataclass(frozen=True, slots=True, kw_only=True)
class Translation:
    """A price row's amounts, and in sentences what they do not say."""

    amounts: Amounts
    notes: tuple[str, ...]


def translate(info: ModelInfo, *, at: datetime) -> Translation | None:
    """What `info` costs at most for a call at `at`; None if no price by the token is published, or all are zero.

    An entry whose prices are all zero, or that has none, says nothing that can be told from not knowing.
    """
    prices = prices_in_force(info, at=at)
    flat = [_amounts(price) for price in prices]
    known = [amounts for amounts in flat if amounts is not None]
    if not known or len(known) < len(flat):
        return None
    dearest = _dearest(known)
    if not any(nanos for _, nanos in dearest):
        return None
    return Translation(amounts=dearest, notes=tuple(_notes(info, prices, at=at)))


def prices_in_force(info: ModelInfo, *, at: datetime) -> list[ModelPrice]:
    """The prices that a call on the day of `at` can meet: one, or one for each part of the day.

    The catalogue's rule is that the last one whose condition holds counts, and the first one if none does.
    """
    if isinstance(info.prices, ModelPrice):
        return [info.prices]
    found = []
    for price in reversed(info.prices):
        match price.constraint:
            case TimeOfDateConstraint():
                found.append(price.prices)
            case StartDateConstraint(start_date=start) if start > _day(at):
                continue
            case _:
                return [*found, price.prices]
    return [*found, *(price.prices for price in info.prices[:1])]


def _day(at: datetime) -> date:
    return at.astimezone(UTC).date()


def _amounts(price: ModelPrice) -> Amounts | None:
    """One of the catalogue's prices, the dearest tier of each; None if it has no price of input tokens."""
    found = {bucket: _dearest_of(price, keys) for bucket, keys in _BUCKETS.items()}
    input_nanos = found["input_nanos"]
    if input_nanos is None:
        return None
    # Vendors that have no price of their own for these bill them as what they are kinds of.
    output_nanos = _first(found["output_nanos"], input_nanos)
    return Amounts(
        input_nanos=input_nanos,
        cached_input_nanos=_first(found["cached_input_nanos"], input_nanos),
        cache_write_nanos=_first(found["cache_write_nanos"], input_nanos),
        output_nanos=output_nanos,
        reasoning_nanos=_first(found["reasoning_nanos"], output_nanos),
    )


def _first(nanos: int | None, otherwise: int) -> int:
    return otherwise if nanos is None else nanos


def _dearest_of(price: ModelPrice, keys: Iterable[str]) -> int | None:
    amounts = [usd for key in keys for usd in _every_tier(_value(price, key))]
    return _nanos(max(amounts)) if amounts else None


def _value(price: ModelPrice, key: str) -> Decimal | TieredPrices | None:
    value: Decimal | TieredPrices | None = vars(price).get(key)
    return value


def _every_tier(value: Decimal | TieredPrices | None) -> tuple[Decimal, ...]:
    match value:
        case None:
            return ()
        case TieredPrices(base=base, tiers=tiers):
            return (base, *(tier.price for tier in tiers))
        case _:
            return (value,)


def _nanos(usd: Decimal) -> int:
    """USD per million tokens as whole nano-dollars, rounded up: a bound must not lose the fraction."""
    return int((usd * _NANOS).to_integral_value(rounding=ROUND_CEILING))


def _dearest(several: Sequence[Amounts]) -> Amounts:
    return Amounts(**{bucket: max(getattr(amounts, bucket) for amounts in several) for bucket in _BUCKETS})


def _notes(info: ModelInfo, prices: Sequence[ModelPrice], *, at: datetime) -> Iterator[str]:
    used = [key for keys in _BUCKETS.values() for key in keys]
    starts = {
        tier.start
        for price in prices
        for key in used
        if isinstance(value := _value(price, key), TieredPrices)
        for tier in value.tiers
        if tier.price > value.base
    }
    if starts:
        yield f"Prompts over {min(starts):,} tokens cost more: their price is taken for all."
    if len(prices) > 1:
        yield BY_HOUR
    if any(_value(price, key) is not None for price in prices for key in used if "_image_" in key):
        yield IMAGES
    if all(_dearest_of(price, _BUCKETS["output_nanos"]) is None for price in prices):
        yield OUTPUT_MISSING
    if left_out := list(_left_out(prices)):
        yield f"Left out, because a price row has no place for it: {'; '.join(left_out)}."
    if info.deprecated:
        yield "The vendor has announced this model's end."
    if later := _next_change(info, at=at):
        yield f"The catalogue has another price from {later:%Y-%m-%d} on: import it for that day, too."


def _left_out(prices: Sequence[ModelPrice]) -> Iterator[str]:
    used = {key for keys in _BUCKETS.values() for key in keys}
    dearest: dict[str, Decimal] = {}
    for price in prices:
        for key in vars(price):
            amounts = _every_tier(_value(price, key))
            if amounts and key not in used and not key.endswith(_NEVER_ASKED_FOR):
                dearest[key] = max(*amounts, dearest.get(key, Decimal(0)))
    for key, usd in dearest.items():
        name, _, unit = key.rpartition("_")
        yield f"{name.replace('_', ' ')}, {usd:f} USD {_UNITS.get(unit, unit)}"


def _next_change(info: ModelInfo, *, at: datetime) -> date | None:
    if isinstance(info.prices, ModelPrice):
        return None
    starts = (
        price.constraint.start_date
        for price in info.prices
        if isinstance(price.constraint, StartDateConstraint)
    )
    return min((start for start in starts if start > _day(at)), default=None)
