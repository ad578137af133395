"""Gemini's `batchEmbedContents`, checked as Google checks it."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal
from urllib.parse import unquote

import msgspec
from msgspec import Meta

from sandbox.embeddings import Embedding, EmbeddingRequest
from sandbox.errors import ApiError
from sandbox.fleet import EMBEDDING
from sandbox.gemini.names import camel
from sandbox.wire import HttpRequest, Reply

MOST_DIMENSIONS = 256
_PATH = re.compile(r"/v1(?:beta)?/models/(?P<model>[^/:]+):batchEmbedContents")


class _Part(msgspec.Struct, forbid_unknown_fields=True):
    text: Annotated[str, Meta(min_length=1)]


class _Content(msgspec.Struct, forbid_unknown_fields=True):
    parts: Annotated[list[_Part], Meta(min_length=1)]
    role: str | None = None


class _Asked(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    model: str
    content: _Content
    task_type: Literal["RETRIEVAL_QUERY", "RETRIEVAL_DOCUMENT", "CLASSIFICATION", "CLUSTERING"] | None = None
    output_dimensionality: Annotated[int, Meta(ge=1, le=MOST_DIMENSIONS)] = MOST_DIMENSIONS


class _Batch(msgspec.Struct, forbid_unknown_fields=True):
    requests: Annotated[list[_Asked], Meta(min_length=1, max_length=100)]


def is_embedding(request: HttpRequest) -> bool:
    """Whether a request calls this method."""
    return _PATH.fullmatch(request.path) is not None


def model_of(request: HttpRequest) -> str:
    """The model that is asked.

    :raises ApiError: if there is no such one that embeds.
    """
    called = _PATH.fullmatch(request.path)
    name = "" if called is None else unquote(called["model"])
    if name != EMBEDDING.name:
        message = f"models/{name} is not found, or is not supported for embedContent."
        raise ApiError(status=404, message=message)
    return name


def read_texts(request: HttpRequest) -> EmbeddingRequest:
    """Read a request.

    :raises ApiError: if it is not JSON, or Google would refuse it.
    """
    try:
        batch = msgspec.convert(camel(msgspec.json.decode(request.body)), _Batch)
    except msgspec.DecodeError as error:
        raise ApiError(status=400, message=f"Invalid JSON payload received. {error}") from error
    dimensions = {asked.output_dimensionality for asked in batch.requests}
    if any(asked.model != f"models/{model_of(request)}" for asked in batch.requests) or len(dimensions) > 1:
        raise ApiError(status=400, message="All requests of a batch have to be of one model and one size.")
    texts = ["".join(part.text for part in asked.content.parts) for asked in batch.requests]
    return EmbeddingRequest(texts=texts, dimensions=dimensions.pop())


def render_vectors(_request: HttpRequest, embedding: Embedding, *, usage: Mapping[str, Any] | None) -> Reply:
    """The reply to a request; without `usage`, it reports none."""
    body: dict[str, Any] = {"embeddings": [{"values": vector} for vector in embedding.vectors]}
    if usage is not None:
        body["usageMetadata"] = {"promptTokenCount": usage["prompt_tokens"]}
    return Reply.json(body)
