"""OpenAI's embeddings, as vendors and self-hosted servers speak them. Pure; performs no I/O.

Vectors are asked for in base 64, which OpenAI's own client asks for too: a quarter of the bytes, and nothing is rounded.
Servers that know no such thing answer with numbers.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Any

import msgspec

from dispatch_app.execution.canonical import Reply, Request
from dispatch_app.execution.errors import InvalidReplyError
from dispatch_app.providers.adapter import Built, Prepared
from dispatch_app.providers.openai_chat import model_name
from dispatch_app.providers.quirks import encoded
from dispatch_app.providers.vectors import reply_of
from policies_app.routing.types import Candidate, CatalogueModel, Usage


class _Usage(msgspec.Struct):
    prompt_tokens: int


class _Embedding(msgspec.Struct):
    embedding: msgspec.Raw
    index: int


class _Embeddings(msgspec.Struct):
    data: list[_Embedding]
    model: str | None = None
    usage: Any = None


_decode = msgspec.json.Decoder(_Embeddings).decode


def build(*, request: Request, candidate: Candidate, prepared: Prepared, now: datetime) -> Built:
    """See `Embedder.build`."""
    fields = {**request.fields, "model": candidate.model.wire_name, "encoding_format": "base64"}
    url = f"{prepared.provider.base_url.rstrip('/')}/embeddings"
    return Built(url=url, headers=prepared.headers, body=encoded(fields, candidate.model.quirks))


def dropped(request: Request, *, model: CatalogueModel) -> tuple[str, ...]:
    """See `Embedder.dropped`."""
    return ()


async def parse_reply(
    body: bytes,
    *,
    request: Request,
    header: Callable[[bytes], str | None],
    wire_status: int,
    first_byte_at: float,
) -> Reply:
    """See `Embedder.parse_reply`."""
    try:
        told = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidReplyError(wire_status=wire_status) from error
    usage = _read_usage(told.usage)
    try:
        written = _in_order(told.data)
    except ValueError as error:
        raise InvalidReplyError(wire_status=wire_status, usage=usage) from error
    return await reply_of(
        written,
        request=request,
        model=model_name(told.model),
        usage=usage,
        wire_status=wire_status,
        first_byte_at=first_byte_at,
    )


def _in_order(data: list[_Embedding]) -> list[msgspec.Raw]:
    """The vectors by their index.

    :raises ValueError: if one is missing or comes twice.
    """
    data = sorted(data, key=lambda item: item.index)
    if [item.index for item in data] != list(range(len(data))):
        raise ValueError("an index is missing")
    return [item.embedding for item in data]


def _read_usage(raw: Any) -> Usage | None:
    """What was reported, plausible or not; None when there is nothing that can be read."""
    try:
        return Usage(input_tokens=msgspec.convert(raw, _Usage).prompt_tokens)
    except msgspec.ValidationError:
        return None
