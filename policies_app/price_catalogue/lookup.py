"""What the catalogue that is built into the installed package says of a model.

The package could fetch newer prices; Signalbox never asks it to. Importing this module opens no connection and starts no
thread, but it takes half a second and some 40 MB, so those who may not need it import it when they do.
"""

import re
from collections.abc import Sequence
from datetime import datetime
from importlib.metadata import version

from genai_prices.data import providers as _BUILT_IN  # noqa: N812 - a constant that the package spells small
from genai_prices.types import ModelInfo, Provider

from policies_app.price_catalogue.translation import translate
from policies_app.price_catalogue.types import NotPublished, PublishedModel
from policies_app.price_catalogue.vendors import find_vendors, vendor_ids
from policies_app.routing.codes import WireFormat

SOURCE = f"genai-prices {version('genai-prices')}"
"""Where the prices come from, as price rows name it."""

_ARN = re.compile(r"arn:[^:]*:bedrock:[^:]*:[^:]*:(?P<kind>[a-z-]+)/(?P<name>.+)")
_TELLING_ARNS = frozenset({"foundation-model", "inference-profile"})


def find_published(
    *,
    base_url: str,
    wire_format: WireFormat,
    wire_name: str,
    at: datetime,
    vendor_id: str = "",
    book: Sequence[Provider] = tuple(_BUILT_IN),
) -> PublishedModel | NotPublished:
    """Return what the catalogue says of a provider's model for calls at `at`, or why it says nothing of use.

    `vendor_id` names the vendor outright, where the address does not tell.
    """
    vendors = find_vendors(base_url=base_url, wire_format=wire_format, vendor_id=vendor_id, book=book)
    if isinstance(vendors, NotPublished):
        return vendors
    name = _bare_name(wire_name, wire_format)
    if name is None:
        return NotPublished(reason="This kind of ARN does not say which model is behind it.")
    for vendor in vendors.vendors:
        if info := vendor.find_model(name, all_providers=list(book)):
            notes = (*vendors.notes, *_matching_notes(wire_format, vendor, info))
            return _published(vendor, info, at=at, notes=notes)
    return NotPublished(reason=f"The catalogue knows no {name} of {vendors.vendors[0].name}.")


def known_vendors() -> tuple[str, ...]:
    """What the catalogue calls its vendors."""
    return vendor_ids(_BUILT_IN)


def _bare_name(wire_name: str, wire_format: WireFormat) -> str | None:
    """The wire name without what surrounds the vendor's own; None if it holds none."""
    match wire_format:
        case WireFormat.BEDROCK_CONVERSE if wire_name.startswith("arn:"):
            arn = _ARN.fullmatch(wire_name)
            return arn["name"] if arn and arn["kind"] in _TELLING_ARNS else None
        case WireFormat.GEMINI:
            return wire_name.rpartition("/")[2]
        case _:
            return wire_name


def _published(
    vendor: Provider, info: ModelInfo, *, at: datetime, notes: tuple[str, ...]
) -> PublishedModel | NotPublished:
    found = translate(info, at=at)
    if found is None:
        return NotPublished(
            reason=f"The catalogue lists {vendor.id}/{info.id} without a price by the token. Free and unknown look alike there."
        )
    return PublishedModel(
        source=SOURCE,
        vendor=vendor.id,
        model_id=info.id,
        amounts=found.amounts,
        notes=(*notes, *found.notes),
        context_window_tokens=info.context_window,
    )


def _matching_notes(wire_format: WireFormat, vendor: Provider, info: ModelInfo) -> tuple[str, ...]:
    notes = []
    if wire_format == WireFormat.AZURE_OPENAI:
        notes.append("Azure calls a model by its deployment: it is taken to be the model that its name says.")
    if all(info is not own for own in vendor.models):
        notes.append(f"{vendor.name} has no price of its own in the catalogue: the model's maker's is taken.")
    return tuple(notes)
