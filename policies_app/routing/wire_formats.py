"""What the routing core and execution have to know of wire formats."""

from collections.abc import Mapping

from policies_app.routing.bedrock_embeddings import family_of
from policies_app.routing.codes import RefusedParameter, WireFeature, WireFormat
from policies_app.routing.types import CatalogueModel

MOST_INPUTS = 2_048
"""How many texts OpenAI's format can have embedded at once."""
_MOST_INPUTS_OF_GEMINI = 100
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
            WireFeature.PLAIN_HTTP_IMAGES,
            WireFeature.HEIC_IMAGES,
            WireFeature.OTHER_IMAGES,
            WireFeature.LEGACY_FUNCTIONS,
            WireFeature.TEMPERATURE_ABOVE_ONE,
            WireFeature.EMBEDDINGS,
        }
    ),
    WireFormat.GEMINI: frozenset(
        {
            WireFeature.LOGPROBS,
            WireFeature.LOGIT_BIAS,
            WireFeature.PLAIN_HTTP_IMAGES,
            WireFeature.GIF_IMAGES,
            WireFeature.OTHER_IMAGES,
            WireFeature.SINGLE_TOOL_CALL,
            WireFeature.LEGACY_FUNCTIONS,
            WireFeature.TOOL_RESULT_IMAGES,
            WireFeature.ANSWER_BEGUN,
            WireFeature.TOKENIZED_INPUT,
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
            WireFeature.PLAIN_HTTP_IMAGES,
            WireFeature.HEIC_IMAGES,
            WireFeature.OTHER_IMAGES,
            WireFeature.SINGLE_TOOL_CALL,
            WireFeature.LEGACY_FUNCTIONS,
            WireFeature.TEMPERATURE_ABOVE_ONE,
            WireFeature.TOKENIZED_INPUT,
        }
    ),
}
"""What each wire format has no words for. A target that speaks it cannot take a request that says such a thing.

Log-probabilities are an exception: Gemini has words for them, which most of its models refuse.
"""
_NO_FAMILY = frozenset({WireFeature.EMBEDDINGS})
_NO_DIMENSIONS = frozenset({WireFeature.EMBEDDING_DIMENSIONS})


def inexpressible_in(wire_format: WireFormat) -> frozenset[WireFeature]:
    """What a wire format has no words for: everything, until the table says what it has words for."""
    return INEXPRESSIBLE.get(wire_format, _EVERYTHING)


def inexpressible(wire_format: WireFormat, wire_name: str) -> frozenset[WireFeature]:
    """What cannot be said to a model that its vendor calls `wire_name`: mostly a matter of the format alone."""
    lacking = inexpressible_in(wire_format)
    if wire_format is not WireFormat.BEDROCK_CONVERSE:
        return lacking
    family = family_of(wire_name)
    if family is None:
        return lacking | _NO_FAMILY
    return lacking if family.has_dimensions else lacking | _NO_DIMENSIONS


def unsaid(model: CatalogueModel) -> frozenset[WireFeature]:
    """What the model could not be told of, but for what its row says is to be left out."""
    refused = model.quirks.refused_parameters
    lacking = inexpressible(model.wire_format, model.wire_name)
    return frozenset(feature for feature in lacking if not _is_left_out(feature, refused))


def _is_left_out(feature: WireFeature, refused: frozenset[RefusedParameter]) -> bool:
    return feature in _WITHOUT and _WITHOUT[feature] <= refused


def most_inputs(wire_format: WireFormat, wire_name: str) -> int:
    """How many texts a model embeds in one call."""
    match wire_format:
        case WireFormat.GEMINI:
            return _MOST_INPUTS_OF_GEMINI
        case WireFormat.BEDROCK_CONVERSE:
            family = family_of(wire_name)
            return 0 if family is None else family.most_inputs
        case _:
            return MOST_INPUTS
