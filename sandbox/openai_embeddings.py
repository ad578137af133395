"""OpenAI's embeddings, as the vendor speaks them."""

from base64 import b64encode
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from sandbox.embeddings import Embedding, EmbeddingRequest, Text, pack
from sandbox.errors import ApiError
from sandbox.fleet import EMBEDDING
from sandbox.wire import HttpRequest, Reply

MOST_DIMENSIONS = 256
_MOST_TEXTS = 2_048


class _Request(msgspec.Struct):
    input: str | list[Any]
    model: str = ""
    dimensions: Annotated[int, Meta(ge=1, le=MOST_DIMENSIONS)] = MOST_DIMENSIONS
    encoding_format: Literal["float", "base64"] = "float"


_decode = msgspec.json.Decoder(_Request).decode


def is_embedding(request: HttpRequest) -> bool:
    """Whether a request asks for embeddings in this format."""
    return request.path.endswith("/embeddings")


def model_of(request: HttpRequest) -> str:
    """The model that is asked.

    :raises ApiError: if there is no such one that embeds.
    """
    name = _read(request).model
    if name != EMBEDDING.name:
        raise ApiError(
            status=404,
            message=f"The model `{name}` does not exist or does not embed.",
            code="model_not_found",
        )
    return name


def read_texts(request: HttpRequest) -> EmbeddingRequest:
    """Read a request.

    :raises ApiError: if it is not one.
    """
    asked = _read(request)
    return EmbeddingRequest(texts=_texts(asked.input), dimensions=asked.dimensions)


def render_vectors(request: HttpRequest, embedding: Embedding, *, usage: Mapping[str, Any] | None) -> Reply:
    """The reply to a request; without `usage`, it reports none."""
    is_packed = _read(request).encoding_format == "base64"
    body: dict[str, Any] = {
        "object": "list",
        "data": [
            {
                "object": "embedding",
                "index": index,
                "embedding": b64encode(pack(vector)).decode() if is_packed else vector,
            }
            for index, vector in enumerate(embedding.vectors)
        ],
        "model": embedding.model.name,
    }
    if usage is not None:
        body["usage"] = {"prompt_tokens": usage["prompt_tokens"], "total_tokens": usage["prompt_tokens"]}
    return Reply.json(body, headers=(("x-request-id", f"req_{embedding.id}"),))


def _read(request: HttpRequest) -> _Request:
    try:
        return _decode(request.body)
    except msgspec.DecodeError as error:
        raise ApiError(status=400, message=f"Invalid request: {error}") from error


def _texts(told: str | list[Any]) -> list[Text]:
    texts: Any = [told] if isinstance(told, str) or (told and isinstance(told[0], int)) else told
    are_written = bool(texts) and isinstance(texts[0], str)
    kind: Any = list[str] if are_written else list[tuple[int, ...]]
    try:
        read: list[Text] = msgspec.convert(texts, kind)
    except msgspec.ValidationError as error:
        raise _invalid() from error
    if not read or not all(read) or len(read) > _MOST_TEXTS:
        raise _invalid()
    return read


def _invalid() -> ApiError:
    return ApiError(status=400, message="'$.input' is invalid.", param="input")
