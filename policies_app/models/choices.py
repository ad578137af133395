"""Model choices built from the routing core's vocabularies, so that the two cannot drift."""

from enum import StrEnum


def choices_of(codes: type[StrEnum]) -> list[tuple[str, str]]:
    """Pairs of value and label for a Django field, in the order of declaration."""
    return [(code.value, code.value.replace("_", " ").capitalize()) for code in codes]
