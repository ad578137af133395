"""InvokeModel of the models that embed: Amazon's Titan and Cohere, each in its own words, checked as Bedrock checks them."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal
from urllib.parse import unquote

import msgspec
from msgspec import Meta

from sandbox.embeddings import Embedding, EmbeddingRequest
from sandbox.errors import ApiError
from sandbox.fleet import EMBEDDING
from sandbox.wire import HttpRequest, Reply

_PATH = re.compile(r"/model/([^/]+)/invoke")


class _TitanV1(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    input_text: Annotated[str, Meta(min_length=1)]

    def as_request(self) -> EmbeddingRequest:
        return EmbeddingRequest(texts=[self.input_text], dimensions=1_536)


class _TitanV2(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    input_text: Annotated[str, Meta(min_length=1)]
    dimensions: Literal[256, 512, 1024] = 1024
    normalize: bool = True
    embedding_types: list[Literal["float"]] | None = None

    def as_request(self) -> EmbeddingRequest:
        return EmbeddingRequest(texts=[self.input_text], dimensions=self.dimensions)


class _CohereV3(msgspec.Struct, forbid_unknown_fields=True):
    texts: Annotated[list[str], Meta(min_length=1, max_length=96)]
    input_type: Literal["search_document", "search_query", "classification", "clustering"]
    truncate: Literal["NONE", "START", "END"] = "NONE"
    embedding_types: list[Literal["float"]] | None = None

    def as_request(self) -> EmbeddingRequest:
        return EmbeddingRequest(texts=self.texts, dimensions=1_024)


class _CohereV4(msgspec.Struct, forbid_unknown_fields=True):
    texts: Annotated[list[str], Meta(min_length=1, max_length=96)]
    input_type: Literal["search_document", "search_query", "classification", "clustering"]
    truncate: Literal["NONE", "LEFT", "RIGHT"] = "NONE"
    embedding_types: list[Literal["float"]] | None = None
    output_dimension: Literal[256, 512, 1024, 1536] = 1536

    def as_request(self) -> EmbeddingRequest:
        return EmbeddingRequest(texts=self.texts, dimensions=self.output_dimension)


_Asked = _TitanV1 | _TitanV2 | _CohereV3 | _CohereV4
_MODELS: Mapping[str, type[_Asked]] = {
    "amazon.titan-embed-text-v1": _TitanV1,
    "amazon.titan-embed-text-v2:0": _TitanV2,
    "cohere.embed-english-v3": _CohereV3,
    "cohere.embed-multilingual-v3": _CohereV3,
    "cohere.embed-v4:0": _CohereV4,
}


def is_embedding(request: HttpRequest) -> bool:
    """Whether a request is for InvokeModel; the vendor's other models answer to Converse only."""
    return _PATH.fullmatch(request.path) is not None


def model_of(request: HttpRequest) -> str:
    """The vendor's model behind the one that is asked, which is the same for all.

    :raises ApiError: if there is no such one.
    """
    _asked_kind(request)
    return EMBEDDING.name


def read_texts(request: HttpRequest) -> EmbeddingRequest:
    """Read a request.

    :raises ApiError: if it is not JSON, or Bedrock would refuse it.
    """
    return _read(request).as_request()


def render_vectors(request: HttpRequest, embedding: Embedding, *, usage: Mapping[str, Any] | None) -> Reply:
    """The reply to a request; without `usage`, it reports none."""
    asked = _read(request)
    count = None if usage is None else usage["prompt_tokens"]
    headers = () if count is None else (("x-amzn-bedrock-input-token-count", str(count)),)
    if isinstance(asked, _TitanV1 | _TitanV2):
        (vector,) = embedding.vectors
        body: dict[str, Any] = {"embedding": vector} | (
            {} if count is None else {"inputTextTokenCount": count}
        )
        if isinstance(asked, _TitanV2):
            body["embeddingsByType"] = {"float": vector}
    else:
        is_by_type = asked.embedding_types is not None
        body = {
            "id": embedding.id,
            "texts": asked.texts,
            "response_type": "embeddings_by_type" if is_by_type else "embeddings_floats",
            "embeddings": {"float": embedding.vectors} if is_by_type else embedding.vectors,
        }
    return Reply.json(body, headers=(("x-amzn-requestid", embedding.id), *headers))


def _read(request: HttpRequest) -> _Asked:
    try:
        return msgspec.json.decode(request.body, type=_asked_kind(request))
    except msgspec.DecodeError as error:
        raise ApiError(
            status=400, message=f"Malformed input request: {error}", code="ValidationException"
        ) from error


def _asked_kind(request: HttpRequest) -> type[_Asked]:
    _, _, escaped, _ = request.path.split("/")
    model = re.sub(r"^(us|eu|global)\.", "", unquote(escaped).rpartition("/")[2])
    kind = _MODELS.get(model)
    if kind is None:
        message = "The provided model identifier is invalid."
        raise ApiError(status=400, message=message, code="ValidationException")
    return kind
