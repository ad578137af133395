"""A vendor that fails everything for a minute, in virtual time: what our retries add to its trouble, and how soon all is well.

Real routing, execution, breakers and retry budget; the vendor, the ledger and time are made up.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import Random
from uuid import UUID

from dispatch_app.execution.breakers import Breakers
from dispatch_app.execution.canonical import Choice, ChunkChoice, Reply, Request, StreamPart
from dispatch_app.execution.dispatcher import Dispatch
from dispatch_app.execution.errors import DispatchError, ServerFailedError
from dispatch_app.execution.hedge_budget import HedgeBudget
from dispatch_app.execution.ports import (
    AttemptRecord,
    BeginVerdict,
    BudgetKey,
    DispatchOutcome,
    DispatchRecord,
    IdempotencyKey,
    Settlement,
    UpstreamCall,
    Verdict,
)
from dispatch_app.execution.retry_budget import RetryBudget
from policies_app.routing.choose import choose
from policies_app.routing.codes import Strategy
from policies_app.routing.compilation import CompiledPolicy, compile_policy
from policies_app.routing.document import PolicyDocument, RouteDocument, RuleDocument, StepDocument
from policies_app.routing.types import FleetState, RoutePlan, Situation, Usage
from tests.dispatch_app.execution.dispatches import make_dispatch, make_record
from tests.dispatch_app.execution.scripted_upstream import CollectingSink
from tests.dispatch_app.routing_values import make_candidate, make_facts
from tests.simulation.clock import WallClock
from tests.simulation.loop import SimulatedLoop

REQUESTS_A_S = 50
BEFORE_S = 20.0
OUTAGE_S = 60.0
RECOVERY_S = 10.0
EPOCH = datetime(2026, 5, 4, 12, tzinfo=UTC)
USAGE = Usage(input_tokens=10, output_tokens=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class StormFigures:
    """What a storm came to. Amplification is over the outage alone, calls for each request and target that it reached."""

    requests: int
    amplification: float
    most_attempts: int
    failed_in_recovery: float
    failed_before: float
    refused_in_outage: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """One call that the vendor got."""

    dispatch: int
    model: str
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ended:
    """One request and whether it was answered."""

    number: int
    began_at: float
    is_answered: bool


@dataclass(slots=True, kw_only=True)
class _Vendor:
    """Implements `Upstream`: answers after a while, or fails everything."""

    loop: SimulatedLoop
    chance: Random
    calls: list[_Asked] = field(default_factory=list)

    @property
    def is_out(self) -> bool:
        return BEFORE_S <= self.loop.time() < BEFORE_S + OUTAGE_S

    async def complete(self, call: UpstreamCall) -> Reply:
        await self._serve(call)
        return Reply(
            model="vendor",
            choices=[Choice(message={"role": "assistant", "content": "Hi"}, finish_reason="stop")],
            usage=USAGE,
            wire_status=200,
            first_byte_at=self.loop.time(),
        )

    @asynccontextmanager
    async def stream(self, call: UpstreamCall) -> AsyncIterator[AsyncIterator[StreamPart]]:
        await self._serve(call)
        yield self._parts()

    async def _parts(self) -> AsyncIterator[StreamPart]:
        yield StreamPart(model="vendor", choices=[ChunkChoice(delta={"content": "Hi"})], usage=None)
        await asyncio.sleep(0.05)
        yield StreamPart(model="vendor", choices=[ChunkChoice(finish_reason="stop")], usage=USAGE)

    async def _serve(self, call: UpstreamCall) -> None:
        number = int(call.request.fields["messages"][0]["content"])
        self.calls.append(_Asked(dispatch=number, model=call.candidate.model.name, at=self.loop.time()))
        await asyncio.sleep(self.chance.uniform(0.02, 0.4))
        if self.is_out:
            raise ServerFailedError(wire_status=self.chance.choice((500, 502, 503, 529)), is_billable=False)


class _FreeLedger:
    """Implements `Ledger`: admits everything."""

    async def begin(
        self,
        *,
        dispatch: DispatchRecord,
        attempt: AttemptRecord,
        budgets: tuple[BudgetKey, ...],
        key: IdempotencyKey | None = None,
    ) -> BeginVerdict:
        await asyncio.sleep(0.001)
        return BeginVerdict(verdict=Verdict.ADMITTED)

    async def settle(self, *, settlement: Settlement) -> bool:
        await asyncio.sleep(0.001)
        return True

    async def finish(self, *, dispatch: DispatchRecord, outcome: DispatchOutcome) -> bool:
        return True


class _Storm:
    """One process under a steady load."""

    def __init__(self, *, loop: SimulatedLoop, strategy: Strategy, models: Sequence[str], seed: int) -> None:
        self.vendor = _Vendor(loop=loop, chance=Random(seed))
        self.ended: list[_Ended] = []
        self._loop = loop
        self._chance = Random(seed + 1)
        self._policy = _policy(strategy, models)
        self._clock = WallClock(loop=loop, epoch=EPOCH)
        self._breakers = Breakers(clock=self._clock, random=Random(seed + 2))
        self._retries = RetryBudget()
        self._hedges = HedgeBudget()

    async def run(self) -> None:
        """Send requests at an even rate, whatever becomes of those before."""
        running: set[asyncio.Task[None]] = set()
        count = int((BEFORE_S + OUTAGE_S + 2 * RECOVERY_S) * REQUESTS_A_S)
        for number in range(count):
            running.add(asyncio.create_task(self._request(number)))
            await asyncio.sleep(1 / REQUESTS_A_S)
        await asyncio.wait(running)

    async def _request(self, number: int) -> None:
        began_at = self._loop.time()
        is_answered = await self._is_answered(number)
        self.ended.append(_Ended(number=number, began_at=began_at, is_answered=is_answered))

    async def _is_answered(self, number: int) -> bool:
        targets, degraded = self._breakers.fleet_health()
        decision = choose(
            document=self._policy,
            facts=make_facts(),
            situation=Situation(fleet=FleetState(targets=targets, degraded_providers=degraded)),
            now=self._clock.now(),
            seed=number,
        )
        if decision.plan is None:
            return False
        dispatch = self._dispatch(number, decision.plan)
        try:
            if number % 2:
                await dispatch.complete()
            else:
                await dispatch.stream(CollectingSink())
        except DispatchError:
            return False
        return True

    def _dispatch(self, number: int, plan: RoutePlan) -> Dispatch:
        is_streamed = number % 2 == 0
        messages = [{"role": "user", "content": str(number)}]
        return make_dispatch(
            plan,
            request=Request(fields={"messages": messages}, stream=is_streamed, choices=1),
            ledger=_FreeLedger(),
            upstream=self.vendor,
            order={
                "record": make_record(id=UUID(int=number), created_at=self._clock.now(), stream=is_streamed),
                "seed": number,
            },
            ports={
                "clock": self._clock,
                "new_id": lambda: UUID(int=self._chance.getrandbits(128)),
                "retries": self._retries,
                "hedges": self._hedges,
                "health": self._breakers,
            },
        )


def run_storm(*, strategy: Strategy, models: Sequence[str], seed: int = 1) -> StormFigures:
    """Let one storm pass. The same arguments give the same figures."""
    loop = SimulatedLoop(Random(seed))
    storm = _Storm(loop=loop, strategy=strategy, models=models, seed=seed)
    try:
        loop.run_until_complete(storm.run())
    finally:
        loop.close()
    return _figures(storm)


def _figures(storm: _Storm) -> StormFigures:
    healed_at = BEFORE_S + OUTAGE_S
    in_outage = [call for call in storm.vendor.calls if BEFORE_S <= call.at < healed_at]
    reached = {(call.dispatch, call.model) for call in in_outage}
    asked = {call.dispatch for call in storm.vendor.calls}
    began_in_outage = [ended for ended in storm.ended if BEFORE_S <= ended.began_at < healed_at]
    return StormFigures(
        requests=len(storm.ended),
        amplification=len(in_outage) / len(reached),
        most_attempts=max(Counter(call.dispatch for call in storm.vendor.calls).values()),
        failed_in_recovery=_failed(storm.ended, since=healed_at, until=healed_at + RECOVERY_S),
        failed_before=_failed(storm.ended, since=0.0, until=BEFORE_S - 1),
        refused_in_outage=sum(ended.number not in asked for ended in began_in_outage) / len(began_in_outage),
    )


def _failed(ended: Sequence[_Ended], *, since: float, until: float) -> float:
    """The share of the requests of a time that were not answered."""
    those = [one for one in ended if since <= one.began_at < until]
    return sum(not one.is_answered for one in those) / len(those)


def _policy(strategy: Strategy, models: Sequence[str]) -> CompiledPolicy:
    route = RouteDocument(
        strategy=strategy,
        steps=tuple(StepDocument(model=name) for name in models),
        allow_dearer_fallback=True,
    )
    document = PolicyDocument(
        name="auto", rules=(RuleDocument(name="default", is_default=True, route=route),)
    )
    catalogue = {
        name: make_candidate(name, number=number, provider_id=number).model
        for number, name in enumerate(models, start=1)
    }
    return compile_policy(document=document, version=1, catalogue=catalogue)
