"""One web process: the real admission, executor, breakers and ledger lanes, between a simulated database and fleet.

This is the one place that knows how these are put together.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from uuid import UUID

from dispatch_app.execution.breakers import Breakers
from dispatch_app.execution.dispatcher import Dispatch
from dispatch_app.execution.errors import DispatchError
from dispatch_app.execution.hedge_budget import HedgeBudget
from dispatch_app.execution.order import Order, Ports
from dispatch_app.execution.ports import (
    AttemptRecord,
    BeginVerdict,
    BudgetKey,
    Credential,
    DispatchOutcome,
    DispatchRecord,
    IdempotencyKey,
    Ledger,
    LedgerUnavailableError,
    Settlement,
    Target,
    TargetReport,
    Upstream,
)
from dispatch_app.execution.retry_budget import RetryBudget
from dispatch_app.gateway.admission import Admission, Inputs, decide, order_of
from dispatch_app.gateway.owners import Owners
from dispatch_app.gateway.streaming import Item, StreamQueue
from dispatch_app.ledger.ledger import PostgresLedger
from dispatch_app.snapshot.budget_usage import BudgetUsage
from dispatch_app.snapshot.types import Snapshot
from policies_app.routing.codes import DispatchStatus
from policies_app.routing.types import Candidate, FleetState, RoutePlan
from tests.simulation.chance import Chance
from tests.simulation.clock import WallClock
from tests.simulation.loop import Host, SimulatedLoop, elapse
from tests.simulation.requests import Visitor
from tests.simulation.server import Server


class Watch:
    """Hears of everything that passes between the executor and its ports."""

    def on_begin(self, dispatch: DispatchRecord, attempt: AttemptRecord) -> None: ...
    def on_begun(
        self, dispatch: DispatchRecord, attempt: AttemptRecord, verdict: BeginVerdict | None
    ) -> None: ...
    def on_settle(self, settlement: Settlement) -> None: ...
    def on_finish(self, dispatch: DispatchRecord, outcome: DispatchOutcome) -> None: ...
    def on_answer(self, visitor: Visitor) -> None: ...
    def on_late_part(self, visitor: Visitor) -> None: ...


@dataclass(slots=True, kw_only=True)
class World:
    """What processes share."""

    loop: SimulatedLoop
    server: Server
    upstream: Upstream
    chance: Chance
    watch: Watch
    new_id: Callable[[], UUID]
    hesitation_share: float = 0.0
    """How many of the calls of a port are held up for a moment."""


class WebProcess(Host):
    """Serves visitors until it is stopped, cut off or killed."""

    def __init__(self, name: str, *, world: World, clock: WallClock, snapshot: Snapshot) -> None:
        super().__init__(name)
        self.clock = clock
        self.snapshot = snapshot
        self.owners = Owners()
        self.budget_usage = BudgetUsage()
        self.breakers = Breakers(clock=clock, random=Random(world.chance.random()))
        self.ledger = PostgresLedger(conninfo="", budget_usage=self.budget_usage)
        self.ports = Ports(
            ledger=HesitantLedger(self.ledger, world=world),
            upstream=world.upstream,
            clock=clock,
            new_id=world.new_id,
            retries=RetryBudget(),
            hedges=_saved_up_hedges(),
            health=HesitantHealth(self.breakers, world=world),
            credentials_of=self._credentials_of,
        )
        self.is_stopping = False
        self.visitors: list[Visitor] = []
        self._world = world
        for lane in (self.ledger._begins, self.ledger._settles):
            _connect_to(world.server, lane)

    def boot(self) -> None:
        """Start the lanes."""
        self._world.loop.start(self, self.ledger.start())

    def accept(self, visitor: Visitor) -> None:
        """Take up a request."""
        self.visitors.append(visitor)
        visitor.was_held_up = self.resumes_at > self._world.loop.time()
        self._world.loop.start(self, self._serve(visitor))

    def _credentials_of(self, candidate: Candidate) -> Sequence[Credential]:
        return self.snapshot.credentials_of(candidate)

    def learn(self, snapshot: Snapshot) -> None:
        """Serve from another snapshot from now on, unless a later one is known."""
        if snapshot.epoch > self.snapshot.epoch:
            self.snapshot = snapshot

    def freeze(self, for_s: float) -> None:
        """Run nothing for so long, and then everything that is due."""
        self.resumes_at = max(self.resumes_at, self._world.loop.time() + for_s)
        for visitor in self.visitors:
            visitor.was_held_up = True

    def die(self) -> None:
        """Run nothing any more, and hang up on everybody."""
        self.is_dead = True
        for visitor in self.visitors:
            if not visitor.is_over:
                visitor.was_cut = visitor.connection.is_broken = True
        for lane in (self.ledger._begins, self.ledger._settles):
            if lane._connection is not None:
                lane._connection.break_off()  # type: ignore[attr-defined]

    async def drain(self, *, timeout_s: float) -> None:
        """Stop in good order: what does not end in time is cut."""
        await self.owners.drain(timeout_s=timeout_s)
        await self.ledger.stop()

    async def _serve(self, visitor: Visitor) -> None:
        connection, clock = visitor.connection, self.clock
        visitor.received_at, visitor.taken_at = clock.monotonic(), clock.now()
        try:
            dispatch = await self._admit(visitor)
        except DispatchError as error:
            connection.end(error)
            self._world.watch.on_answer(visitor)
            return
        visitor.dispatch = dispatch
        if visitor.prompt.request.stream:
            await self._stream(visitor, dispatch)
        else:
            await self._complete(visitor, dispatch)

    async def _admit(self, visitor: Visitor) -> Dispatch:
        """As `Exchange.admit` does."""
        now = visitor.taken_at or self.clock.now()
        admission = decide(
            snapshot=self.snapshot,
            budget_usage=self.budget_usage,
            fleet=self._fleet_state(),
            key=self.snapshot.keys[f"key-{visitor.tenant}"],
            prompt=visitor.prompt,
            inputs=Inputs(task=visitor.task, tags={}, timeout_ms=visitor.timeout_ms),
            dispatch_id=visitor.id,
            now=now,
        )
        visitor.admission = admission
        plan = admission.decision.plan
        if plan is None:
            raise await self._refuse(admission, visitor)
        return Dispatch(order=self._order(admission, plan, visitor), ports=self.ports)

    def _order(self, admission: Admission, plan: RoutePlan, visitor: Visitor) -> Order:
        return order_of(
            admission,
            plan=plan,
            received_at=visitor.received_at,
            timeout_ms=visitor.timeout_ms,
            now=visitor.taken_at or self.clock.now(),
        )

    async def _refuse(self, admission: Admission, visitor: Visitor) -> DispatchError:
        refusal = admission.decision.refusal
        if refusal is None:
            raise TypeError("There is neither a plan nor a refusal.")
        error = DispatchError.of_refusal(refusal.code)
        outcome = DispatchOutcome(
            status=DispatchStatus.REFUSED,
            error_code=error.code.value,
            model_id=None,
            provider_id=None,
            baseline_cost_nanos=None,
            total_ms=0,
            first_byte_ms=None,
            overhead_us=0,
            finished_at=self.clock.now(),
        )
        await self.ports.ledger.finish(dispatch=admission.record, outcome=outcome)
        return error

    async def _complete(self, visitor: Visitor, dispatch: Dispatch) -> None:
        connection = visitor.connection
        try:
            connection.end(await asyncio.shield(self.owners.start(self._run_complete(visitor, dispatch))))
        except DispatchError as error:
            connection.end(error)
        except asyncio.CancelledError:
            connection.is_broken = True

    async def _run_complete(self, visitor: Visitor, dispatch: Dispatch) -> "object":
        try:
            return await dispatch.complete()
        except DispatchError:
            raise
        except BaseException as error:
            self._note_failure(visitor, error)
            raise
        finally:
            self._note_end(visitor)

    async def _stream(self, visitor: Visitor, dispatch: Dispatch) -> None:
        queue = WatchedQueue(visitor, self._world.watch)
        self.owners.start(self._run_stream(visitor, dispatch, queue))
        reading = asyncio.create_task(self._read(visitor, queue))
        try:
            async with asyncio.timeout(visitor.manner.hangs_up_after_s):
                await asyncio.shield(reading)
        except TimeoutError:
            reading.cancel()
            visitor.connection.is_broken = True
        finally:
            queue.abandon()

    async def _read(self, visitor: Visitor, queue: StreamQueue) -> None:
        connection = visitor.connection
        while True:
            item = await queue.get(within_s=self._world.chance.one_of(None, 0.5))
            if item is None:
                continue
            if hasattr(item, "choices"):
                connection.receive(item)
            else:
                connection.end(item)
                return
            if visitor.manner.pause_s:
                await asyncio.sleep(visitor.manner.pause_s)

    async def _run_stream(self, visitor: Visitor, dispatch: Dispatch, queue: StreamQueue) -> None:
        """As the gateway's owner of a streamed dispatch does."""
        try:
            queue.end(await dispatch.stream(queue))
        except DispatchError as error:
            queue.end(error)
        except BaseException as error:
            self._note_failure(visitor, error)
            raise
        finally:
            self._note_end(visitor)

    def _note_failure(self, visitor: Visitor, error: BaseException) -> None:
        if isinstance(error, asyncio.CancelledError):
            visitor.was_cut = True
        else:
            visitor.failure = error

    def _note_end(self, visitor: Visitor) -> None:
        visitor.ended_at = self.clock.monotonic()
        self._world.watch.on_answer(visitor)

    def _fleet_state(self) -> FleetState:
        targets, degraded = self.breakers.fleet_health()
        return FleetState(targets=targets, degraded_providers=degraded)


class WatchedQueue(StreamQueue):
    """The gateway's queue; tells of what is put into it when it has its last item."""

    def __init__(self, visitor: Visitor, watch: Watch) -> None:
        super().__init__()
        self._visitor = visitor
        self._watch = watch
        self._is_ended = False

    def offer(self, part: object) -> bool:
        if self._is_ended:
            self._watch.on_late_part(self._visitor)
        return super().offer(part)  # type: ignore[arg-type]

    def end(self, item: Item) -> None:
        self._is_ended = True
        super().end(item)


class HesitantLedger:
    """The process's ledger, watched, and now and then slow to take a call, or unwilling."""

    def __init__(self, ledger: Ledger, *, world: World) -> None:
        self.inner = ledger
        self._world = world

    async def begin(
        self,
        *,
        dispatch: DispatchRecord,
        attempt: AttemptRecord,
        budgets: tuple[BudgetKey, ...],
        key: IdempotencyKey | None = None,
    ) -> BeginVerdict:
        watch = self._world.watch
        watch.on_begin(dispatch, attempt)
        await self._hesitate()
        verdict = None
        try:
            if self._world.chance.hits(self._world.hesitation_share / 10):
                raise LedgerUnavailableError
            verdict = await self.inner.begin(dispatch=dispatch, attempt=attempt, budgets=budgets, key=key)
        finally:
            watch.on_begun(dispatch, attempt, verdict)
        return verdict

    async def settle(self, *, settlement: Settlement) -> bool:
        self._world.watch.on_settle(settlement)
        await self._hesitate()
        return await self.inner.settle(settlement=settlement)

    async def finish(self, *, dispatch: DispatchRecord, outcome: DispatchOutcome) -> bool:
        self._world.watch.on_finish(dispatch, outcome)
        await self._hesitate()
        return await self.inner.finish(dispatch=dispatch, outcome=outcome)

    async def _hesitate(self) -> None:
        if self._world.chance.hits(self._world.hesitation_share):
            await elapse(self._world.chance.span(0.0001, 0.01))


class HesitantHealth:
    """The process's breakers, which now and then say no for no reason."""

    def __init__(self, breakers: Breakers, *, world: World) -> None:
        self.inner = breakers
        self._world = world

    def admits(self, target: Target) -> bool:
        if self._world.chance.hits(self._world.hesitation_share / 5):
            return False
        return self.inner.admits(target)

    def badness(self, target: Target) -> float:
        return self.inner.badness(target)

    def report(self, target: Target, report: TargetReport) -> None:
        self.inner.report(target, report)


def _saved_up_hedges() -> HedgeBudget:
    hedges = HedgeBudget()
    for _ in range(100):
        hedges.count()
    return hedges


def _connect_to(server: Server, lane: object) -> None:
    """Have a lane open its connections to the simulated server."""

    async def connected() -> object:
        if lane._connection is None:  # type: ignore[attr-defined]
            lane._connection = await server.connect()  # type: ignore[attr-defined]
        return lane._connection  # type: ignore[attr-defined]

    lane._connected = connected  # type: ignore[attr-defined]
