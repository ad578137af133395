"""Callers that tell what they were told, and go elsewhere when a process is gone."""

import asyncio
import contextlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import aiohttp

from tests.running_servers import RunningGateway

PATIENCE_S = 15.0
"""Who has no answer by then counts as hung."""
NANOS = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """How one call went. `cost_nanos` is None where it was not said; times are those of `time.monotonic`.

    `status` is 0 where the process went away, -1 where nothing came in time.
    """

    nonce: str
    started_at: float
    ended_at: float
    status: int
    code: str = ""
    dispatch_id: str = ""
    cost_nanos: int | None = None
    tokens: int | None = None
    is_pending: bool = False
    is_whole: bool = False

    @property
    def is_acknowledged(self) -> bool:
        """Whether the caller has all of its answer."""
        return self.status == 200 and self.is_whole


@dataclass(slots=True, kw_only=True)
class Crowd:
    """Where callers can go. A gateway that is gone is left out by whoever kills it."""

    gateways: list[RunningGateway]
    told: list[Told] = field(default_factory=list)
    is_over: bool = False
    _turn: int = 0
    _served: asyncio.Event = field(default_factory=asyncio.Event)

    def next_gateway(self) -> RunningGateway:
        self._turn += 1
        return self.gateways[self._turn % len(self.gateways)]

    async def until_served(self, *, patience_s: float) -> None:
        """Wait until somebody, from now on, has got an answer; for a while at most."""
        self._served.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience_s):
                await self._served.wait()

    async def call(
        self,
        session: aiohttp.ClientSession,
        key: str,
        body: Mapping[str, object],
        *,
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> Told:
        """Send one request and remember what came of it."""
        url = f"{self.next_gateway().url}/v1/chat/completions"
        told = await _call(session, url, {"authorization": f"Bearer {key}", **headers}, body)
        self.told.append(told)
        if told.status == 200:
            self._served.set()
        return told


def chat(model: str, nonce: str, *, user: str = "", stream: bool = False) -> dict[str, object]:
    """A small request that the vendor's ledger and the log both know by its nonce."""
    return {
        "model": model,
        "messages": [{"role": "user", "content": f"[{nonce}] What is 2 + 3?"}],
        "max_tokens": 16,
        "metadata": {"nonce": nonce},
        **({"user": user} if user else {}),
        **({"stream": True, "stream_options": {"include_usage": True}} if stream else {}),
    }


def session() -> aiohttp.ClientSession:
    """Without a limit of its own."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=PATIENCE_S)
    )


async def _call(
    session: aiohttp.ClientSession, url: str, headers_sent: Mapping[str, str], body: Mapping[str, object]
) -> Told:
    nonce = str(body["metadata"]["nonce"])  # type: ignore[index]
    started_at = time.monotonic()
    status, headers, raw = 0, {}, b""
    try:
        async with session.post(url, json=body, headers=headers_sent) as response:
            headers = response.headers
            raw = await response.read()
            status = response.status
    except TimeoutError:
        status = -1
    except aiohttp.ClientError:
        status = 0
    is_stream = bool(body.get("stream"))
    answer = _documents(raw) if is_stream and status == 200 else [_document(raw)]
    usage = next((part["usage"] for part in reversed(answer) if part.get("usage")), None)
    return Told(
        nonce=nonce,
        started_at=started_at,
        ended_at=time.monotonic(),
        status=status,
        code=str((answer[-1].get("error") or {}).get("code", "")) if answer else "",
        dispatch_id=headers.get("x-dispatch-id", ""),
        cost_nanos=_nanos(headers.get("x-dispatch-cost-usd")),
        tokens=None if usage is None else usage["prompt_tokens"] + usage["completion_tokens"],
        is_pending=headers.get("x-dispatch-settlement") == "pending",
        is_whole=b"data: [DONE]" in raw if is_stream else status == 200,
    )


def _documents(raw: bytes) -> Sequence[dict[str, object]]:
    lines = (line.removeprefix(b"data: ") for line in raw.splitlines() if line.startswith(b"data: {"))
    return [_document(line) for line in lines]


def _document(raw: bytes) -> dict[str, object]:
    try:
        found = json.loads(raw)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _nanos(dollars: str | None) -> int | None:
    if dollars is None:
        return None
    whole, _, fraction = dollars.partition(".")
    return int(whole) * NANOS + int(fraction)
