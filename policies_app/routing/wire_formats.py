"""What each wire format has no words for. A target that speaks it cannot take a request that says such a thing."""

from collections.abc import Mapping

from policies_app.routing.codes import WireFeature, WireFormat

_NOT_IN_OPENAI = frozenset({WireFeature.TOOL_RESULT_IMAGES, WireFeature.ANSWER_BEGUN})

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
            WireFeature.IMAGE_URLS,
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
