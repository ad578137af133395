"""Callers that leave at any moment, by the ten thousand: what becomes of connections, descriptors and other callers' answers.

Real execution over the real transport, against a sandbox in a process of its own. Every request tells the vendor what to
answer: its own nonce, and nobody else may ever read it.
"""

import asyncio
import contextlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum, auto
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID

import aiohttp
import msgspec

from dispatch_app.execution.canonical import Request, StreamPart
from dispatch_app.execution.dispatcher import Dispatch
from dispatch_app.execution.errors import DispatchError, ErrorCode
from dispatch_app.execution.hedge_budget import HedgeBudget
from dispatch_app.execution.ports import (
    AttemptRecord,
    BeginVerdict,
    BudgetKey,
    DispatchOutcome,
    DispatchRecord,
    IdempotencyKey,
    Settlement,
    Verdict,
)
from dispatch_app.gateway.services import SystemClock
from dispatch_app.providers.transport import Transport
from dispatch_app.providers.upstream import ProviderUpstream
from policies_app.routing.codes import Strategy
from policies_app.routing.types import RoutePlan
from tests.dispatch_app.execution.dispatches import make_dispatch, make_record
from tests.dispatch_app.execution.scripted_upstream import CollectingSink
from tests.dispatch_app.routing_values import ProviderRow, make_candidate, make_facts

ROOT = Path(__file__).resolve().parents[2]
CONCURRENCY = 200
AFTERWARDS = 1_000
AFTERWARDS_AT_ONCE = 50
SETTLING_S = 5.0
WORDS = 6
DEADLINE_S = 20.0
LEAST_STAY_S = 0.001
STAYS = 500
"""The longest stay is so many times the least; each magnitude is as likely as any other."""
STRATEGIES = (Strategy.FAILOVER, Strategy.PARALLEL, Strategy.HEDGED)


@dataclass(frozen=True, slots=True, kw_only=True)
class CancellationFigures:
    """What a run came to. `left_open` is attempts that were never settled though their dispatch went to its end."""

    cancelled: int
    completed: int
    acquired: int
    descriptors: int
    failed_afterwards: int
    mixed: int
    left_open: int
    errors: dict[str, int]
    seconds: float


class _Leaving(Enum):
    """How a caller leaves."""

    TASK = auto()
    """The task that owns the dispatch is cancelled, as at the end of a drain."""
    CLIENT = auto()
    """The client hangs up."""
    NEVER = auto()


@dataclass(slots=True, kw_only=True)
class _Ledger:
    """Implements `Ledger`: admits everything, and remembers what is open, by nonce."""

    open: dict[UUID, UUID] = field(default_factory=dict)

    async def begin(
        self,
        *,
        dispatch: DispatchRecord,
        attempt: AttemptRecord,
        budgets: tuple[BudgetKey, ...],
        key: IdempotencyKey | None = None,
    ) -> BeginVerdict:
        await asyncio.sleep(0)
        self.open[attempt.id] = dispatch.id
        return BeginVerdict(verdict=Verdict.ADMITTED)

    async def settle(self, *, settlement: Settlement) -> bool:
        await asyncio.sleep(0)
        del self.open[settlement.attempt_id]
        return True

    async def finish(self, *, dispatch: DispatchRecord, outcome: DispatchOutcome) -> bool:
        await asyncio.sleep(0)
        return True


@dataclass(slots=True, kw_only=True)
class _Crowd:
    """All callers of one run."""

    upstream: ProviderUpstream
    chance: Random
    ledger: _Ledger = field(default_factory=_Ledger)
    cancelled: int = 0
    completed: int = 0
    mixed: int = 0
    killed: set[UUID] = field(default_factory=set)
    errors: dict[str, int] = field(default_factory=dict)
    hedges: HedgeBudget = field(default_factory=HedgeBudget)

    async def come_and_go(self, cancellations: int) -> None:
        """Keep so many callers at once until so many have left early."""

        async def caller() -> None:
            while self.cancelled < cancellations:
                await self._call(self.chance.choice((_Leaving.TASK, _Leaving.CLIENT, _Leaving.CLIENT)))

        await asyncio.gather(*(caller() for _ in range(CONCURRENCY)))

    async def stay(self, calls: int) -> int:
        """Make so many calls that nobody leaves; return how many of them failed."""
        before = self.completed
        in_flight = asyncio.Semaphore(AFTERWARDS_AT_ONCE)

        async def call() -> None:
            async with in_flight:
                await self._call(_Leaving.NEVER)

        await asyncio.gather(*(call() for _ in range(calls)))
        return calls - (self.completed - before)

    async def _call(self, leaving: _Leaving) -> None:
        nonce = UUID(int=self.chance.getrandbits(128))
        stream = leaving is not _Leaving.TASK or self.chance.random() < 0.5
        sink = CollectingSink(room=10_000)
        dispatch = self._dispatch(nonce, stream=stream)
        work = self._stream(dispatch, sink) if stream else self._complete(dispatch)
        task = asyncio.create_task(work)
        if leaving is not _Leaving.NEVER:
            await asyncio.wait([task], timeout=LEAST_STAY_S * STAYS ** self.chance.random())
            if not task.done():
                self._leave(leaving, task, sink, nonce)
        try:
            said = await task
        except asyncio.CancelledError:
            self.cancelled += 1
            self._compare(sink.text, nonce)
            return
        except DispatchError as error:
            self._count(error)
            self._compare(sink.text, nonce)
            return
        self.completed += 1
        self.mixed += said != _words(nonce)

    def _leave(self, leaving: _Leaving, task: "asyncio.Task[str]", sink: CollectingSink, nonce: UUID) -> None:
        if leaving is _Leaving.CLIENT:
            sink.abandon()
            return
        self.killed.add(nonce)
        task.cancel()

    def _count(self, error: DispatchError) -> None:
        if error.code is ErrorCode.CLIENT_DISCONNECTED:
            self.cancelled += 1
        else:
            self.errors[error.code] = self.errors.get(error.code, 0) + 1

    def _compare(self, said: str, nonce: UUID) -> None:
        """Whatever reached a caller is the beginning of its own answer."""
        self.mixed += not _words(nonce).startswith(said)

    async def _stream(self, dispatch: Dispatch, sink: CollectingSink) -> str:
        tail = await dispatch.stream(sink)
        return sink.text + _text(tail.parts)

    async def _complete(self, dispatch: Dispatch) -> str:
        reply = await dispatch.complete()
        return str(reply.choices[0].message["content"])

    def _dispatch(self, nonce: UUID, *, stream: bool) -> Dispatch:
        strategy = self.chance.choice(STRATEGIES)
        return make_dispatch(
            _plan(strategy),
            request=Request(fields=self._fields(nonce), stream=stream, choices=1),
            ledger=self.ledger,
            upstream=self.upstream,
            order={
                "record": make_record(id=nonce, strategy=strategy, stream=stream),
                "facts": make_facts(output_tokens=2_000),
                "seed": self.chance.getrandbits(62),
            },
            ports={"new_id": lambda: UUID(int=self.chance.getrandbits(128)), "hedges": self.hedges},
        )

    def _fields(self, nonce: UUID) -> dict[str, Any]:
        """A prompt whose answer is its own nonce, after a while and in pieces."""
        fault = {
            "kind": "delay",
            "content": _words(nonce),
            "delay_ms": round(self.chance.uniform(0, 15), 1),
            "chunk_delay_ms": round(self.chance.choice((0, 0.2, 1.0)), 1),
        }
        return {
            "messages": [{"role": "user", "content": nonce.hex}],
            "metadata": {"sandbox": msgspec.json.encode(fault).decode()},
        }


async def run_cancellations(count: int, *, seed: int = 1) -> CancellationFigures:
    """Let `count` callers leave early, then see what is left of them."""
    started_at = time.monotonic()
    with _sandbox_process() as base_url:
        async with Transport() as transport:
            provider = ProviderRow(base_url=base_url, first_byte_timeout_ms=10_000, idle_timeout_ms=10_000)
            upstream = ProviderUpstream(
                transport=transport, find_provider=lambda *_: provider, now=SystemClock().now
            )
            crowd = _Crowd(upstream=upstream, chance=Random(seed))
            await crowd.stay(AFTERWARDS_AT_ONCE)
            connector = _connector(transport)
            descriptors = _descriptors_but_for(connector)
            await crowd.come_and_go(count)
            await _until_released(connector)
            grown = abs(_descriptors_but_for(connector) - descriptors)
            acquired = len(connector._acquired)
            failed = await crowd.stay(AFTERWARDS)
            left_open = sum(dispatch not in crowd.killed for dispatch in crowd.ledger.open.values())
    return CancellationFigures(
        cancelled=crowd.cancelled,
        completed=crowd.completed,
        acquired=acquired,
        descriptors=grown,
        failed_afterwards=failed,
        mixed=crowd.mixed,
        left_open=left_open,
        errors=crowd.errors,
        seconds=time.monotonic() - started_at,
    )


def _connector(transport: Transport) -> aiohttp.BaseConnector:
    session = transport._private.client
    assert isinstance(session, aiohttp.ClientSession)
    assert session.connector is not None
    return session.connector


def _descriptors_but_for(connector: aiohttp.BaseConnector) -> int:
    """Open descriptors of this process, without those of connections that wait to be used again."""
    idle = sum(len(connections) for connections in connector._conns.values())
    return len(os.listdir("/proc/self/fd")) - idle  # noqa: PTH208 - of a folder that changes while it is read


async def _until_released(connector: aiohttp.BaseConnector) -> None:
    """Give sockets the time that closing takes."""
    give_up_at = time.monotonic() + SETTLING_S
    while connector._acquired and time.monotonic() < give_up_at:  # noqa: ASYNC110 - a pool tells nobody
        await asyncio.sleep(0.05)
    await asyncio.sleep(0.2)


@contextlib.contextmanager
def _sandbox_process() -> Iterator[str]:
    """A sandbox without latencies of its own; yields its base URL."""
    command = [sys.executable, "-m", "sandbox", "--port", "0", "--speed", "inf"]
    # It complains of every client that left before it had been sent all.
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        assert process.stdout is not None
        found = re.search(r"http://\S+", process.stdout.readline().decode())
        assert found is not None
        yield f"{found.group()}/v1"
    finally:
        process.terminate()
        process.communicate(timeout=30)


def _plan(strategy: Strategy) -> RoutePlan:
    facts = make_facts(output_tokens=2_000)
    candidates = tuple(
        msgspec.structs.replace(make_candidate(name, number=number, facts=facts), output_tokens_limit=2_000)
        for number, name in enumerate(("small", "mid"), start=1)
    )
    return RoutePlan(
        rule="default",
        strategy=strategy,
        candidates=candidates,
        deadline_ms=int(DEADLINE_S * 1000),
        max_attempts=3,
        hedge_delay_ms=5 if strategy is Strategy.HEDGED else None,
    )


def _words(nonce: UUID) -> str:
    return f"{nonce.hex} " * WORDS


def _text(parts: list[StreamPart]) -> str:
    return "".join(choice.delta.get("content") or "" for part in parts for choice in part.choices)
