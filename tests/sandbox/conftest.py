"""A vendor without latency for each test, and OpenAI's own client for it."""

from collections.abc import AsyncIterator

import openai
import pytest

from sandbox.server import SandboxServer
from tests.running_servers import NO_TLS


@pytest.fixture
async def sandbox() -> AsyncIterator[SandboxServer]:
    async with SandboxServer() as server:
        yield server


@pytest.fixture
async def client(sandbox: SandboxServer) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(
        base_url=sandbox.base_url,
        api_key="any",
        max_retries=0,
        http_client=openai.DefaultAsyncHttpxClient(verify=NO_TLS),
    ) as client:
        yield client
