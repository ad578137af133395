"""Prices from the published catalogue: compared with those in force, and taken over where somebody wants them."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from django.db import transaction
from django.utils import timezone

from policies_app.models import Model, Price
from policies_app.price_catalogue.types import Amounts, NotPublished, PublishedModel
from policies_app.routing.codes import WireFormat
from policies_app.services.errors import ServiceError
from policies_app.services.prices import lock_prices, set_price


class PriceNotPublishedError(ServiceError):
    """The catalogue has no price of the model."""


class HandMadePriceError(ServiceError):
    """The price in force was made by hand, and nobody said that it may be replaced."""


class PriceMovedError(ServiceError):
    """The price in force is another one than the one that was compared."""


class Standing(StrEnum):
    """How the price in force stands to the catalogue's."""

    UNPRICED = "unpriced"
    SAME = "same"
    DIFFERS = "differs"
    HAND_MADE = "hand_made"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A model's price in force beside what the catalogue says. `effective_from` is None for at once."""

    model: Model
    effective_from: datetime | None
    in_force: Price | None
    published: PublishedModel | NotPublished

    @property
    def standing(self) -> Standing:
        """How the two stand to each other; `HAND_MADE` is a difference that somebody meant."""
        if isinstance(self.published, NotPublished):
            return Standing.UNKNOWN
        if self.in_force is None:
            return Standing.UNPRICED
        if amounts_of(self.in_force) == self.published.amounts:
            return Standing.SAME
        return Standing.HAND_MADE if self.in_force.is_hand_made else Standing.DIFFERS


def amounts_of(price: Price) -> Amounts:
    """The amounts of a price row."""
    return Amounts(
        input_nanos=price.input_nanos,
        cached_input_nanos=price.cached_input_nanos,
        cache_write_nanos=price.cache_write_nanos,
        output_nanos=price.output_nanos,
        reasoning_nanos=price.reasoning_nanos,
    )


def compare_with_catalogue(
    models: Iterable[Model], *, effective_from: datetime | None = None, vendor_id: str = ""
) -> list[Comparison]:
    """Compare the models' prices at `effective_from` (now) with the catalogue's for then, in one query.

    The catalogue is the one that is built into the installed package. A model need not be saved.
    """
    # It takes half a second and some 40 MB, which most processes never need.
    from policies_app.price_catalogue.lookup import find_published

    models = list(models)
    at = effective_from or timezone.now()
    saved = [model.pk for model in models if model.pk]
    in_force = {price.model_id: price for price in Price.objects.filter(model__in=saved).in_force(at=at)}
    return [
        Comparison(
            model=model,
            effective_from=effective_from,
            in_force=in_force.get(model.pk),
            published=find_published(
                base_url=model.provider.base_url,
                wire_format=WireFormat(model.provider.wire_format),
                wire_name=model.wire_name,
                at=at,
                vendor_id=vendor_id,
            ),
        )
        for model in models
    ]


@transaction.atomic
def import_price(
    *, comparison: Comparison, author_name: str, replace_hand_made: bool = False, reason: str = ""
) -> Price | None:
    """Add the catalogue's price, in force from when the comparison says on; None if it is in force already.

    :raises PriceNotPublishedError: if the catalogue has none.
    :raises HandMadePriceError: if it would replace a price that was made by hand, without `replace_hand_made`.
    :raises PriceMovedError: if another price has come into force since the comparison.
    :raises PriceExistsError: if the model has a price from that very instant on.
    """
    lock_prices(comparison.model)
    since = comparison.effective_from or timezone.now()
    if Price.objects.filter(model=comparison.model).in_force(at=since).first() != comparison.in_force:
        raise PriceMovedError(f"The price of {comparison.model} has changed meanwhile. Look again.")
    if isinstance(comparison.published, NotPublished):
        raise PriceNotPublishedError(str(comparison.published))
    if comparison.standing is Standing.SAME:
        return None
    if comparison.standing is Standing.HAND_MADE and not replace_hand_made:
        raise HandMadePriceError(
            f"The price of {comparison.model} in force was made by hand. Say that it may be replaced."
        )
    return set_price(
        model=comparison.model,
        **dict(comparison.published.amounts),
        effective_from=since,
        source=comparison.published.source,
        note=" ".join((f"As {comparison.published}.", *comparison.published.notes)),
        author_name=author_name,
        reason=reason,
    )
