"""What an attempt is admitted by: the dispatch's envelope, the rate limits of its model, and the ledger."""

from dataclasses import replace
from datetime import timedelta
from typing import assert_never

import msgspec

from dispatch_app.execution.attempt import RunningAttempt
from dispatch_app.execution.canonical import Request
from dispatch_app.execution.conclusion import milliseconds
from dispatch_app.execution.envelope import Envelope
from dispatch_app.execution.errors import DEFAULT_RETRY_AFTER_S, DispatchError, ErrorCode
from dispatch_app.execution.order import Order, Ports
from dispatch_app.execution.ports import (
    AttemptRecord,
    LedgerUnavailableError,
    RateLimitReachedError,
    Target,
    Verdict,
)
from dispatch_app.execution.postings import Postings
from dispatch_app.execution.shrinking import shrunk
from dispatch_app.execution.targets import Targets
from policies_app.routing.codes import AttemptRole, RefusalCode
from policies_app.routing.types import Facts

EXPIRY_MARGIN = timedelta(seconds=60)
"""How long after its dispatch's deadline an unsettled attempt counts as lost: answers wait for judges and for rivals."""


class RefusedError(Exception):
    """An attempt was not admitted. `told` is what the client hears of that if nobody answers, None if it knows already."""

    def __init__(self, told: DispatchError | None) -> None:
        super().__init__("The attempt was not admitted.")
        self.told = told


class Reservations:
    """Sets aside what the attempts of one dispatch may use, all or nothing, before a byte of any leaves."""

    def __init__(
        self, *, order: Order, ports: Ports, envelope: Envelope, targets: Targets, postings: Postings
    ) -> None:
        self._order = order
        self._ports = ports
        self._envelope = envelope
        self._targets = targets
        self._postings = postings
        self._position = 0
        self._has_admitted = False

    async def make(
        self, target: Target, *, role: AttemptRole, request: Request, facts: Facts, may_shrink: bool
    ) -> RunningAttempt:
        """Have an attempt admitted. What is over is posted first, and what it did not cost is free again.

        With `may_shrink`, its output limit may be lowered to what budgets have left.

        :raises RefusedError: if the envelope, a rate limit or the ledger has no room for it.
        :raises DispatchError: if the ledger is not to be had, or another dispatch has the idempotency key.
        """
        if not self._envelope.take(target.candidate.bound_nanos):
            self._targets.release(target)
            raise RefusedError(told=None)
        await self._postings.flush()
        attempt = self._prepare(target, role=role, request=request, facts=facts)
        try:
            await self._ask_for_leave(attempt, may_shrink=may_shrink)
        except BaseException:
            self._retract(attempt)
            raise
        self._has_admitted = True
        return attempt

    def _prepare(
        self, target: Target, *, role: AttemptRole, request: Request, facts: Facts
    ) -> RunningAttempt:
        order, candidate = self._order, target.candidate
        now, started_at = self._ports.clock.now(), self._ports.clock.monotonic()
        deadline_at = order.deadline_at
        if candidate.timeout_ms is not None:
            deadline_at = min(deadline_at, started_at + candidate.timeout_ms / 1000)
        self._position += 1
        record = AttemptRecord(
            id=self._ports.new_id(),
            created_at=now,
            position=self._position,
            role=role,
            model_id=candidate.model.id,
            provider_id=candidate.model.provider_id,
            price_id=candidate.price.id,
            reserved_nanos=candidate.bound_nanos,
            expires_at=now + timedelta(seconds=order.deadline_at - started_at) + EXPIRY_MARGIN,
            start_offset_ms=milliseconds(started_at - order.received_at),
            is_first=not self._has_admitted,
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

    async def _ask_for_leave(self, attempt: RunningAttempt, *, may_shrink: bool) -> None:
        """Ask the rate limits of the model, then the ledger."""
        if self._envelope.remaining_s <= 0:
            # Posting took what time there was.
            raise RefusedError(told=None)
        if may_shrink:
            self._shrink(attempt)
        try:
            if self._ports.rates is not None:
                attempt.leave = await self._ports.rates.take(attempt.candidate, attempt.facts)
            verdict = await self._ask_ledger(attempt, may_shrink=may_shrink)
        except RateLimitReachedError as error:
            told = DispatchError(
                status=429, code=ErrorCode.RATE_LIMIT_EXCEEDED, retry_after_s=error.retry_after_s
            )
            raise RefusedError(told) from error
        except LedgerUnavailableError as error:
            raise DispatchError(
                status=503, code=ErrorCode.LEDGER_UNAVAILABLE, retry_after_s=error.retry_after_s
            ) from error
        match verdict:
            case Verdict.ADMITTED:
                return
            case Verdict.OVER_BUDGET:
                raise RefusedError(DispatchError.of_refusal(RefusalCode.INSUFFICIENT_QUOTA))
            case Verdict.KILLED:
                raise RefusedError(DispatchError.of_refusal(RefusalCode.KILLED))
            case Verdict.REPEATED:
                raise DispatchError(
                    status=409,
                    code=ErrorCode.IDEMPOTENCY_KEY_IN_FLIGHT,
                    retry_after_s=DEFAULT_RETRY_AFTER_S,
                )
        assert_never(verdict)

    async def _ask_ledger(self, attempt: RunningAttempt, *, may_shrink: bool) -> Verdict:
        """What the ledger says. What is refused because others were faster is shrunk to what they have left."""
        while True:
            answer = await self._ports.ledger.begin(
                dispatch=self._order.record,
                attempt=attempt.record,
                budgets=self._order.budgets,
                key=self._order.key,
            )
            if answer.verdict is not Verdict.OVER_BUDGET or not may_shrink or not self._shrink(attempt):
                return answer.verdict

    def _shrink(self, attempt: RunningAttempt) -> bool:
        """Lower the output limit of an attempt to what is known to be left; whether there is anything to lower."""
        smaller = shrunk(attempt.candidate, facts=attempt.facts, rooms=self._order.rooms())
        if smaller is None or smaller is attempt.candidate:
            return False
        self._envelope.settle(attempt.candidate.bound_nanos, cost_nanos=smaller.bound_nanos)
        attempt.target = replace(attempt.target, candidate=smaller)
        attempt.record = msgspec.structs.replace(attempt.record, reserved_nanos=smaller.bound_nanos)
        return True

    def _retract(self, attempt: RunningAttempt) -> None:
        """Undo the preparations of an attempt that was not admitted."""
        if attempt.record.position == self._position:
            self._position -= 1
        attempt.end_leave(tokens=0)
        self._envelope.give_back(attempt.candidate.bound_nanos)
        self._targets.release(attempt.target)
