"""Whose prices a provider's are: found by where it is, else by a protocol that one vendor alone speaks. Performs no I/O."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from genai_prices.types import Provider

from policies_app.price_catalogue.types import NotPublished
from policies_app.routing.codes import WireFormat

# OpenAI's and Anthropic's protocols are spoken by many, at prices of their own.
_SPOKEN_BY_ONE: Mapping[WireFormat, str] = {
    WireFormat.AZURE_OPENAI: "azure",
    WireFormat.GEMINI: "google",
    WireFormat.BEDROCK_CONVERSE: "aws",
}
_PRICED_REGION = "us-east-1"
_BEDROCK_REGION = re.compile(r"bedrock-runtime(?:-fips)?\.([a-z0-9-]+)\.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Vendors:
    """Those of the catalogue's vendors that a provider can be, most likely first, and what that supposes."""

    vendors: tuple[Provider, ...]
    notes: tuple[str, ...]


def find_vendors(
    *, base_url: str, wire_format: WireFormat, vendor_id: str, book: Sequence[Provider]
) -> Vendors | NotPublished:
    """Return whose prices count at `base_url`. `vendor_id` names one outright, for a vendor behind an address of one's own."""
    host = urlsplit(base_url).hostname or base_url
    if vendor_id:
        named = _of_id(vendor_id, book)
        return (
            Vendors(vendors=named, notes=())
            if named
            else NotPublished(reason=f"The catalogue knows no vendor called {vendor_id}.")
        )
    if found := tuple(vendor for vendor in book if re.match(vendor.api_pattern, base_url)):
        return Vendors(vendors=found, notes=_regional_notes(base_url, wire_format))
    if alone := _of_id(_SPOKEN_BY_ONE.get(wire_format, ""), book):
        return Vendors(
            vendors=alone,
            notes=(f"The catalogue does not know {host}: by its wire format taken for {alone[0].name}.",),
        )
    return NotPublished(reason=f"The catalogue knows no vendor at {host}.")


def vendor_ids(book: Sequence[Provider]) -> tuple[str, ...]:
    """What the catalogue calls its vendors."""
    return tuple(sorted(vendor.id for vendor in book))


def _of_id(vendor_id: str, book: Sequence[Provider]) -> tuple[Provider, ...]:
    return tuple(vendor for vendor in book if vendor.id == vendor_id)


def _regional_notes(base_url: str, wire_format: WireFormat) -> tuple[str, ...]:
    region = _BEDROCK_REGION.search(base_url)
    if wire_format != WireFormat.BEDROCK_CONVERSE or region is None or region[1] == _PRICED_REGION:
        return ()
    return (f"The catalogue has Bedrock's prices of {_PRICED_REGION}; those of {region[1]} may differ.",)
