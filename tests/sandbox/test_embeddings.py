"""OpenAI's and AWS's own clients ask for embeddings and cannot tell the sandbox from the vendors."""

import json
import math
from collections.abc import Iterator
from contextlib import closing
from operator import mul
from typing import Any

import boto3
import openai
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from google import genai
from openai import AsyncOpenAI

from sandbox.embeddings import vector_of
from sandbox.server import SandboxServer, serve_in_thread
from sandbox.tokens import count_tokens

TEXT = "The food was delicious and the waiter was kind."
TITAN = "amazon.titan-embed-text-v2:0"
COHERE = "cohere.embed-english-v3"
NANOS_A_TOKEN = 20


async def test_a_text_has_one_vector_of_length_one(client: AsyncOpenAI):
    told = await client.embeddings.create(model="sandbox-embedding", input=TEXT)

    (embedding,) = told.data
    assert math.isclose(math.hypot(*embedding.embedding), 1, abs_tol=1e-6)
    assert (embedding.index, len(embedding.embedding), told.model) == (0, 256, "sandbox-embedding")
    assert told.usage.prompt_tokens == told.usage.total_tokens == count_tokens(TEXT)


async def test_base_64_says_the_same_as_numbers(client: AsyncOpenAI):
    """The client asks for base 64 of its own accord, and reads it."""
    packed = await client.embeddings.create(model="sandbox-embedding", input=TEXT)
    plain = await client.embeddings.create(model="sandbox-embedding", input=TEXT, encoding_format="float")

    assert packed.data == plain.data


async def test_texts_with_common_words_are_close(client: AsyncOpenAI):
    texts = [TEXT, "The waiter was kind.", "Interest rates rose in March"]
    vectors = [
        item.embedding
        for item in (await client.embeddings.create(model="sandbox-embedding", input=texts)).data
    ]

    closeness = [sum(map(mul, vectors[0], other)) for other in vectors]
    assert closeness[0] > closeness[1] > closeness[2]


async def test_token_ids_and_fewer_dimensions_are_taken(client: AsyncOpenAI):
    told = await client.embeddings.create(model="sandbox-embedding", input=[[1, 2, 3], [4]], dimensions=8)

    assert [len(item.embedding) for item in told.data] == [8, 8]
    assert told.usage.prompt_tokens == 4


async def test_a_call_is_billed_by_its_tokens(client: AsyncOpenAI, sandbox: SandboxServer):
    await client.embeddings.create(model="sandbox-embedding", input=[TEXT, TEXT])

    (entry,) = sandbox.ledger.entries
    assert (entry.input_tokens, entry.output_tokens) == (2 * count_tokens(TEXT), 0)
    assert entry.cost_nanos == 2 * count_tokens(TEXT) * NANOS_A_TOKEN


@pytest.mark.parametrize(
    "fields",
    [
        {"input": ""},
        {"input": []},
        {"input": [""]},
        {"input": [[]]},
        {"input": TEXT, "dimensions": 1_000},
        {"input": "word " * 9_000},
    ],
)
async def test_what_cannot_be_embedded_is_refused(client: AsyncOpenAI, fields: dict[str, Any]):
    with pytest.raises(openai.BadRequestError):
        await client.embeddings.create(model="sandbox-embedding", **fields)


async def test_models_that_write_do_not_embed_nor_the_other_way(client: AsyncOpenAI):
    with pytest.raises(openai.NotFoundError):
        await client.embeddings.create(model="sandbox-small", input=TEXT)
    with pytest.raises(openai.NotFoundError):
        await client.chat.completions.create(
            model="sandbox-embedding", messages=[{"role": "user", "content": TEXT}]
        )


async def test_a_scripted_fault_befalls_embeddings_too(client: AsyncOpenAI, sandbox: SandboxServer):
    sandbox.script("429", model="sandbox-embedding", times=1)

    with pytest.raises(openai.RateLimitError):
        await client.embeddings.create(model="sandbox-embedding", input=TEXT)
    assert sandbox.ledger.total_nanos == 0


@pytest.fixture(scope="module")
def bedrock() -> Iterator[SandboxServer]:
    with serve_in_thread(SandboxServer(api_key="AKIDEXAMPLE:secret")) as server:
        yield server


@pytest.fixture(scope="module")
def aws(bedrock: SandboxServer) -> Iterator[Any]:
    client = boto3.client(
        "bedrock-runtime",
        endpoint_url=bedrock.origin,
        region_name="us-east-1",
        aws_access_key_id="AKIDEXAMPLE",
        aws_secret_access_key="secret",
        config=Config(retries={"total_max_attempts": 1}),
    )
    with closing(client):
        yield client


def invoke(aws: Any, model: str, **fields: Any) -> tuple[dict[str, Any], dict[str, str]]:
    reply = aws.invoke_model(modelId=model, body=json.dumps(fields))
    with closing(reply["body"]) as body:
        return json.load(body), reply["ResponseMetadata"]["HTTPHeaders"]


def test_titan_embeds_one_text(aws: Any):
    told, headers = invoke(aws, TITAN, inputText=TEXT, dimensions=256)

    assert len(told["embedding"]) == 256
    assert told["embeddingsByType"] == {"float": told["embedding"]}
    assert (
        told["inputTextTokenCount"] == int(headers["x-amzn-bedrock-input-token-count"]) == count_tokens(TEXT)
    )


def test_cohere_embeds_several_texts_and_counts_in_a_header(aws: Any):
    told, headers = invoke(aws, COHERE, texts=[TEXT, "Hello"], input_type="search_document")

    assert [len(vector) for vector in told["embeddings"]] == [1024, 1024]
    assert told["response_type"] == "embeddings_floats"
    assert int(headers["x-amzn-bedrock-input-token-count"]) == count_tokens(TEXT) + count_tokens("Hello")


def test_coheres_next_generation_says_of_which_type_they_are(aws: Any):
    told, _ = invoke(
        aws,
        "global.cohere.embed-v4:0",
        texts=["Hello"],
        input_type="search_query",
        embedding_types=["float"],
        output_dimension=512,
    )

    assert len(told["embeddings"]["float"][0]) == 512


@pytest.mark.parametrize(
    ("model", "fields"),
    [
        (TITAN, {"inputText": TEXT, "dimensions": 300}),
        (TITAN, {"texts": [TEXT]}),
        ("amazon.titan-embed-text-v1", {"inputText": TEXT, "dimensions": 256}),
        (COHERE, {"texts": [TEXT]}),
        (COHERE, {"texts": [TEXT], "input_type": "search_document", "output_dimension": 256}),
        (COHERE, {"texts": ["a"] * 97, "input_type": "search_document"}),
        ("amazon.nova-embed", {"inputText": TEXT}),
    ],
)
def test_what_bedrock_does_not_take_is_refused(aws: Any, model: str, fields: dict[str, Any]):
    with pytest.raises(ClientError) as refused:
        invoke(aws, model, **fields)

    assert refused.value.response["Error"]["Code"] == "ValidationException"


@pytest.fixture(scope="module")
def google(bedrock: SandboxServer) -> Iterator[genai.Client]:
    options = genai.types.HttpOptions(base_url=bedrock.origin)
    with closing(genai.Client(api_key="AKIDEXAMPLE:secret", http_options=options)) as client:
        yield client


def test_googles_client_embeds_a_batch(google: genai.Client):
    contents: Any = [TEXT, "Hello"]

    told = google.models.embed_content(
        model="sandbox-embedding",
        contents=contents,
        config=genai.types.EmbedContentConfig(task_type="RETRIEVAL_QUERY", output_dimensionality=16),
    )

    assert [embedding.values for embedding in told.embeddings or ()] == [
        vector_of(TEXT, 16),
        vector_of("Hello", 16),
    ]


def test_googles_client_is_told_of_a_model_that_does_not_embed(google: genai.Client):
    with pytest.raises(genai.errors.ClientError) as refused:
        google.models.embed_content(model="sandbox-small", contents=TEXT)

    assert refused.value.code == 404
