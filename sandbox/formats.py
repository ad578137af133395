"""The wire formats that the vendor speaks, and which of them a request is in."""

from collections.abc import Mapping
from typing import Any, Protocol

from sandbox import (
    anthropic,
    azure_embeddings,
    azure_openai,
    bedrock,
    gemini,
    openai_chat,
    openai_embeddings,
)
from sandbox.bedrock import embeddings as bedrock_embeddings
from sandbox.chat import ChatRequest
from sandbox.completion import Completion
from sandbox.embeddings import Embedding, EmbeddingRequest
from sandbox.errors import ApiError
from sandbox.faults import ErrorShape
from sandbox.gemini import embeddings as gemini_embeddings
from sandbox.wire import HttpRequest, Reply


class WireFormat(Protocol):
    """One wire format as pure functions around what they have in common: `ChatRequest` and `Completion`."""

    @property
    def ERROR_SHAPE(self) -> ErrorShape:  # noqa: N802  # a constant of the module
        """How an error is written down where a fault does not say."""

    @property
    def BILLS_CACHE_WRITES(self) -> bool:  # noqa: N802  # a constant of the module
        """Whether tokens that are written to the cache are counted apart, at a price of their own."""

    def authenticate(self, request: HttpRequest, *, api_key: str | None) -> None:
        """Check who calls; with None, whoever shows anything may.

        :raises ApiError: if the request shows no credential, or a wrong one.
        """

    def read_chat(self, request: HttpRequest) -> ChatRequest:
        """Read a request.

        :raises ApiError: if it is not one.
        """

    def caches_prompt(self, request: HttpRequest) -> bool:
        """Whether prefixes of the prompt are looked up in the cache, and kept there."""

    def render_reply(self, completion: Completion, *, usage: Mapping[str, Any] | None) -> Reply:
        """A plain reply. `usage` has OpenAI's names; with None, it reports none."""

    def render_events(
        self, completion: Completion, *, usage: Mapping[str, Any] | None, per_token_ms: float = 0
    ) -> Reply:
        """A streamed reply, an event a piece."""

    def render_refusal(self, error: ApiError) -> Reply:
        """The reply that tells of an error."""


class EmbeddingFormat(Protocol):
    """What a wire format has for embeddings, around `EmbeddingRequest` and `Embedding`; all else is its `WireFormat`'s."""

    def model_of(self, request: HttpRequest) -> str:
        """The vendor's model that is asked.

        :raises ApiError: if there is no such one.
        """

    def read_texts(self, request: HttpRequest) -> EmbeddingRequest:
        """Read a request.

        :raises ApiError: if it is not one.
        """

    def render_vectors(
        self, request: HttpRequest, embedding: Embedding, *, usage: Mapping[str, Any] | None
    ) -> Reply:
        """The reply. `usage` has OpenAI's names; with None, it reports none."""


def embedding_format_of(request: HttpRequest) -> EmbeddingFormat | None:
    """Return how a request asks for embeddings, None if it asks for something else."""
    if bedrock_embeddings.is_embedding(request):
        return bedrock_embeddings
    if gemini_embeddings.is_embedding(request):
        return gemini_embeddings
    if azure_embeddings.is_embedding(request):
        return azure_embeddings
    return openai_embeddings if openai_embeddings.is_embedding(request) else None


def format_of(request: HttpRequest) -> WireFormat:
    """Return the wire format of a request, told by its path."""
    if bedrock.is_converse(request) or bedrock_embeddings.is_embedding(request):
        return bedrock
    if gemini.is_gemini(request):
        return gemini
    if azure_openai.is_azure(request):
        return azure_openai
    return anthropic if anthropic.is_message(request) else openai_chat
