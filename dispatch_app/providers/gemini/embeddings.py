"""Gemini's `batchEmbedContents`. Pure; performs no I/O.

Source: "Embeddings" in the Gemini API reference.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Any
from urllib.parse import quote

import msgspec

from dispatch_app.execution.canonical import Reply, Request
from dispatch_app.execution.errors import InvalidReplyError
from dispatch_app.providers.adapter import Built, Prepared
from dispatch_app.providers.quirks import encoded
from dispatch_app.providers.vectors import reply_of
from policies_app.routing.types import Candidate, CatalogueModel, Usage

_TASKS = {
    "search_document": "RETRIEVAL_DOCUMENT",
    "search_query": "RETRIEVAL_QUERY",
    "classification": "CLASSIFICATION",
    "clustering": "CLUSTERING",
}
"""What texts are for, in Cohere's words, which callers of OpenAI's format have no others for."""
_CARRIED = frozenset({"input", "dimensions"})


class _Reported(msgspec.Struct, rename="camel"):
    prompt_token_count: int


class _Embedding(msgspec.Struct):
    values: msgspec.Raw


class _Embeddings(msgspec.Struct, rename="camel"):
    embeddings: list[_Embedding]
    usage_metadata: Any = None


_decode = msgspec.json.Decoder(_Embeddings).decode


def build(*, request: Request, candidate: Candidate, prepared: Prepared, now: datetime) -> Built:
    """See `Embedder.build`."""
    fields = request.fields
    told: dict[str, Any] = {"model": f"models/{candidate.model.wire_name}"}
    if (task := _TASKS.get(str(fields.get("input_type")))) is not None:
        told["taskType"] = task
    if fields.get("dimensions") is not None:
        told["outputDimensionality"] = fields["dimensions"]
    requests = [{**told, "content": {"parts": [{"text": text}]}} for text in fields["input"]]
    url = f"{prepared.url}/{quote(candidate.model.wire_name, safe='')}:batchEmbedContents"
    body = encoded({"requests": requests}, candidate.model.quirks)
    return Built(url=url, headers=prepared.headers, body=body)


def dropped(request: Request, *, model: CatalogueModel) -> tuple[str, ...]:
    """See `Embedder.dropped`. What asks for nothing is not told."""
    carried = _CARRIED | ({"input_type"} if request.fields.get("input_type") in _TASKS else set())
    return tuple(name for name, value in request.fields.items() if name not in carried and value)


async def parse_reply(
    body: bytes,
    *,
    request: Request,
    header: Callable[[bytes], str | None],
    wire_status: int,
    first_byte_at: float,
) -> Reply:
    """See `Embedder.parse_reply`. Not every model reports what it counted, and none says which it was."""
    try:
        told = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidReplyError(wire_status=wire_status) from error
    return await reply_of(
        [embedding.values for embedding in told.embeddings],
        request=request,
        model="",
        usage=_read_usage(told.usage_metadata),
        wire_status=wire_status,
        first_byte_at=first_byte_at,
    )


def _read_usage(raw: Any) -> Usage | None:
    try:
        return Usage(input_tokens=msgspec.convert(raw, _Reported).prompt_token_count)
    except msgspec.ValidationError:
        return None
