"""The attempts of one dispatch: each begun in the ledger before a byte leaves, performed, and settled once.

Strategies decide whom to ask and what becomes of an answer; everything that costs money passes through here.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from enum import Enum, auto

import msgspec

from dispatch_app.execution.assembly import assemble, disassemble
from dispatch_app.execution.attempt import Answer, RunningAttempt
from dispatch_app.execution.canonical import Request
from dispatch_app.execution.credentials import subject_of
from dispatch_app.execution.cut import Cut
from dispatch_app.execution.envelope import Envelope
from dispatch_app.execution.errors import (
    DEFAULT_RETRY_AFTER_S,
    ClientGoneError,
    DeadlineExceededError,
    DispatchError,
    ErrorCode,
    KilledError,
    ShutDownError,
    SupersededError,
    UpstreamError,
)
from dispatch_app.execution.forwarding import Claim, Collecting, Delivered, Forwarding, Reception
from dispatch_app.execution.order import Order, Ports
from dispatch_app.execution.ports import (
    AttemptRecord,
    BeginVerdict,
    Finding,
    LedgerUnavailableError,
    RateLimitReachedError,
    Sink,
    Target,
    TargetReport,
    UpstreamCall,
    Verdict,
)
from dispatch_app.execution.postings import Conclusion, Postings, milliseconds
from dispatch_app.execution.progress import Progress
from dispatch_app.execution.settlement import NOTHING, charge_fault, charge_reply
from dispatch_app.execution.shrinking import shrunk
from dispatch_app.execution.targets import Targets
from policies_app.routing.codes import (
    AttemptRole,
    Capability,
    DispatchStatus,
    FaultClass,
    RefusalCode,
)
from policies_app.routing.types import Candidate, Facts
from policies_app.routing.wire_formats import THINKS_UNASKED

EXPIRY_MARGIN = timedelta(seconds=60)
"""How long after its dispatch's deadline an unsettled attempt counts as lost: answers wait for judges and for rivals."""
_UNWRITTEN = frozenset({ErrorCode.LEDGER_UNAVAILABLE, ErrorCode.IDEMPOTENCY_KEY_IN_FLIGHT})
"""Without a ledger there is nothing that could be written down, and a repeat is not a dispatch of its own."""


class Delivery(Enum):
    """How an answer comes in."""

    WHOLE = auto()
    """In one piece."""
    BUFFERED = auto()
    """As a stream that is kept, and can be stopped half-way."""
    DIRECT = auto()
    """As a stream that the client gets as it comes."""


class Attempts:
    """Makes and settles attempts inside the envelope of one dispatch.

    `error` is what the client is told if there is no answer. What is over is posted by the next `begin`, by `flush`, or
    together with the end of the dispatch.
    """

    def __init__(self, *, order: Order, ports: Ports) -> None:
        self.order = order
        self.ports = ports
        self.progress = Progress()
        self.envelope = Envelope(plan=order.plan, deadline_at=order.deadline_at, clock=ports.clock)
        self.targets = Targets(
            order.plan.candidates,
            health=ports.health,
            credentials_of=ports.credentials_of,
            subject=subject_of(order),
            envelope=self.envelope,
        )
        self.delivered = Delivered()
        self.error: DispatchError | None = None
        self._sink: Sink | None = None
        self._position = 0
        self._postings = Postings(order=order, ports=ports, progress=self.progress)
        self._running: dict[RunningAttempt, Cut] = {}
        self._busy_since = 0.0
        self._is_closed = False
        self._has_lost_client = False
        self._is_draining = False

    def watch(self, sink: Sink) -> None:
        """Forward to `sink` what is delivered directly, for as long as its client is there."""
        self._sink = sink
        sink.on_abandoned(self.hang_up)

    @property
    def is_streamed(self) -> bool:
        """Whether the client gets the answer as a stream."""
        return self._sink is not None

    @property
    def is_abandoned(self) -> bool:
        """Whether the client hung up."""
        return self._has_lost_client or (self._sink is not None and self._sink.is_abandoned)

    def _is_over(self) -> bool:
        return self._is_closed or self.is_abandoned

    @property
    def may_go_on(self) -> bool:
        """Whether anything more can be asked of anybody; if not, `error` says why."""
        if self.is_abandoned:
            self.error = ClientGoneError().as_dispatch_error()
            return False
        if self.envelope.remaining_s <= 0:
            self.error = DeadlineExceededError().as_dispatch_error()
        return not self.envelope.is_spent and not self._is_closed

    async def begin(
        self,
        target: Target,
        *,
        role: AttemptRole,
        request: Request | None = None,
        facts: Facts | None = None,
        is_aside: bool = False,
    ) -> RunningAttempt | None:
        """Have an attempt admitted; None if the envelope, a rate limit or the ledger refuses it, with `error` set.

        `is_aside` marks judges and samples, which say nothing of the dispatch itself.

        :raises DispatchError: if the ledger is not to be had, or another dispatch has the idempotency key.
        """
        if self._is_over() or not self.envelope.take(target.candidate.bound_nanos):
            self._release(target)
            return None
        await self.flush()
        attempt = self._new_attempt(
            target, role=role, request=request or self.order.request, facts=facts or self.order.facts
        )
        try:
            verdict = await self._ask_for_leave(attempt, may_shrink=not is_aside)
        except RateLimitReachedError as error:
            self._retract(attempt)
            if not is_aside:
                self.error = DispatchError(
                    status=429, code=ErrorCode.RATE_LIMIT_EXCEEDED, retry_after_s=error.retry_after_s
                )
            return None
        except LedgerUnavailableError as error:
            self._retract(attempt)
            raise DispatchError(
                status=503, code=ErrorCode.LEDGER_UNAVAILABLE, retry_after_s=error.retry_after_s
            ) from error
        if verdict.verdict is not Verdict.ADMITTED:
            self._retract(attempt)
            if verdict.verdict is Verdict.REPEATED:
                raise DispatchError(
                    status=409,
                    code=ErrorCode.IDEMPOTENCY_KEY_IN_FLIGHT,
                    retry_after_s=DEFAULT_RETRY_AFTER_S,
                )
            if not is_aside:
                self._refuse(target.candidate, verdict)
            return None
        self._admit(attempt, is_aside=is_aside)
        if self._is_over():
            self.void(attempt)
            return None
        return attempt

    async def _ask_for_leave(self, attempt: RunningAttempt, *, may_shrink: bool) -> BeginVerdict:
        """Ask the rate limits of the model, then the ledger. Whatever breaks this off, nothing stays taken of the limits."""
        if may_shrink:
            self._shrink(attempt)
        if self.ports.rates is not None:
            attempt.leave = await self.ports.rates.take(attempt.candidate, attempt.facts)
        try:
            return await self._ask_ledger(attempt, may_shrink=may_shrink)
        except BaseException:
            attempt.end_leave(tokens=0)
            raise

    async def _ask_ledger(self, attempt: RunningAttempt, *, may_shrink: bool) -> BeginVerdict:
        """The ledger's verdict. What is refused because others were faster is shrunk to what they have left."""
        while True:
            verdict = await self.ports.ledger.begin(
                dispatch=self.order.record,
                attempt=attempt.record,
                budgets=self.order.budgets,
                key=self.order.key,
            )
            if verdict.verdict is not Verdict.OVER_BUDGET or not may_shrink or not self._shrink(attempt):
                return verdict

    def _shrink(self, attempt: RunningAttempt) -> bool:
        """Lower the output limit of an attempt to what is known to be left; whether there is anything to lower."""
        smaller = shrunk(attempt.candidate, facts=attempt.facts, rooms=self.order.rooms())
        if smaller is None or smaller is attempt.candidate:
            return False
        self.envelope.settle(attempt.candidate.bound_nanos, cost_nanos=smaller.bound_nanos)
        attempt.target = replace(attempt.target, candidate=smaller)
        attempt.record = replace(attempt.record, reserved_nanos=smaller.bound_nanos)
        return True

    async def perform(
        self, attempt: RunningAttempt, *, delivery: Delivery, claim: Claim | None = None
    ) -> Answer:
        """Ask the vendor. `claim` may stop the attempt at its first byte; see `Reception`.

        :raises UpstreamError: whatever goes wrong; the attempt is still to be concluded by `fail`.
        """
        if delivery is Delivery.WHOLE:
            return await self._whole(attempt)
        reception = Reception(attempt=attempt, clock=self.ports.clock, claim=claim)
        try:
            async with self._running[attempt]:
                taking = self._taking(attempt, reception, delivery=delivery)
                async with self.ports.upstream.stream(_call(attempt, stream=True)) as parts:
                    async for part in parts:
                        await taking.take(part)
                    reception.end()
        except UpstreamError as error:
            error.usage = error.usage or reception.final_usage
            raise
        first_byte_at = attempt.first_byte_at or self.ports.clock.monotonic()
        is_kept = delivery is Delivery.BUFFERED
        return Answer(
            attempt=attempt,
            model=reception.model,
            usage=reception.usage,
            wire_status=200,
            first_byte_at=first_byte_at,
            ended_at=self.ports.clock.monotonic(),
            reply=assemble(taking.parts, wire_status=200, first_byte_at=first_byte_at) if is_kept else None,
            parts=taking.parts,
        )

    def fail(self, attempt: RunningAttempt, error: UpstreamError, *, is_aside: bool = False) -> None:
        """An attempt is over without an answer."""
        self._has_lost_client = self._has_lost_client or isinstance(error, ClientGoneError)
        if not is_aside:
            self.error = error.as_dispatch_error()
            if error.rotates:
                self.targets.rotate(attempt.target)
        received_bytes = attempt.received_bytes if _shows_what_it_generates(attempt) else None
        self._conclude(
            Conclusion(
                attempt=attempt,
                charge=charge_fault(
                    error=error,
                    candidate=attempt.candidate,
                    facts=attempt.facts,
                    received_bytes=received_bytes,
                ),
                ended_at=self.ports.clock.monotonic(),
                wire_status=error.wire_status,
                fault=error.fault,
                retry_after_s=error.retry_after_s,
                is_void=error.fault is FaultClass.UNREACHABLE,
            )
        )

    def post(self, answer: Answer, *, validation: tuple[Finding, ...] = ()) -> None:
        """An attempt is over with an answer, whatever becomes of that."""
        attempt = answer.attempt
        attempt.first_byte_at = answer.first_byte_at
        self.ports.retries.earn()
        self._conclude(
            Conclusion(
                attempt=attempt,
                charge=charge_reply(usage=answer.usage, candidate=attempt.candidate, facts=attempt.facts),
                ended_at=answer.ended_at,
                wire_status=answer.wire_status,
                model=answer.model,
                validation=validation,
            )
        )

    def void(self, attempt: RunningAttempt) -> None:
        """An attempt that was begun is not made after all."""
        ended_at = self.ports.clock.monotonic()
        self._conclude(Conclusion(attempt=attempt, charge=NOTHING, ended_at=ended_at, is_void=True))

    def supersede(self, winner: RunningAttempt | None = None) -> None:
        """Stop every attempt but `winner`."""
        self._cut(SupersededError(wire_status=200), spared=winner)

    def hang_up(self) -> None:
        """The client is gone: nothing more is asked.

        What runs is cut, or read on for as long as the plan says. A call that comes whole cannot be un-run, and is heard out.
        """
        self._has_lost_client = True
        streamed = [cut for attempt, cut in self._running.items() if not attempt.comes_whole]
        drain_s = self._start_drain() if streamed else 0.0
        for cut in streamed:
            cut.within(ClientGoneError(wire_status=200), in_s=drain_s)

    def _start_drain(self) -> float:
        """Seconds for which what runs is read on, zero if it is not."""
        drain_ms = self.order.plan.drain_ms
        self._is_draining = self._is_draining or (drain_ms is not None and self.ports.drains.start())
        return drain_ms / 1000 if drain_ms is not None and self._is_draining else 0.0

    def end_drain(self) -> None:
        """The dispatch is over: if it was drained, another one may be."""
        if self._is_draining:
            self._is_draining = False
            self.ports.drains.end()

    def cut_killed(self, is_killed: Callable[[Candidate], bool]) -> None:
        """Stop the attempts whose target is killed, at once."""
        for attempt, cut in self._running.items():
            if is_killed(attempt.candidate):
                cut.now(KilledError(wire_status=None if attempt.first_byte_at is None else 200))

    def shut_down(self) -> None:
        """The process ends: what runs is stopped and charged for what has come of it, and nothing is begun any more."""
        self._is_closed = True
        self.error = ShutDownError().as_dispatch_error()
        self._cut(ShutDownError(wire_status=200))

    def close(self) -> None:
        """The dispatch is decided: whatever still runs is stopped, and nothing is begun any more."""
        self._is_closed = True
        self.supersede()

    async def flush(self) -> None:
        """Post what is over."""
        await self._postings.flush()

    async def succeed(self, answer: Answer, *, validated: bool | None) -> None:
        """End the dispatch by an answer that was posted."""
        self.error = None
        self.progress.validated = validated
        self._is_closed = True
        if self._has_lost_client:
            gone = ClientGoneError().as_dispatch_error()
            await self._postings.end(DispatchStatus.CLIENT_DISCONNECTED, answer=answer, error=gone)
        else:
            await self._postings.end(DispatchStatus.SUCCEEDED, answer=answer, error=None)

    async def give_up(self) -> DispatchError:
        """End the dispatch without an answer; the error to raise."""
        if self.error is None or (self.is_abandoned and not self.progress.attempts):
            self.error = self._unasked_error()
        error = self.error
        self._is_closed = True
        if error.code in _UNWRITTEN and not self.progress.attempts:
            return error
        await self._postings.end(self._status_of_giving_up(), answer=None, error=error)
        return error

    def _unasked_error(self) -> DispatchError:
        if self.is_abandoned:
            return ClientGoneError().as_dispatch_error()
        return DispatchError.of_refusal(RefusalCode.NO_TARGET_AVAILABLE)

    def _status_of_giving_up(self) -> DispatchStatus:
        if self.is_abandoned:
            return DispatchStatus.CLIENT_DISCONNECTED
        return DispatchStatus.FAILED if self.progress.attempts else DispatchStatus.REFUSED

    def _new_attempt(
        self, target: Target, *, role: AttemptRole, request: Request, facts: Facts
    ) -> RunningAttempt:
        candidate = target.candidate
        now, started_at = self.ports.clock.now(), self.ports.clock.monotonic()
        deadline_at = self.order.deadline_at
        if candidate.timeout_ms is not None:
            deadline_at = min(deadline_at, started_at + candidate.timeout_ms / 1000)
        self._position += 1
        record = AttemptRecord(
            id=self.ports.new_id(),
            created_at=now,
            position=self._position,
            role=role,
            model_id=candidate.model.id,
            provider_id=candidate.model.provider_id,
            price_id=candidate.price.id,
            reserved_nanos=candidate.bound_nanos,
            expires_at=now + timedelta(seconds=self.order.deadline_at - started_at) + EXPIRY_MARGIN,
            start_offset_ms=milliseconds(started_at - self.order.received_at),
            is_first=self.progress.attempts == 0,
            credential=target.credential.name,
        )
        return RunningAttempt(
            record=record,
            target=target,
            request=request,
            facts=facts,
            started_at=started_at,
            deadline_at=deadline_at,
        )

    def _admit(self, attempt: RunningAttempt, *, is_aside: bool) -> None:
        progress = self.progress
        attempt.started_at = self.ports.clock.monotonic()
        if not self._running:
            self._busy_since = attempt.started_at
        self._running[attempt] = Cut()
        progress.attempts += 1
        if not is_aside:
            progress.candidate = attempt.candidate

    def _retract(self, attempt: RunningAttempt) -> None:
        """Undo the preparations of an attempt that was not admitted."""
        if attempt.record.position == self._position:
            self._position -= 1
        attempt.end_leave(tokens=0)
        self.envelope.give_back(attempt.candidate.bound_nanos)
        self._release(attempt.target)

    def _release(self, target: Target) -> None:
        """Nothing was asked of `target`: somebody else may probe it."""
        report = TargetReport(
            fault=FaultClass.SUPERSEDED, retry_after_s=None, first_byte_ms=None, total_ms=0, output_tokens=0
        )
        self.ports.health.report(target, report)

    def _refuse(self, candidate: Candidate, verdict: BeginVerdict) -> None:
        """Note why a candidate was not admitted. A smaller one may still fit the budget, another escape the switch."""
        if verdict.verdict is Verdict.OVER_BUDGET:
            self.targets.forbid_bounds_from(candidate.bound_nanos)
            self.error = DispatchError.of_refusal(RefusalCode.INSUFFICIENT_QUOTA)
        else:
            self.error = DispatchError.of_refusal(RefusalCode.KILLED)

    async def _whole(self, attempt: RunningAttempt) -> Answer:
        attempt.comes_whole = True
        async with self._running[attempt]:
            reply = await self.ports.upstream.complete(_call(attempt, stream=False))
        return Answer(
            attempt=attempt,
            model=reply.model,
            usage=reply.usage,
            wire_status=reply.wire_status,
            first_byte_at=reply.first_byte_at,
            ended_at=self.ports.clock.monotonic(),
            reply=reply,
            parts=disassemble(reply) if self.is_streamed else [],
        )

    def _taking(
        self, attempt: RunningAttempt, reception: Reception, *, delivery: Delivery
    ) -> Collecting | Forwarding:
        if delivery is Delivery.BUFFERED or self._sink is None:
            return Collecting(reception=reception)
        return Forwarding(
            reception=reception,
            sink=self._sink,
            deadline_at=attempt.deadline_at,
            choices=self.order.request.choices,
            delivered=self.delivered,
        )

    def _cut(self, error: UpstreamError, *, spared: RunningAttempt | None = None) -> None:
        for attempt, cut in self._running.items():
            if attempt is not spared:
                cut.now(type(error)(wire_status=error.wire_status))

    def _conclude(self, conclusion: Conclusion) -> None:
        attempt = conclusion.attempt
        del self._running[attempt]
        if not self._running:
            self.progress.upstream_s += self.ports.clock.monotonic() - self._busy_since
        self.envelope.settle(attempt.candidate.bound_nanos, cost_nanos=conclusion.charge.cost_nanos)
        attempt.end_leave(tokens=conclusion.charge.usage.tokens)
        self.ports.health.report(
            attempt.target,
            TargetReport(
                # What was never asked says nothing of its target.
                fault=FaultClass.SUPERSEDED if conclusion.is_unasked else conclusion.fault,
                retry_after_s=conclusion.retry_after_s,
                first_byte_ms=conclusion.first_byte_ms,
                total_ms=conclusion.latency_ms,
                output_tokens=conclusion.charge.usage.output_tokens,
                wire_status=conclusion.wire_status,
            ),
        )
        self._postings.add(conclusion)


def _call(attempt: RunningAttempt, *, stream: bool) -> UpstreamCall:
    request = attempt.request
    return UpstreamCall(
        request=request if request.stream is stream else msgspec.structs.replace(request, stream=stream),
        candidate=attempt.candidate,
        deadline_at=attempt.deadline_at,
        credential=attempt.target.credential,
    )


def _shows_what_it_generates(attempt: RunningAttempt) -> bool:
    """Whether what was received of an answer bounds what was generated.

    Where models think unasked, their first part tells how much they have thought; until then, nothing does.
    """
    if attempt.comes_whole or attempt.may_think:
        return False
    return attempt.first_byte_at is not None or attempt.candidate.model.wire_format not in THINKS_UNASKED


def can_stream(candidate: Candidate) -> bool:
    """Whether the model's answers can be stopped half-way."""
    return Capability.STREAMING in candidate.model.capabilities
