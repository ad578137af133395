"""What others have written around OpenAI's embeddings works with an address alone."""

from typing import Any

import litellm
import pytest
from langchain_openai import OpenAIEmbeddings

from policies_app.models import Credential, Model
from policies_app.routing.codes import Capability
from policies_app.services.credentials import set_provider_secret
from sandbox.embeddings import vector_of
from sandbox.fleet import EMBEDDING
from sandbox.server import SandboxServer
from tests.factories import make_key, make_model, make_policy, make_provider, make_tenant
from tests.running_servers import RunningGateway, attempt_rows, publish

TEXTS = ["The food was delicious.", "Interest rates rose in March."]
EXPECTED = [vector_of(text, 256) for text in TEXTS]


@pytest.fixture
def key(vendor: SandboxServer, gateway: RunningGateway) -> str:
    publish(make_policy("embed", models=[make_embedder(vendor)]))
    key = make_key(make_tenant()).text
    gateway.catch_up()
    return key


def make_embedder(vendor: SandboxServer) -> Model:
    provider = make_provider(base_url=vendor.base_url)
    credential = Credential.objects.create(provider=provider, label="test")
    set_provider_secret(credential=credential, secret="any", author_name="test")
    return make_model(
        "embedder",
        provider=provider,
        wire_name=EMBEDDING.name,
        capabilities=[Capability.EMBEDDINGS],
        max_output_tokens=1,
    )


def test_langchain_embeds_documents_and_queries(key: str, gateway: RunningGateway) -> None:
    secret: Any = key
    embeddings = OpenAIEmbeddings(
        model="embed",
        base_url=f"{gateway.url}/v1",
        api_key=secret,
        max_retries=0,
        # Otherwise it cuts texts by a tokenizer that it downloads.
        check_embedding_ctx_length=False,
    )

    assert embeddings.embed_documents(TEXTS) == EXPECTED
    assert embeddings.embed_query(TEXTS[0]) == EXPECTED[0]


@pytest.mark.filterwarnings("ignore:Items? .* on TypedDict class:UserWarning")
def test_litellm_embeds_and_reads_the_usage(key: str, gateway: RunningGateway) -> None:
    told = litellm.embedding(
        model="openai/embed", input=TEXTS, api_base=f"{gateway.url}/v1", api_key=key, max_retries=0
    )

    assert [item["embedding"] for item in told.data] == EXPECTED
    (attempt,) = attempt_rows()
    assert told.usage.prompt_tokens == attempt["input_tokens"]
