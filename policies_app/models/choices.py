"""Model choices built from the routing core's vocabularies, so that the two cannot drift."""

from enum import StrEnum

from django.utils.text import capfirst

from policies_app.routing.codes import WireFormat

_NAMES = {
    "openai": "OpenAI",
    "azure": "Azure",
    "anthropic": "Anthropic",
    "gemini": "Gemini",
    "bedrock": "Bedrock",
}


def choices_of(codes: type[StrEnum]) -> list[tuple[str, str]]:
    """Pairs of value and label for a Django field, in the order of declaration."""
    return [(code.value, code.value.replace("_", " ").capitalize()) for code in codes]


def wire_formats() -> list[tuple[str, str]]:
    """Those of the wire formats. Migrations name this function, so that a new format needs none."""
    return [(code.value, capfirst(wire_format_words(code))) for code in WireFormat]


def wire_format_words(wire_format: WireFormat) -> str:
    """What a wire format is called within a sentence: vendors as they write themselves."""
    return " ".join(_NAMES.get(word, word) for word in wire_format.value.split("_"))
