"""Carries out a plan: attempts in order inside one envelope of time, money and tries.

Every attempt is begun in the ledger before a byte leaves and settled once, whatever became of it. Plain and streamed
dispatches take the same way; they differ only in how one attempt is performed.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Generic, TypeVar

from dispatch_app.execution.attempt import PastAttempt, RunningAttempt
from dispatch_app.execution.canonical import Reply, Request, StreamPart
from dispatch_app.execution.errors import (
    ClientGoneError,
    DeadlineExceededError,
    DispatchError,
    ErrorCode,
    UpstreamError,
)
from dispatch_app.execution.forwarding import Forwarding
from dispatch_app.execution.ports import (
    AttemptRecord,
    BeginVerdict,
    BudgetKey,
    Clock,
    DispatchOutcome,
    DispatchRecord,
    IdSource,
    Ledger,
    LedgerUnavailableError,
    Settlement,
    Sink,
    Upstream,
    UpstreamCall,
    Verdict,
)
from dispatch_app.execution.retry_budget import RetryBudget
from dispatch_app.execution.settlement import Charge, charge_fault, charge_reply
from dispatch_app.execution.targets import Targets
from policies_app.routing.codes import AttemptState, DispatchStatus, FaultClass, RefusalCode
from policies_app.routing.money import cost_nanos
from policies_app.routing.types import Candidate, Facts, Price, RoutePlan, Usage

EXPIRY_MARGIN = timedelta(seconds=60)
"""How long after its deadline an unsettled attempt counts as lost."""

ResultT = TypeVar("ResultT")


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """An authorised and decided request. `received_at` and `deadline_at` are on the clock of the event loop."""

    record: DispatchRecord
    request: Request
    facts: Facts
    plan: RoutePlan
    budgets: tuple[BudgetKey, ...]
    baseline: Price | None
    received_at: float
    deadline_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamTail:
    """What is left of a stream when it is complete: the parts that were held back until it was settled."""

    parts: list[StreamPart]
    usage: Usage | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Performed(Generic[ResultT]):
    """An attempt that succeeded."""

    result: ResultT
    usage: Usage | None
    model: str
    wire_status: int
    first_byte_at: float


@dataclass(slots=True, kw_only=True)
class Progress:
    """How far a dispatch has come: what its answer's headers say, whether it succeeds or not."""

    attempts: int = 0
    candidate: Candidate | None = None
    cost_nanos: int = 0
    usage: Usage | None = None
    is_estimated: bool = False
    is_settled: bool = True
    upstream_s: float = 0.0
    past: list[PastAttempt] = field(default_factory=list)

    @property
    def model_name(self) -> str:
        """The model that is answering, empty before the first attempt."""
        return "" if self.candidate is None else self.candidate.model.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """What the dispatcher needs of the world outside."""

    ledger: Ledger
    upstream: Upstream
    clock: Clock
    new_id: IdSource
    retries: RetryBudget


class Dispatch:
    """One dispatch. Call `complete` or `stream`, once; `progress` is true at any time."""

    def __init__(self, *, order: Order, ports: Ports) -> None:
        self.order = order
        self.progress = Progress()
        self._ports = ports
        self._targets = Targets(plan=order.plan)
        self._error: DispatchError | None = None
        self._first_byte_at: float | None = None
        self._last_usage = Usage()
        self._sink: Sink | None = None
        self._is_committed = False
        self._is_ended = False

    async def complete(self) -> Reply:
        """Return the first good reply.

        :raises DispatchError: if no attempt gave one, or none was admitted.
        """
        return await self._run(self._complete_once)

    async def stream(self, sink: Sink) -> StreamTail:
        """Forward the first good stream to `sink`; return its end, which may be sent now that it is settled.

        :raises DispatchError: if there was no good one, or the one that was being forwarded broke off.
        """

        async def perform(attempt: RunningAttempt) -> _Performed[StreamTail]:
            return await self._stream_once(attempt, sink)

        self._sink = sink
        return await self._run(perform)

    async def _run(self, perform: Callable[[RunningAttempt], Awaitable[_Performed[ResultT]]]) -> ResultT:
        while (candidate := self._next_candidate()) is not None:
            attempt = await self._begin(candidate)
            if attempt is None:
                continue
            try:
                performed = await perform(attempt)
            except UpstreamError as error:
                await self._settle_fault(attempt, error)
                continue
            await self._settle_success(attempt, performed)
            return performed.result
        raise await self._give_up()

    def _next_candidate(self) -> Candidate | None:
        """Whom to ask next, None if the envelope or the candidates are used up."""
        if self._is_ended or self.progress.attempts >= self.order.plan.max_attempts:
            return None
        if self._is_abandoned:
            self._error = ClientGoneError().as_dispatch_error()
            return None
        if self._ports.clock.monotonic() >= self.order.deadline_at:
            self._error = DeadlineExceededError().as_dispatch_error()
            return None
        return self._targets.take()

    async def _begin(self, candidate: Candidate) -> RunningAttempt | None:
        """Have an attempt admitted; None if the ledger refused this candidate."""
        attempt = self._new_attempt(candidate)
        try:
            verdict = await self._ports.ledger.begin(
                dispatch=self.order.record, attempt=attempt.record, budgets=self.order.budgets
            )
        except LedgerUnavailableError as error:
            raise await self._lose_ledger(error) from error
        if verdict.verdict is not Verdict.ADMITTED:
            self._refuse(candidate, verdict)
            return None
        self.progress.attempts += 1
        self.progress.candidate = candidate
        attempt.started_at = self._ports.clock.monotonic()
        return attempt

    def _new_attempt(self, candidate: Candidate) -> RunningAttempt:
        clock = self._ports.clock
        now, started_at = clock.now(), clock.monotonic()
        deadline_at = self.order.deadline_at
        if candidate.timeout_ms is not None:
            deadline_at = min(deadline_at, started_at + candidate.timeout_ms / 1000)
        record = AttemptRecord(
            id=self._ports.new_id(),
            created_at=now,
            position=self.progress.attempts + 1,
            role=self._targets.role,
            model_id=candidate.model.id,
            provider_id=candidate.model.provider_id,
            price_id=candidate.price.id,
            reserved_nanos=candidate.bound_nanos,
            expires_at=now + timedelta(seconds=deadline_at - started_at) + EXPIRY_MARGIN,
            start_offset_ms=_milliseconds(started_at - self.order.received_at),
            is_first=self.progress.attempts == 0,
        )
        return RunningAttempt(
            record=record, candidate=candidate, started_at=started_at, deadline_at=deadline_at
        )

    def _refuse(self, candidate: Candidate, verdict: BeginVerdict) -> None:
        """Note why a candidate was not admitted. A smaller one may still fit the budget, another escape the switch."""
        if verdict.verdict is Verdict.OVER_BUDGET:
            self._targets.forbid_bounds_from(candidate.bound_nanos)
            self._error = DispatchError.of_refusal(RefusalCode.INSUFFICIENT_QUOTA)
        else:
            self._error = DispatchError.of_refusal(RefusalCode.KILLED)

    async def _complete_once(self, attempt: RunningAttempt) -> _Performed[Reply]:
        reply = await self._ports.upstream.complete(self._call(attempt))
        return _Performed(
            result=reply,
            usage=reply.usage,
            model=reply.model,
            wire_status=reply.wire_status,
            first_byte_at=reply.first_byte_at,
        )

    async def _stream_once(self, attempt: RunningAttempt, sink: Sink) -> _Performed[StreamTail]:
        """Forward parts as they come, from the moment that every choice is finished keep them for the tail."""
        forwarding = Forwarding(
            attempt=attempt, sink=sink, clock=self._ports.clock, choices=self.order.request.choices
        )
        try:
            async with forwarding, self._ports.upstream.stream(self._call(attempt)) as parts:
                async for part in parts:
                    await forwarding.take(part)
        except UpstreamError as error:
            error.usage = error.usage or forwarding.usage
            raise
        finally:
            self._is_committed = forwarding.has_forwarded
            self._first_byte_at = attempt.first_byte_at
        return _Performed(
            result=StreamTail(parts=forwarding.held_back, usage=forwarding.usage),
            usage=forwarding.usage,
            model=forwarding.model,
            wire_status=200,
            first_byte_at=attempt.first_byte_at or self._ports.clock.monotonic(),
        )

    def _call(self, attempt: RunningAttempt) -> UpstreamCall:
        return UpstreamCall(
            request=self.order.request, candidate=attempt.candidate, deadline_at=attempt.deadline_at
        )

    async def _settle_success(self, attempt: RunningAttempt, performed: _Performed[ResultT]) -> None:
        charge = charge_reply(usage=performed.usage, candidate=attempt.candidate, facts=self.order.facts)
        attempt.first_byte_at = performed.first_byte_at
        self._first_byte_at = performed.first_byte_at
        self._error = None
        self._ports.retries.earn()
        await self._settle(
            attempt,
            charge=charge,
            status=DispatchStatus.SUCCEEDED,
            wire_status=performed.wire_status,
            model=performed.model,
        )

    async def _settle_fault(self, attempt: RunningAttempt, error: UpstreamError) -> None:
        """Charge a failed attempt, and end the dispatch with it unless there is somewhere to go on."""
        received_bytes = None if self.order.request.may_think else attempt.received_bytes
        charge = charge_fault(
            error=error, candidate=attempt.candidate, facts=self.order.facts, received_bytes=received_bytes
        )
        self._error = error.as_dispatch_error()
        await self._settle(
            attempt,
            charge=charge,
            status=None if self._goes_on(attempt, error) else _status_of(error),
            wire_status=error.wire_status,
            fault=error.fault,
        )

    def _goes_on(self, attempt: RunningAttempt, error: UpstreamError) -> bool:
        if (
            self._is_committed
            or not error.fails_over
            or self.progress.attempts >= self.order.plan.max_attempts
        ):
            return False
        now = self._ports.clock.monotonic()
        if now >= self.order.deadline_at:
            return False
        if self._targets.has_more:
            return True
        return error.is_retryable and self._targets.retry(
            attempt.candidate, budget=self._ports.retries, now=now
        )

    async def _settle(
        self,
        attempt: RunningAttempt,
        *,
        charge: Charge,
        status: DispatchStatus | None,
        wire_status: int | None,
        fault: FaultClass | None = None,
        model: str = "",
    ) -> None:
        """Post an attempt; with a status, end the dispatch by it."""
        ended_at = self._ports.clock.monotonic()
        self._count(charge, upstream_s=ended_at - attempt.started_at)
        first_byte_at = attempt.first_byte_at
        settlement = Settlement(
            attempt_id=attempt.record.id,
            attempt_created_at=attempt.record.created_at,
            state=AttemptState.VOIDED if fault is FaultClass.UNREACHABLE else AttemptState.SETTLED,
            wire_status=wire_status,
            fault=fault,
            response_model=model,
            usage=charge.usage,
            cost_nanos=charge.cost_nanos,
            estimated=charge.estimated,
            cold=False,
            latency_ms=_milliseconds(ended_at - attempt.started_at),
            first_byte_ms=None
            if first_byte_at is None
            else _milliseconds(first_byte_at - attempt.started_at),
            settled_at=self._ports.clock.now(),
            outcome=None if status is None else self._outcome(status, attempt.candidate),
        )
        past = PastAttempt(record=attempt.record, candidate=attempt.candidate, settlement=settlement)
        self.progress.past.append(past)
        self._is_ended = status is not None
        is_settled = await self._ports.ledger.settle(settlement=settlement)
        self.progress.is_settled = self.progress.is_settled and is_settled

    def _count(self, charge: Charge, *, upstream_s: float) -> None:
        progress = self.progress
        self._last_usage = charge.usage
        progress.cost_nanos += charge.cost_nanos
        progress.usage = None if charge.estimated else charge.usage
        progress.is_estimated = progress.is_estimated or charge.estimated
        progress.upstream_s += upstream_s

    async def _give_up(self) -> DispatchError:
        """The error to raise; a dispatch that no settlement has ended is ended here."""
        error = self._error or DispatchError.of_refusal(RefusalCode.NO_TARGET_AVAILABLE)
        self._error = error
        if not self._is_ended:
            await self._finish(self._status_of_giving_up())
        return error

    def _status_of_giving_up(self) -> DispatchStatus:
        if self._is_abandoned:
            return DispatchStatus.CLIENT_DISCONNECTED
        return DispatchStatus.FAILED if self.progress.attempts else DispatchStatus.REFUSED

    @property
    def _is_abandoned(self) -> bool:
        return self._sink is not None and self._sink.is_abandoned

    async def _lose_ledger(self, cause: LedgerUnavailableError) -> DispatchError:
        error = DispatchError(
            status=503, code=ErrorCode.LEDGER_UNAVAILABLE, retry_after_s=cause.retry_after_s
        )
        if self.progress.attempts:
            self._error = error
            await self._finish(DispatchStatus.FAILED)
        return error

    async def _finish(self, status: DispatchStatus) -> None:
        self._is_ended = True
        outcome = self._outcome(status, self.progress.candidate)
        is_settled = await self._ports.ledger.finish(dispatch=self.order.record, outcome=outcome)
        self.progress.is_settled = self.progress.is_settled and is_settled

    def _outcome(self, status: DispatchStatus, candidate: Candidate | None) -> DispatchOutcome:
        total_s = self._ports.clock.monotonic() - self.order.received_at
        first_byte_at = self._first_byte_at
        return DispatchOutcome(
            status=status,
            error_code="" if self._error is None else self._error.code.value,
            model_id=None if candidate is None else candidate.model.id,
            provider_id=None if candidate is None else candidate.model.provider_id,
            baseline_cost_nanos=self._baseline_cost_nanos(),
            total_ms=_milliseconds(total_s),
            first_byte_ms=None
            if first_byte_at is None
            else _milliseconds(first_byte_at - self.order.received_at),
            overhead_us=round(max(0.0, total_s - self.progress.upstream_s) * 1_000_000),
            finished_at=self._ports.clock.now(),
        )

    def _baseline_cost_nanos(self) -> int | None:
        """What the tokens of the last attempt would have cost at the policy's baseline model."""
        if self.order.baseline is None:
            return None
        return cost_nanos(usage=self._last_usage, price=self.order.baseline)


def _status_of(error: UpstreamError) -> DispatchStatus:
    is_gone = isinstance(error, ClientGoneError)
    return DispatchStatus.CLIENT_DISCONNECTED if is_gone else DispatchStatus.FAILED


def _milliseconds(seconds: float) -> int:
    return max(0, round(seconds * 1000))
