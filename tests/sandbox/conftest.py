"""A vendor without latency for each test, and OpenAI's own client for it."""

from collections.abc import AsyncIterator

import openai
import pytest

from sandbox.server import SandboxServer


@pytest.fixture
async def sandbox() -> AsyncIterator[SandboxServer]:
    async with SandboxServer() as server:
        yield server


@pytest.fixture
async def client(sandbox: SandboxServer) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=sandbox.base_url, api_key="any", max_retries=0) as client:
        yield client
