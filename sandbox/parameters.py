"""Parameters that reasoning models refuse, in the words in which OpenAI's do."""

from collections.abc import Mapping
from typing import Any

import msgspec

from sandbox.errors import ApiError
from sandbox.fleet import FLEET

_UNSUPPORTED = (
    "top_p",
    "presence_penalty",
    "frequency_penalty",
    "logit_bias",
    "logprobs",
    "top_logprobs",
    "stop",
    "parallel_tool_calls",
)


def check_parameters(body: bytes) -> None:
    """Refuse what the model that is asked does not take.

    :raises ApiError: if there is such a parameter.
    """
    fields: Mapping[str, Any] = msgspec.json.decode(body)
    model = FLEET.get(fields["model"])
    if model is None or not model.is_choosy:
        return
    if fields.get("max_tokens") is not None:
        raise _unsupported_parameter("max_tokens", advice=" Use 'max_completion_tokens' instead.")
    if fields.get("temperature") not in {None, 1}:
        raise ApiError(
            status=400,
            message=f"Unsupported value: 'temperature' does not support {fields['temperature']} with this model. "
            "Only the default (1) value is supported.",
            param="temperature",
            code="unsupported_value",
        )
    for name in _UNSUPPORTED:
        if fields.get(name) is not None:
            raise _unsupported_parameter(name)


def _unsupported_parameter(name: str, *, advice: str = "") -> ApiError:
    return ApiError(
        status=400,
        message=f"Unsupported parameter: '{name}' is not supported with this model.{advice}",
        param=name,
        code="unsupported_parameter",
    )
