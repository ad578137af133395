"""OpenAI's own client for Azure cannot tell the sandbox from Azure."""

from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from openai import AzureOpenAI

from sandbox.faults import Fault, FaultKind
from sandbox.refusals import REFUSALS
from sandbox.server import SandboxServer, serve_in_thread
from tests.running_servers import NO_TLS

API_KEY = "azure-key"
VERSION = "2024-10-21"
CAPITAL: list[Any] = [{"role": "user", "content": "What is the capital of France?"}]
ANSWER = "The capital of France is Paris."
DEPLOYMENT = "sandbox-frontier"


@pytest.fixture(scope="module")
def vendor() -> Iterator[SandboxServer]:
    with serve_in_thread(SandboxServer(api_key=API_KEY)) as server:
        yield server


@pytest.fixture(autouse=True)
def _without_faults(vendor: SandboxServer) -> Iterator[None]:
    yield
    vendor.clear_faults()


@pytest.fixture(scope="module")
def client(vendor: SandboxServer) -> Iterator[AzureOpenAI]:
    with make_client(vendor, api_key=API_KEY) as client:
        yield client


def make_client(vendor: SandboxServer, **shown: Any) -> AzureOpenAI:
    return AzureOpenAI(
        azure_endpoint=vendor.origin,
        api_version=VERSION,
        max_retries=0,
        http_client=openai.DefaultHttpxClient(verify=NO_TLS),
        **shown,
    )


def test_the_deployment_stands_in_the_address_and_the_key_in_its_own_header(
    client: AzureOpenAI, vendor: SandboxServer
) -> None:
    reply = client.chat.completions.create(model=DEPLOYMENT, messages=CAPITAL)

    assert reply.choices[0].message.content == ANSWER
    request = vendor.journal.requests[-1]
    assert request.target == f"/openai/deployments/{DEPLOYMENT}/chat/completions?api-version={VERSION}"
    assert request.header("api-key") == API_KEY
    entry = vendor.ledger.entries[-1]
    assert reply.usage is not None
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens) == (
        entry.input_tokens,
        entry.output_tokens,
    )


def test_the_body_need_not_name_a_model(vendor: SandboxServer) -> None:
    url = f"{vendor.origin}/openai/deployments/{DEPLOYMENT}/chat/completions?api-version={VERSION}"
    reply = httpx.post(url, json={"messages": CAPITAL}, headers={"api-key": API_KEY}, verify=NO_TLS)

    assert reply.json()["model"] == DEPLOYMENT


def test_a_token_of_entra_id_is_as_good_as_a_key(vendor: SandboxServer) -> None:
    with make_client(vendor, azure_ad_token=API_KEY) as client:
        assert client.chat.completions.create(model=DEPLOYMENT, messages=CAPITAL).choices


def test_what_the_filter_found_stands_beside_the_answer(client: AzureOpenAI) -> None:
    """Source: "Content filtering annotations" in the Azure OpenAI guide."""
    reply: Any = client.chat.completions.create(model=DEPLOYMENT, messages=CAPITAL)
    chunks: list[Any] = list(
        client.chat.completions.create(
            model=DEPLOYMENT, messages=CAPITAL, stream=True, stream_options={"include_usage": True}
        )
    )

    assert reply.choices[0].content_filter_results["violence"] == {"filtered": False, "severity": "safe"}
    assert reply.prompt_filter_results[0]["prompt_index"] == 0
    assert (chunks[0].choices, chunks[0].prompt_filter_results) == ([], reply.prompt_filter_results)
    said = [chunk.choices[0] for chunk in chunks if chunk.choices]
    assert "".join(choice.delta.content or "" for choice in said) == ANSWER
    assert said[1].content_filter_results == reply.choices[0].content_filter_results
    assert said[-1].content_filter_results == {}
    assert chunks[-1].usage.completion_tokens == reply.usage.completion_tokens


def test_tools_are_called(client: AzureOpenAI) -> None:
    tool: Any = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}
    reply = client.chat.completions.create(
        model=DEPLOYMENT, messages=CAPITAL, tools=[tool], tool_choice="required"
    )

    assert reply.choices[0].finish_reason == "tool_calls"
    assert [call.function.name for call in reply.choices[0].message.tool_calls or ()] == ["get_weather"]  # type: ignore[union-attr] # it is a function


def test_embeddings_have_deployments_too(client: AzureOpenAI, vendor: SandboxServer) -> None:
    told = client.embeddings.create(
        model="sandbox-embedding", input=["The food was delicious.", "Rates rose."]
    )

    assert [len(item.embedding) for item in told.data] == [256, 256]
    assert vendor.ledger.entries[-1].input_tokens == told.usage.prompt_tokens
    assert vendor.journal.requests[-1].target.startswith("/openai/deployments/sandbox-embedding/embeddings?")


def test_a_wrong_key_is_told_by_its_status(vendor: SandboxServer) -> None:
    with make_client(vendor, api_key="wrong") as client, pytest.raises(openai.AuthenticationError) as raised:
        client.chat.completions.create(model=DEPLOYMENT, messages=CAPITAL)

    assert raised.value.code == "401"
    assert raised.value.type is None


@pytest.mark.parametrize("model", ["nowhere", "sandbox-embedding"])
def test_a_deployment_that_is_none_is_not_found(client: AzureOpenAI, model: str) -> None:
    with pytest.raises(openai.NotFoundError) as raised:
        client.chat.completions.create(model=model, messages=CAPITAL)

    assert raised.value.code == "DeploymentNotFound"


def test_a_version_of_the_api_is_asked_for(vendor: SandboxServer) -> None:
    url = f"{vendor.origin}/openai/deployments/{DEPLOYMENT}/chat/completions"
    reply = httpx.post(url, json={"messages": CAPITAL}, headers={"api-key": API_KEY}, verify=NO_TLS)

    assert (reply.status_code, reply.json()) == (
        404,
        {"error": {"code": "404", "message": "Resource not found"}},
    )


def test_a_prompt_that_is_filtered_is_refused_with_what_was_found(
    client: AzureOpenAI, vendor: SandboxServer
) -> None:
    vendor.script(REFUSALS["content_filter"])

    with pytest.raises(openai.BadRequestError) as raised:
        client.chat.completions.create(model=DEPLOYMENT, messages=CAPITAL)

    error: Any = raised.value.body
    assert (error["code"], error["param"], error["status"]) == ("content_filter", "prompt", 400)
    assert error["innererror"]["code"] == "ResponsibleAIPolicyViolation"
    assert error["innererror"]["content_filter_result"]["violence"]["filtered"] is True


def test_a_limit_of_the_rate_says_when_to_come_back(client: AzureOpenAI, vendor: SandboxServer) -> None:
    vendor.script(Fault(kind=FaultKind.STATUS, status=429, retry_after="7", message="Please retry."))

    with pytest.raises(openai.RateLimitError) as raised:
        client.chat.completions.create(model=DEPLOYMENT, messages=CAPITAL)

    assert raised.value.response.headers["retry-after"] == "7"
    assert raised.value.body == {"code": "429", "message": "Please retry."}
