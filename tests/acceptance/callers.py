"""Many callers at once, and what each was told."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

import aiohttp

from tests.running_servers import RunningGateway


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """One answer: what a caller knows of its request. Times are those of `time.monotonic`."""

    started_at: float
    status: int
    dispatch_id: str
    model: str
    code: str


async def call(
    session: aiohttp.ClientSession, gateway: RunningGateway, key: str, **body: object
) -> Told | None:
    """Send one request; None when the process was gone before it answered."""
    request = {
        "model": "auto",
        "messages": [{"role": "user", "content": "What is 2 + 3?"}],
        "max_tokens": 20,
    } | body
    started_at = time.monotonic()
    try:
        async with session.post(
            f"{gateway.url}/v1/chat/completions", json=request, headers={"authorization": f"Bearer {key}"}
        ) as response:
            answer = await response.json()
    except aiohttp.ClientError:
        return None
    return Told(
        started_at=started_at,
        status=response.status,
        dispatch_id=response.headers.get("x-dispatch-id", ""),
        model=response.headers.get("x-dispatch-model", ""),
        code=answer.get("error", {}).get("code", ""),
    )


def call_at_once(gateways: Sequence[RunningGateway], key: str, *, callers: int, **body: object) -> list[Told]:
    """So many callers, each with one request, spread over the processes."""

    async def all_of_them() -> list[Told | None]:
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector) as session:
            return await asyncio.gather(
                *(call(session, gateways[n % len(gateways)], key, **body) for n in range(callers))
            )

    return [told for told in asyncio.run(all_of_them()) if told is not None]


class Load:
    """Callers that go on until they are told to stop; runs in the event loop of the test."""

    def __init__(self, gateways: Sequence[RunningGateway], key: str, *, callers: int) -> None:
        self.told: list[Told] = []
        self._gateways = gateways
        self._key = key
        self._callers = callers
        self._is_over = False

    async def __aenter__(self) -> "Load":
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        self._tasks = [
            asyncio.create_task(self._go_on(self._gateways[n % len(self._gateways)]))
            for n in range(self._callers)
        ]
        return self

    async def __aexit__(self, *raised: object) -> None:
        self._is_over = True
        await asyncio.gather(*self._tasks)
        await self._session.close()

    async def _go_on(self, gateway: RunningGateway) -> None:
        while not self._is_over:
            told = await call(self._session, gateway, self._key)
            if told is None:
                return
            self.told.append(told)
