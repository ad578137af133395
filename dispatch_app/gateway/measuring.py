"""What routing may know of a canonical request: how long it is, what it needs, and what not every wire format can say. Pure."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from dispatch_app.execution.canonical import Request
from dispatch_app.gateway.errors import RequestError
from dispatch_app.gateway.images import features_of_images
from dispatch_app.gateway.prompt import Prompt
from policies_app.routing.codes import Capability, WireFeature

Fields = Mapping[str, Any]

# What one message, and a request with tools or a schema, can add in tokens to the bytes that the caller sent.
FRAMING_TOKENS_OF_A_MESSAGE = 16
FRAMING_TOKENS_OF_TOOLS = 1_024
BYTES_OF_A_TOKEN = 4
TOKENS_OF_AN_IMAGE = 800
_BYTES_AROUND_A_FUNCTION = len('{"type":"function","function":}')

_DATA_OF_NO_IMAGE = re.compile(r"\s*data:(?!image/)", re.IGNORECASE)
_FEATURES_OF_FORM = {"json_object": WireFeature.JSON_OBJECT, "json_schema": WireFeature.JSON_SCHEMA}
_NO_FORM = {"type": None}
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

    `size` is what all of it takes in bytes, as it came or as it is written anew, whichever is more. `features` are those
    that only the caller's format has words for.

    :raises RequestError: if what should be the data of an image is that of something else.
    """
    fields = request.fields
    images, image_bytes, text_bytes = _measure(fields["messages"])
    form = (fields.get("response_format") or _NO_FORM)["type"]
    return Prompt(
        model=model,
        request=request,
        input_tokens=_estimate(fields, text_bytes=text_bytes, images=images),
        input_tokens_bound=_bound(fields, size=size - image_bytes),
        images=images,
        output_tokens=output_tokens,
        needs=frozenset(_needs(request, images=images, form=form)),
        features=features.union(_features(fields, images=images, form=form)),
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
            text_bytes += len(content) if content.isascii() else len(content.encode())
            continue
        for part in content or ():
            image = part.get("image_url")
            images += image is not None or part["type"] == "image_url"
            image_bytes += 0 if image is None else _image_bytes(image["url"])
            text_bytes += len((part.get("text") or part.get("refusal") or "").encode())
    return images, image_bytes, text_bytes


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
    bound = size + FRAMING_TOKENS_OF_A_MESSAGE * len(fields["messages"])
    has_definitions = (
        fields.get("tools") is not None
        or fields.get("response_format") is not None
        or fields.get("functions") is not None
    )
    return bound + FRAMING_TOKENS_OF_TOOLS if has_definitions else bound


def _needs(request: Request, *, images: int, form: str | None) -> Iterator[Capability]:
    if request.fields.get("tools") or request.fields.get("functions"):
        yield Capability.TOOLS
    if form == "json_schema":
        yield Capability.JSON_SCHEMA
    if images:
        yield Capability.VISION
    if request.stream:
        yield Capability.STREAMING
    if request.fields.get("logprobs"):
        yield Capability.LOGPROBS


def _features(fields: Fields, *, images: int, form: str | None) -> Iterator[WireFeature]:
    """Those that more than one format of clients has words for."""
    if (temperature := fields.get("temperature")) is not None and temperature > 1:
        yield WireFeature.TEMPERATURE_ABOVE_ONE
    if form in _FEATURES_OF_FORM:
        yield _FEATURES_OF_FORM[form]
    if images:
        yield from features_of_images(fields["messages"])
    if fields.get("parallel_tool_calls") is False and fields.get("tools"):
        yield WireFeature.SINGLE_TOOL_CALL
