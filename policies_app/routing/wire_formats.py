"""What the routing core and execution have to know of wire formats."""

from collections.abc import Mapping

from policies_app.routing.codes import RefusedParameter, WireFeature, WireFormat
from policies_app.routing.types import CatalogueModel

_WITHOUT: Mapping[WireFeature, frozenset[RefusedParameter]] = {
    WireFeature.SEED: frozenset({RefusedParameter.SEED}),
    WireFeature.LOGIT_BIAS: frozenset({RefusedParameter.LOGIT_BIAS}),
    WireFeature.PENALTIES: frozenset({RefusedParameter.PRESENCE_PENALTY, RefusedParameter.FREQUENCY_PENALTY}),
    WireFeature.SINGLE_TOOL_CALL: frozenset({RefusedParameter.PARALLEL_TOOL_CALLS}),
    WireFeature.TEMPERATURE_ABOVE_ONE: frozenset({RefusedParameter.TEMPERATURE}),
}
"""Features that are of no account where a model's row has these parameters left out."""
_EVERYTHING = frozenset(WireFeature)
_NOT_IN_OPENAI = frozenset({WireFeature.TOOL_RESULT_IMAGES, WireFeature.ANSWER_BEGUN})

THINKS_UNASKED = frozenset({WireFormat.GEMINI})
"""Formats whose models think, and bill it, where the request does not say a word of it."""

INEXPRESSIBLE: Mapping[WireFormat, frozenset[WireFeature]] = {
    WireFormat.OPENAI_CHAT: _NOT_IN_OPENAI,
    WireFormat.AZURE_OPENAI: _NOT_IN_OPENAI,
    WireFormat.ANTHROPIC_MESSAGES: frozenset(
        {
            WireFeature.MULTIPLE_CHOICES,
            WireFeature.LOGPROBS,
            WireFeature.LOGIT_BIAS,
            WireFeature.SEED,
            WireFeature.PENALTIES,
            WireFeature.JSON_OBJECT,
            WireFeature.LEGACY_FUNCTIONS,
            WireFeature.TEMPERATURE_ABOVE_ONE,
        }
    ),
    WireFormat.GEMINI: frozenset(
        {
            WireFeature.LOGPROBS,
            WireFeature.LOGIT_BIAS,
            WireFeature.SINGLE_TOOL_CALL,
            WireFeature.LEGACY_FUNCTIONS,
            WireFeature.TOOL_RESULT_IMAGES,
            WireFeature.ANSWER_BEGUN,
        }
    ),
    WireFormat.BEDROCK_CONVERSE: frozenset(
        {
            WireFeature.MULTIPLE_CHOICES,
            WireFeature.LOGPROBS,
            WireFeature.LOGIT_BIAS,
            WireFeature.SEED,
            WireFeature.PENALTIES,
            WireFeature.JSON_OBJECT,
            WireFeature.IMAGE_URLS,
            WireFeature.SINGLE_TOOL_CALL,
            WireFeature.LEGACY_FUNCTIONS,
            WireFeature.TEMPERATURE_ABOVE_ONE,
        }
    ),
}
"""What each wire format has no words for. A target that speaks it cannot take a request that says such a thing."""


def inexpressible_in(wire_format: WireFormat) -> frozenset[WireFeature]:
    """What a wire format has no words for: everything, until the table says what it has words for."""
    return INEXPRESSIBLE.get(wire_format, _EVERYTHING)


def unsaid(model: CatalogueModel, features: frozenset[WireFeature]) -> frozenset[WireFeature]:
    """Which of `features` the model could not be told of, unless its row says that they be left out."""
    lacking = features & inexpressible_in(model.wire_format)
    refused = model.quirks.refused_parameters
    if not lacking or not refused:
        return lacking
    return frozenset(feature for feature in lacking if not _is_left_out(feature, refused))


def _is_left_out(feature: WireFeature, refused: frozenset[RefusedParameter]) -> bool:
    return feature in _WITHOUT and _WITHOUT[feature] <= refused
