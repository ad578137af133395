"""A closed-loop load: so many requests in flight, the next one when the last has its answer."""

import asyncio
import time
from dataclasses import dataclass

import aiohttp


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadResult:
    """What a run saw. Latencies in milliseconds, sorted; `dispatch_ids` of the answers that were acknowledged."""

    in_flight: int
    seconds: float
    latencies_ms: list[float]
    dispatch_ids: list[str]
    failures: int

    @property
    def requests_per_second(self) -> float:
        return len(self.latencies_ms) / self.seconds

    def percentile_ms(self, percent: float) -> float:
        """Nearest-rank percentile."""
        return self.latencies_ms[min(len(self.latencies_ms) - 1, int(len(self.latencies_ms) * percent / 100))]


async def run_load(*, url: str, api_key: str, body: bytes, in_flight: int, requests: int) -> LoadResult:
    """Send `requests` POSTs, `in_flight` at a time, over connections that are kept."""
    latencies_ms: list[float] = []
    dispatch_ids: list[str] = []
    failures = 0
    remaining = requests

    async def caller(session: aiohttp.ClientSession) -> None:
        nonlocal remaining, failures
        while remaining > 0:
            remaining -= 1
            started_at = time.perf_counter()
            async with session.post(url, data=body) as response:
                await response.read()
            latencies_ms.append((time.perf_counter() - started_at) * 1000)
            if response.status == 200:
                dispatch_ids.append(response.headers.get("x-dispatch-id", ""))
            else:
                failures += 1

    headers = {"authorization": f"Bearer {api_key}", "content-type": "application/json"}
    connector = aiohttp.TCPConnector(limit=0, force_close=False)
    timeout = aiohttp.ClientTimeout(total=60)
    async with aiohttp.ClientSession(connector=connector, headers=headers, timeout=timeout) as session:
        started_at = time.perf_counter()
        await asyncio.gather(*(caller(session) for _ in range(in_flight)))
        seconds = time.perf_counter() - started_at
    return LoadResult(
        in_flight=in_flight,
        seconds=seconds,
        latencies_ms=sorted(latencies_ms),
        dispatch_ids=dispatch_ids,
        failures=failures,
    )
