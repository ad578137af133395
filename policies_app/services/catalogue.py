"""The catalogue as the routing core takes it."""

from collections import defaultdict

from policies_app.models import Model, Price
from policies_app.routing import types as routing
from policies_app.routing.codes import Capability, Tier, WireFormat
from policies_app.services.quirks import read_quirks


def read_catalogue() -> routing.Catalogue:
    """Read the fleet with all of its prices, in two queries."""
    prices: dict[int, list[routing.Price]] = defaultdict(list)
    for price in Price.objects.order_by("effective_from"):
        prices[price.model_id].append(_price(price))
    return {
        model.name: _catalogue_model(model, tuple(prices[model.pk]))
        for model in Model.objects.select_related("provider")
    }


def _price(row: Price) -> routing.Price:
    return routing.Price(
        id=row.pk,
        effective_from=row.effective_from,
        input_nanos=row.input_nanos,
        cached_input_nanos=row.cached_input_nanos,
        cache_write_nanos=row.cache_write_nanos,
        output_nanos=row.output_nanos,
        reasoning_nanos=row.reasoning_nanos,
    )


def _catalogue_model(row: Model, prices: tuple[routing.Price, ...]) -> routing.CatalogueModel:
    return routing.CatalogueModel(
        id=row.pk,
        name=row.name,
        provider_id=row.provider_id,
        provider=row.provider.name,
        wire_format=WireFormat(row.provider.wire_format),
        wire_name=row.wire_name,
        tier=Tier(row.tier),
        capabilities=frozenset(Capability(capability) for capability in row.capabilities),
        context_window_tokens=row.context_window_tokens,
        max_output_tokens=row.max_output_tokens,
        image_tokens_bound=row.image_tokens_bound,
        enabled=row.enabled and row.provider.enabled,
        prices=prices,
        cold_after_s=row.cold_after_s,
        cold_penalty_ms=row.cold_penalty_ms,
        bills_after_cut=row.provider.bills_after_cut,
        quirks=read_quirks(row),
    )
