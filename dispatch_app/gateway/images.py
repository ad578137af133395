"""What the images of a canonical request are, of which not every vendor takes all. Pure."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from policies_app.routing.codes import WireFeature

_DATA = re.compile(r"\s*data:image/([^;,]*);base64,", re.IGNORECASE)
_KINDS = {
    "gif": WireFeature.GIF_IMAGES,
    "heic": WireFeature.HEIC_IMAGES,
    "heif": WireFeature.HEIC_IMAGES,
}
_USUAL = frozenset({"jpeg", "jpg", "png", "webp"})
"""What every vendor takes."""


def features_of_images(messages: Sequence[Mapping[str, Any]]) -> Iterator[WireFeature]:
    """What the images of all messages are."""
    for message in messages:
        content = message.get("content")
        for part in content if isinstance(content, list) else ():
            if (image := part.get("image_url")) is not None:
                yield from _features_of(image["url"])


def has_tool_result_images(messages: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a tool answered with an image."""
    return any(
        part["type"] == "image_url"
        for message in messages
        if message["role"] == "tool" and not isinstance(message["content"], str)
        for part in message["content"]
    )


def _features_of(url: str) -> Iterator[WireFeature]:
    """One is given as data, whose kind is told, or named by where it is, when its ending may tell."""
    data = _DATA.match(url)
    if data is not None:
        kind = data[1].lower()
        if kind not in _USUAL:
            yield _KINDS.get(kind, WireFeature.OTHER_IMAGES)
        return
    address = url.lstrip()
    if address[:5].lower() == "data:":
        yield WireFeature.OTHER_IMAGES
        return
    yield WireFeature.IMAGE_URLS
    if address[:8].lower() != "https://":
        yield WireFeature.PLAIN_HTTP_IMAGES
    ending = address.partition("?")[0].rpartition(".")[2]
    if len(ending) <= len("heic") and (feature := _KINDS.get(ending.lower())) is not None:
        yield feature
