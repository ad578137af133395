"""Model choices built from the routing core's vocabularies, so that the two cannot drift."""

from enum import StrEnum

from policies_app.routing.codes import WireFormat


def choices_of(codes: type[StrEnum]) -> list[tuple[str, str]]:
    """Pairs of value and label for a Django field, in the order of declaration."""
    return [(code.value, code.value.replace("_", " ").capitalize()) for code in codes]


def wire_formats() -> list[tuple[str, str]]:
    """Those of the wire formats. Migrations name this function, so that a new format needs none."""
    return choices_of(WireFormat)
