"""Each wire format's embeddings as the vendors' pages have them."""

import asyncio
import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from google.genai.types import EmbedContentResponse

from dispatch_app.execution.canonical import Operation, Reply, Request
from dispatch_app.execution.errors import InvalidReplyError
from dispatch_app.execution.vectors import numbers_of
from dispatch_app.providers.adapter import Built, adapter_of, dropped_for, embedder_of
from dispatch_app.providers.quirks import adapted, dropped
from dispatch_app.providers.vectors import VECTORS_A_TURN
from policies_app.routing.codes import RefusedParameter, SystemRole, WireFormat
from policies_app.routing.quirks import Quirks
from policies_app.routing.types import Usage
from tests.dispatch_app.providers.golden import golden
from tests.dispatch_app.routing_values import ProviderRow, make_candidate

NOW = datetime(2026, 11, 28, tzinfo=UTC)
FORMATS = (WireFormat.OPENAI_CHAT, WireFormat.GEMINI, WireFormat.BEDROCK_CONVERSE)


def fixtures(kind: str) -> list[Any]:
    return [
        pytest.param(wire_format, *parameter.values, id=f"{wire_format}-{parameter.id}")
        for wire_format in FORMATS
        for parameter in golden(wire_format, kind)
    ]


def a_request(*, texts: int = 1, **fields: Any) -> Request:
    inputs = [f"text {number}" for number in range(texts)]
    return Request(fields={"input": inputs} | fields, stream=False, choices=1, operation=Operation.EMBEDDINGS)


def build(wire_format: WireFormat, request: Request, *, wire_name: str, **provider: Any) -> Built:
    candidate = make_candidate()
    candidate = msgspec.structs.replace(candidate, model=replace(candidate.model, wire_name=wire_name))
    row = ProviderRow(**{"base_url": "https://vendor.example/v1/", "wire_format": wire_format} | provider)
    prepared = adapter_of(wire_format).prepare(row)
    return embedder_of(wire_format).build(request=request, candidate=candidate, prepared=prepared, now=NOW)


async def parse(
    wire_format: WireFormat, told: Any, request: Request, *, headers: dict[str, str] | None = None
) -> Reply:
    return await embedder_of(wire_format).parse_reply(
        told if isinstance(told, bytes) else json.dumps(told).encode(),
        request=request,
        header=lambda name: (headers or {}).get(name.decode()),
        wire_status=200,
        first_byte_at=1.0,
    )


@pytest.mark.parametrize(("wire_format", "fixture"), fixtures("embeddings_requests"))
def test_a_request_is_said_as_the_vendors_page_says(wire_format: WireFormat, fixture: dict[str, Any]) -> None:
    request = msgspec.structs.replace(a_request(), fields=fixture["canonical"])

    built = build(wire_format, request, wire_name=fixture["model"])

    assert json.loads(built.body) == fixture["wire"]


@pytest.mark.parametrize(("wire_format", "fixture"), fixtures("embeddings_replies"))
async def test_a_reply_is_read_as_the_vendors_page_says(
    wire_format: WireFormat, fixture: dict[str, Any]
) -> None:
    request = a_request(texts=fixture["inputs"])

    reply = await parse(wire_format, fixture["wire"], request, headers=fixture.get("headers"))

    canonical = fixture["canonical"]
    assert [numbers_of(vector) for vector in reply.vectors] == canonical["vectors"]
    assert reply.usage == (None if canonical["usage"] is None else Usage(**canonical["usage"]))
    assert (reply.model, reply.choices) == (canonical["model"], [])


@pytest.mark.parametrize("fixture", golden(WireFormat.GEMINI, "embeddings_replies"))
def test_googles_own_types_read_what_is_taken_for_its_replies(fixture: dict[str, Any]) -> None:
    told = EmbedContentResponse.model_validate(fixture["wire"])

    assert [embedding.values for embedding in told.embeddings or ()] == fixture["canonical"]["vectors"]


@pytest.mark.parametrize(
    ("wire_format", "wire_name", "provider", "url"),
    [
        (WireFormat.OPENAI_CHAT, "text-embedding-3-small", {}, "https://vendor.example/v1/embeddings"),
        # learn.microsoft.com, Azure OpenAI in Foundry Models REST API reference, "Embeddings - Create".
        (
            WireFormat.AZURE_OPENAI,
            "my embedder",
            {"base_url": "https://name.openai.azure.com/openai", "api_version": "2024-10-21"},
            "https://name.openai.azure.com/openai/deployments/my%20embedder/embeddings?api-version=2024-10-21",
        ),
        (
            WireFormat.AZURE_OPENAI,
            "my-embedder",
            {"base_url": "https://name.openai.azure.com/openai/v1"},
            "https://name.openai.azure.com/openai/v1/embeddings",
        ),
        (
            WireFormat.GEMINI,
            "gemini-embedding-001",
            {"base_url": "https://generativelanguage.googleapis.com/v1beta"},
            "https://generativelanguage.googleapis.com/v1beta/models/gemini-embedding-001:batchEmbedContents",
        ),
        (
            WireFormat.BEDROCK_CONVERSE,
            "amazon.titan-embed-text-v2:0",
            {"base_url": "https://bedrock-runtime.us-east-1.amazonaws.com"},
            "https://bedrock-runtime.us-east-1.amazonaws.com/model/amazon.titan-embed-text-v2:0/invoke",
        ),
    ],
)
def test_embeddings_have_an_address_of_their_own(
    wire_format: WireFormat, wire_name: str, provider: dict[str, str], url: str
) -> None:
    assert build(wire_format, a_request(), wire_name=wire_name, **provider).url == url


@pytest.mark.parametrize(
    "told",
    [
        b"<html>",
        {"data": []},
        # One of two is missing, comes twice, or comes as another.
        {"data": [{"embedding": [1.0], "index": 0}]},
        {"data": [{"embedding": [1.0], "index": 0}, {"embedding": [1.0], "index": 0}]},
        {"data": [{"embedding": [1.0], "index": 1}, {"embedding": [1.0], "index": 2}]},
        # Of two sizes, of none, of another than was asked for.
        {"data": [{"embedding": [1.0, 1.0], "index": 0}, {"embedding": [1.0], "index": 1}]},
        {"data": [{"embedding": [], "index": 0}, {"embedding": [], "index": 1}]},
        {"data": [{"embedding": [1.0] * 3, "index": 0}, {"embedding": [1.0] * 3, "index": 1}]},
        # No base 64, half a number, not a number, infinite, too large for 32 bits.
        {"data": [{"embedding": "AACAPw=", "index": 0}, {"embedding": "AACAPwAAgD8=", "index": 1}]},
        {"data": [{"embedding": "AACAPwAA", "index": 0}, {"embedding": "AACAPwAA", "index": 1}]},
        {"data": [{"embedding": "AADAfwAAgD8=", "index": 0}, {"embedding": "AACAPwAAgD8=", "index": 1}]},
        {"data": [{"embedding": "AACAfwAAgD8=", "index": 0}, {"embedding": "AACAPwAAgD8=", "index": 1}]},
        {"data": [{"embedding": [None, 0], "index": 0}, {"embedding": [1.0, 0], "index": 1}]},
        {"data": [{"embedding": {}, "index": 0}, {"embedding": [1.0, 0], "index": 1}]},
        {"data": [{"embedding": [1e39, 0], "index": 0}, {"embedding": [1.0, 0], "index": 1}]},
    ],
)
async def test_what_is_not_one_sound_vector_for_each_text_is_an_invalid_reply(told: Any) -> None:
    with pytest.raises(InvalidReplyError):
        await parse(WireFormat.OPENAI_CHAT, told, a_request(texts=2, dimensions=2))


async def test_others_have_their_turn_while_many_vectors_are_read() -> None:
    texts = 5 * VECTORS_A_TURN
    told = {"data": [{"embedding": [0.5, float(index)], "index": index} for index in range(texts)]}
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    other = asyncio.create_task(count_turns())
    reply = await embedder_of(WireFormat.OPENAI_CHAT).parse_reply(
        json.dumps(told).encode(),
        request=a_request(texts=texts),
        header=lambda _name: None,
        wire_status=200,
        first_byte_at=1.0,
    )
    other.cancel()

    assert reply.vectors == [[0.5, float(index)] for index in range(texts)]
    assert turns >= 5


async def test_an_invalid_reply_says_what_was_used_nevertheless() -> None:
    with pytest.raises(InvalidReplyError) as raised:
        await parse(WireFormat.OPENAI_CHAT, {"data": [], "usage": {"prompt_tokens": 5}}, a_request())

    assert raised.value.usage == Usage(input_tokens=5)


@pytest.mark.parametrize(
    ("wire_format", "wire_name", "fields", "names"),
    [
        (WireFormat.OPENAI_CHAT, "text-embedding-3-small", {"input_type": "query", "more": 1}, ()),
        (WireFormat.GEMINI, "gemini-embedding-001", {"input_type": "clustering", "dimensions": 8}, ()),
        (WireFormat.GEMINI, "gemini-embedding-001", {"input_type": "query", "more": 1}, ("input_type", "more")),
        (WireFormat.BEDROCK_CONVERSE, "cohere.embed-v4:0", {"input_type": "search_query"}, ()),
        (WireFormat.BEDROCK_CONVERSE, "cohere.embed-v4:0", {"input_type": "query"}, ("input_type",)),
        (WireFormat.BEDROCK_CONVERSE, "amazon.titan-embed-text-v2:0", {"input_type": "search_query"}, ("input_type",)),
    ],
)  # fmt: skip
def test_what_a_model_is_not_told_is_named(
    wire_format: WireFormat, wire_name: str, fields: dict[str, Any], names: tuple[str, ...]
) -> None:
    model = replace(make_candidate().model, wire_format=wire_format, wire_name=wire_name)

    assert dropped_for(model, a_request(**fields)) == names


def test_what_a_models_row_says_holds_for_its_embeddings() -> None:
    quirks = Quirks(
        system_prefix="Be brief.",
        system_role=SystemRole.USER,
        refused_parameters=frozenset({RefusedParameter.UNKNOWN_FIELDS}),
        fixed_parameters={"truncate": "END"},
    )
    candidate = make_candidate()
    candidate = msgspec.structs.replace(candidate, model=replace(candidate.model, quirks=quirks))
    request = a_request(dimensions=8, more=1)

    prepared = adapter_of(WireFormat.OPENAI_CHAT).prepare(ProviderRow())
    built = embedder_of(WireFormat.OPENAI_CHAT).build(
        request=adapted(request, candidate), candidate=candidate, prepared=prepared, now=NOW
    )

    assert json.loads(built.body) == {
        "model": candidate.model.wire_name,
        "input": ["text 0"],
        "dimensions": 8,
        "encoding_format": "base64",
        "truncate": "END",
    }
    assert dropped(request, candidate) == ("more",)
