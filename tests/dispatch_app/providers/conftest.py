from collections.abc import AsyncIterator

import pytest_asyncio

from dispatch_app.providers.transport import Transport
from sandbox.server import SandboxServer


@pytest_asyncio.fixture
async def sandbox() -> AsyncIterator[SandboxServer]:
    async with SandboxServer(api_key="vendor-secret") as server:
        yield server


@pytest_asyncio.fixture
async def transport() -> AsyncIterator[Transport]:
    async with Transport() as transport:
        yield transport
