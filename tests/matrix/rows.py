"""Every client, as a row of the matrix."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from policies_app.routing.codes import WireFeature, WireFormat
from tests.matrix.clients import (
    anthropic_messages,
    langchain,
    lite_llm,
    llm_tool,
    openai_chat,
    openai_embeddings,
    openai_responses,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One client. `open_client` is given where the gateway is, and a key.

    Each of `features` asks a model for something, and raises where an answer is not what it should be. `plain` and
    `streamed` only ask, for cells in which something goes wrong; clients that hide what went wrong have none. One that
    `embeds` asks for vectors, and is given a policy that has them.
    """

    name: str
    open_client: Callable[[str, str], AbstractContextManager[Any]]
    features: Mapping[str, Callable[[Any, str], None]]
    plain: Callable[..., Any] | None = None
    streamed: Callable[[Any, str], Any] | None = None
    embeds: bool = False


OFFICIAL: tuple[Row, ...] = (
    Row(
        name="openai, chat",
        open_client=openai_chat.open_client,
        features=openai_chat.FEATURES,
        plain=openai_chat.plain,
        streamed=openai_chat.streamed,
    ),
    Row(
        name="openai, responses",
        open_client=openai_responses.open_client,
        features=openai_responses.FEATURES,
        plain=openai_responses.plain,
        streamed=openai_responses.streamed,
    ),
    Row(
        name="openai, embeddings",
        open_client=openai_embeddings.open_client,
        features=openai_embeddings.FEATURES,
        plain=openai_embeddings.plain,
        embeds=True,
    ),
    Row(
        name="anthropic",
        open_client=anthropic_messages.open_client,
        features=anthropic_messages.FEATURES,
        plain=anthropic_messages.plain,
        streamed=anthropic_messages.streamed,
    ),
)
OTHERS: tuple[Row, ...] = (
    Row(name="langchain", open_client=langchain.open_client, features=langchain.FEATURES),
    Row(
        name="langchain, embeddings",
        open_client=langchain.open_client,
        features=langchain.EMBEDDING_FEATURES,
        embeds=True,
    ),
    Row(name="litellm, openai/", open_client=lite_llm.open_openai, features=lite_llm.FEATURES),
    Row(name="litellm, anthropic/", open_client=lite_llm.open_anthropic, features=lite_llm.FEATURES),
    Row(
        name="litellm, embeddings",
        open_client=lite_llm.open_openai,
        features=lite_llm.EMBEDDING_FEATURES,
        embeds=True,
    ),
    Row(name="llm", open_client=llm_tool.open_tool, features=llm_tool.FEATURES),
)
REFUSED: Mapping[tuple[str, WireFormat], WireFeature] = {
    ("seed", WireFormat.ANTHROPIC_MESSAGES): WireFeature.SEED,
    ("seed", WireFormat.BEDROCK_CONVERSE): WireFeature.SEED,
    ("several choices", WireFormat.ANTHROPIC_MESSAGES): WireFeature.MULTIPLE_CHOICES,
    ("several choices", WireFormat.BEDROCK_CONVERSE): WireFeature.MULTIPLE_CHOICES,
    ("logprobs", WireFormat.ANTHROPIC_MESSAGES): WireFeature.LOGPROBS,
    ("logprobs", WireFormat.BEDROCK_CONVERSE): WireFeature.LOGPROBS,
    ("vision by address", WireFormat.BEDROCK_CONVERSE): WireFeature.IMAGE_URLS,
    ("logprobs", WireFormat.GEMINI): WireFeature.LOGPROBS,
    ("structured output, as a tool", WireFormat.BEDROCK_CONVERSE): WireFeature.SINGLE_TOOL_CALL,
    ("structured output, as a tool", WireFormat.GEMINI): WireFeature.SINGLE_TOOL_CALL,
    ("answer begun", WireFormat.GEMINI): WireFeature.ANSWER_BEGUN,
    ("answer begun", WireFormat.OPENAI_CHAT): WireFeature.ANSWER_BEGUN,
    ("answer begun", WireFormat.AZURE_OPENAI): WireFeature.ANSWER_BEGUN,
    ("token ids", WireFormat.BEDROCK_CONVERSE): WireFeature.TOKENIZED_INPUT,
    ("token ids", WireFormat.GEMINI): WireFeature.TOKENIZED_INPUT,
}
"""What a vendor's format has no words for, and by which name the refusal tells it. Everything else passes, but vectors where a vendor has none."""
