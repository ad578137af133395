"""What tests of a vendor behind the gateway have in common, whichever it is: what is asked, of whom, and what it came to."""

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest

from policies_app.models import Provider
from sandbox.server import SandboxServer
from tests.factories import Fleet, make_key, make_policy, make_tenant
from tests.running_servers import NO_TLS, RunningGateway, attempt_rows, make_sandbox_fleet, publish

ANSWER = "The capital of France is Paris."
QUESTION: list[Any] = [{"role": "user", "content": "What is the capital of France?"}]
BOTH: list[Any] = [{"role": "user", "content": "Use get_weather and get_time for Paris."}]
CITY = {"type": "object", "properties": {"city": {"type": "string"}}}
TOOLS: list[Any] = [
    {"type": "function", "function": {"name": "get_weather", "parameters": CITY}},
    {"type": "function", "function": {"name": "get_time", "parameters": {"type": "object"}}},
]
OWN_TOOLS: list[Any] = [
    {"name": "get_weather", "input_schema": CITY},
    {"name": "get_time", "input_schema": {"type": "object"}},
]
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


def open_to(provider: Provider) -> tuple[Fleet, str]:
    """The sandbox's models behind a provider, and the key of a tenant whose policy `auto` has the largest of them alone."""
    fleet = make_sandbox_fleet(provider.base_url, provider=provider)
    publish(make_policy("auto", models=[fleet.frontier], baseline_model=fleet.frontier))
    return fleet, make_key(make_tenant()).text


@pytest.fixture
def client(gateway: RunningGateway, key: str) -> openai.OpenAI:
    """OpenAI's client, with the `key` of the module's tenant."""
    return gateway.client(key)


@pytest.fixture
def claude(gateway: RunningGateway, key: str) -> Iterator[anthropic.Anthropic]:
    """Anthropic's client, with the `key` of the module's tenant."""
    http_client = anthropic.DefaultHttpxClient(verify=NO_TLS)
    with anthropic.Anthropic(
        base_url=gateway.url, api_key=key, max_retries=0, timeout=30, http_client=http_client
    ) as client:
        yield client


def cost_nanos() -> int:
    """What the log says that all attempts cost."""
    return sum(int(row["cost_nanos"]) for row in attempt_rows())


def sent(vendor: SandboxServer) -> Any:
    """What the vendor was last sent."""
    return json.loads(vendor.journal.requests[-1].body)
