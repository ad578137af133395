"""What routing may know of a canonical request: how long it is, what it needs, and what not every wire format can say. Pure."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from dispatch_app.execution.canonical import Request
from dispatch_app.gateway.errors import RequestError
from dispatch_app.gateway.prompt import Prompt
from policies_app.routing.codes import Capability, WireFeature

Fields = Mapping[str, Any]

# What one message, and a request with tools or a schema, can add in tokens to the bytes that the caller sent.
FRAMING_TOKENS_OF_A_MESSAGE = 16
FRAMING_TOKENS_OF_TOOLS = 1_024
BYTES_OF_A_TOKEN = 4
TOKENS_OF_AN_IMAGE = 800
_BYTES_AROUND_A_FUNCTION = len('{"type":"function","function":}')

_WITH_DEFINITIONS = ("tools", "functions", "response_format")
_DATA_OF_NO_IMAGE = re.compile(r"\s*data:(?!image/)", re.IGNORECASE)
_FEATURES: Mapping[str, tuple[WireFeature, Callable[[Any], bool]]] = {
    "n": (WireFeature.MULTIPLE_CHOICES, lambda choices: choices > 1),
    "logprobs": (WireFeature.LOGPROBS, bool),
    "logit_bias": (WireFeature.LOGIT_BIAS, bool),
    "seed": (WireFeature.SEED, lambda _: True),
    "presence_penalty": (WireFeature.PENALTIES, bool),
    "frequency_penalty": (WireFeature.PENALTIES, bool),
    "temperature": (WireFeature.TEMPERATURE_ABOVE_ONE, lambda temperature: temperature > 1),
}
"""What a field says that not every format can, and which of its values say it."""
_FEATURES_OF_FORM = {"json_object": WireFeature.JSON_OBJECT, "json_schema": WireFeature.JSON_SCHEMA}
_NO_FEATURES: frozenset[WireFeature] = frozenset()
_encode = msgspec.json.Encoder().encode


def measured(
    request: Request,
    *,
    size: int,
    model: str,
    output_tokens: int | None,
    end_user: str,
    metadata: Mapping[str, str],
    includes_usage: bool = True,
    features: frozenset[WireFeature] = _NO_FEATURES,
    echo: Fields | None = None,
) -> Prompt:
    """The prompt that a request is whose fields have been checked.

    `size` is in bytes: what the caller sent is no longer, as it came and as it is written anew. `features` are those that
    its canonical words do not tell.

    :raises RequestError: if what should be the data of an image is that of something else.
    """
    fields = request.fields
    messages = fields["messages"]
    images, image_bytes, text_bytes = _measure(messages)
    return Prompt(
        model=model,
        request=request,
        input_tokens=_estimate(fields, text_bytes=text_bytes, images=images),
        input_tokens_bound=_bound(fields, size=size - image_bytes),
        images=images,
        output_tokens=output_tokens,
        needs=frozenset(_needs(request, images=images)),
        features=features.union(_features(fields, images=images)),
        end_user=end_user,
        metadata=metadata,
        includes_usage=includes_usage,
        echo=echo or {},
    )


def _measure(messages: Sequence[Fields]) -> tuple[int, int, int]:
    """How many images there are, the bytes of their addresses, and the bytes of text."""
    images = image_bytes = text_bytes = 0
    for message in messages:
        content = message.get("content")
        if isinstance(content, str):
            text_bytes += _bytes_of(content)
            continue
        for part in content or ():
            image = part.get("image_url")
            images += image is not None or part["type"] == "image_url"
            image_bytes += 0 if image is None else _image_bytes(image["url"])
            text_bytes += _bytes_of(part.get("text") or part.get("refusal") or "")
    return images, image_bytes, text_bytes


def _bytes_of(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


def _image_bytes(url: str) -> int:
    """The bytes of an image's address, which are no tokens; those of a document or a video would be."""
    if _DATA_OF_NO_IMAGE.match(url):
        raise RequestError(param="messages", detail="messages: The data of an image_url has to be an image.")
    return len(url)


def _estimate(fields: Fields, *, text_bytes: int, images: int) -> int:
    functions = [tool["function"] for tool in fields.get("tools") or ()]
    tools_bytes = len(_encode(functions)) + _BYTES_AROUND_A_FUNCTION * len(functions) if functions else 0
    return (
        (text_bytes + tools_bytes) // BYTES_OF_A_TOKEN
        + BYTES_OF_A_TOKEN * len(fields["messages"])
        + TOKENS_OF_AN_IMAGE * images
    )


def _bound(fields: Fields, *, size: int) -> int:
    """No token is shorter than a byte, and escaping only makes text longer, so the body's size bounds its tokens."""
    has_definitions = any(fields.get(name) is not None for name in _WITH_DEFINITIONS)
    return (
        size
        + FRAMING_TOKENS_OF_A_MESSAGE * len(fields["messages"])
        + (FRAMING_TOKENS_OF_TOOLS if has_definitions else 0)
    )


def _needs(request: Request, *, images: int) -> Iterator[Capability]:
    fields = request.fields
    if fields.get("tools") or fields.get("functions"):
        yield Capability.TOOLS
    if (form := fields.get("response_format")) is not None and form["type"] == "json_schema":
        yield Capability.JSON_SCHEMA
    if images:
        yield Capability.VISION
    if request.stream:
        yield Capability.STREAMING
    if fields.get("logprobs"):
        yield Capability.LOGPROBS


def _features(fields: Fields, *, images: int) -> Iterator[WireFeature]:
    for name, (feature, says_it) in _FEATURES.items():
        if (value := fields.get(name)) is not None and says_it(value):
            yield feature
    if (form := fields.get("response_format")) is not None and form["type"] in _FEATURES_OF_FORM:
        yield _FEATURES_OF_FORM[form["type"]]
    if images and _has_image_urls(fields["messages"]):
        yield WireFeature.IMAGE_URLS
    if fields.get("parallel_tool_calls") is False and fields.get("tools"):
        yield WireFeature.SINGLE_TOOL_CALL
    if fields.get("functions") or "function" in [message["role"] for message in fields["messages"]]:
        yield WireFeature.LEGACY_FUNCTIONS


def _has_image_urls(messages: Sequence[Fields]) -> bool:
    """Whether an image is named by where it is, and not given as data."""
    return any(
        (image := part.get("image_url")) is not None and image["url"].lstrip()[:5].lower() != "data:"
        for message in messages
        if isinstance(message.get("content"), list)
        for part in message["content"]
    )
