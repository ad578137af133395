"""Prices of models: added, never edited, because the log points at the row that was used."""

from datetime import datetime

from django.db import transaction
from django.utils import timezone

from policies_app.models import Model, Price
from policies_app.services.audit import record_creation
from policies_app.services.errors import ServiceError


class PriceExistsError(ServiceError):
    """The model already has a price from that instant on."""


@transaction.atomic
def set_price(
    *,
    model: Model,
    input_nanos: int,
    output_nanos: int,
    author_name: str,
    cached_input_nanos: int | None = None,
    cache_write_nanos: int | None = None,
    reasoning_nanos: int | None = None,
    effective_from: datetime | None = None,
    source: str = "",
    note: str = "",
    reason: str = "",
) -> Price:
    """Add a price in force from `effective_from` (now) on, in nano-dollars per million tokens.

    Cached input and cache writes cost as much as input, and reasoning as much as output, unless given. `source` is empty
    for a price made by hand.

    :raises PriceExistsError: if the model has a price from that very instant on.
    """
    lock_prices(model)
    since = effective_from or timezone.now()
    if Price.objects.filter(model=model, effective_from=since).exists():
        raise PriceExistsError(f"{model} already has a price from {since:%Y-%m-%d %H:%M:%S} UTC on.")
    price = Price.objects.create(
        model=model,
        effective_from=since,
        input_nanos=input_nanos,
        cached_input_nanos=input_nanos if cached_input_nanos is None else cached_input_nanos,
        cache_write_nanos=input_nanos if cache_write_nanos is None else cache_write_nanos,
        output_nanos=output_nanos,
        reasoning_nanos=output_nanos if reasoning_nanos is None else reasoning_nanos,
        source=source,
        note=note,
    )
    record_creation(subject=price, author_name=author_name, reason=reason)
    return price


def lock_prices(model: Model) -> None:
    """Let no other transaction add a price of `model` until this one ends. Attempts that name it go on."""
    Model.objects.select_for_update(no_key=True).filter(pk=model.pk).first()
