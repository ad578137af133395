"""Embeddings by Bedrock's InvokeModel, in the words of each maker: Amazon's Titan and Cohere. Pure; performs no I/O.

Sources: "Amazon Titan Embeddings G1 - Text", "Cohere Embed v3" and "Cohere Embed v4" in the Amazon Bedrock user guide.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Any

import msgspec

from dispatch_app.execution.canonical import Reply, Request
from dispatch_app.execution.errors import InvalidReplyError, UnreachableError
from dispatch_app.providers.adapter import Built, Prepared
from dispatch_app.providers.bedrock_converse.request import addressed
from dispatch_app.providers.quirks import encoded
from dispatch_app.providers.vectors import reply_of
from policies_app.routing.bedrock_embeddings import Maker, family_of
from policies_app.routing.types import Candidate, CatalogueModel, Usage

_INPUT_TYPES = frozenset({"search_document", "search_query", "classification", "clustering"})
_USUAL_INPUT_TYPE = "search_document"
"""Cohere has to be told what texts are for, and OpenAI's format has no word for it."""
_COUNT = b"x-amzn-bedrock-input-token-count"
_NO_VECTOR = msgspec.Raw()
_CARRIED = frozenset({"input", "dimensions"})


class _ByType(msgspec.Struct):
    floats: list[msgspec.Raw] = msgspec.field(name="float")


class _Embeddings(msgspec.Struct, rename="camel"):
    """Titan's reply, which has one vector, or Cohere's."""

    embedding: msgspec.Raw = _NO_VECTOR
    input_text_token_count: int | None = None
    embeddings: list[msgspec.Raw] | _ByType | None = None

    @property
    def written(self) -> list[msgspec.Raw]:
        if self.embedding is not _NO_VECTOR:
            return [self.embedding]
        told = self.embeddings
        return [*(told.floats if isinstance(told, _ByType) else told or [])]


_decode = msgspec.json.Decoder(_Embeddings).decode


def build(*, request: Request, candidate: Candidate, prepared: Prepared, now: datetime) -> Built:
    """See `Embedder.build`.

    :raises UnreachableError: if the model's maker is none of these. Such a one is not in a plan.
    """
    family = family_of(candidate.model.wire_name)
    if family is None:
        raise UnreachableError
    body = _titan(request) if family.maker is Maker.TITAN else _cohere(request)
    told = encoded(body, candidate.model.quirks)
    return addressed(told, operation="invoke", candidate=candidate, prepared=prepared, now=now)


def dropped(request: Request, *, model: CatalogueModel) -> tuple[str, ...]:
    """See `Embedder.dropped`. What asks for nothing is not told."""
    family = family_of(model.wire_name)
    is_told = request.fields.get("input_type") in _INPUT_TYPES
    knows_types = family is not None and family.maker is Maker.COHERE and is_told
    carried = _CARRIED | ({"input_type"} if knows_types else set())
    return tuple(name for name, value in request.fields.items() if name not in carried and value)


async def parse_reply(
    body: bytes,
    *,
    request: Request,
    header: Callable[[bytes], str | None],
    wire_status: int,
    first_byte_at: float,
) -> Reply:
    """See `Embedder.parse_reply`. Titan tells its count in the body, Bedrock that of all models in a header."""
    try:
        told = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidReplyError(wire_status=wire_status) from error
    return await reply_of(
        told.written,
        request=request,
        model="",
        usage=_read_usage(told.input_text_token_count, header(_COUNT)),
        wire_status=wire_status,
        first_byte_at=first_byte_at,
    )


def _titan(request: Request) -> dict[str, Any]:
    (text,) = request.fields["input"]
    dimensions = request.fields.get("dimensions")
    return {"inputText": text} | ({} if dimensions is None else {"dimensions": dimensions})


def _cohere(request: Request) -> dict[str, Any]:
    """A text that is too long is an error here, and is never cut."""
    fields = request.fields
    wanted, dimensions = fields.get("input_type"), fields.get("dimensions")
    told = {
        "texts": fields["input"],
        "input_type": wanted if wanted in _INPUT_TYPES else _USUAL_INPUT_TYPE,
        "truncate": "NONE",
        "embedding_types": ["float"],
    }
    return told | ({} if dimensions is None else {"output_dimension": dimensions})


def _read_usage(count: int | None, header: str | None) -> Usage | None:
    if count is None and header is not None and header.isascii() and header.isdigit():
        count = int(header[:18])
    return None if count is None else Usage(input_tokens=count)
