"""How an attempt ended, and what that is for those who must know: the ledger, and the health of its target."""

from dataclasses import dataclass
from datetime import datetime
from typing import Self

from dispatch_app.execution.attempt import Answer, RunningAttempt
from dispatch_app.execution.errors import UpstreamError
from dispatch_app.execution.ports import DispatchOutcome, Finding, Settlement, TargetReport
from dispatch_app.execution.settlement import NOTHING, Charge, charge_fault, charge_reply
from policies_app.routing.codes import AttemptRole, AttemptState, FaultClass

_CUT_HERE = frozenset({FaultClass.SUPERSEDED, FaultClass.KILLED, FaultClass.SHUT_DOWN})
_CHECKS = frozenset({AttemptRole.JUDGE, AttemptRole.SAMPLE})


@dataclass(frozen=True, slots=True, kw_only=True)
class Conclusion:
    """How one attempt ended, and what it is charged. `is_void` says that provably no byte of it was sent."""

    attempt: RunningAttempt
    charge: Charge
    ended_at: float
    wire_status: int | None = None
    fault: FaultClass | None = None
    retry_after_s: int | None = None
    model: str = ""
    validation: tuple[Finding, ...] = ()
    is_void: bool = False

    @classmethod
    def of_answer(cls, answer: Answer, *, validation: tuple[Finding, ...]) -> Self:
        """It answered, whatever becomes of the answer."""
        attempt = answer.attempt
        return cls(
            attempt=attempt,
            charge=charge_reply(usage=answer.usage, candidate=attempt.candidate, facts=attempt.facts),
            ended_at=answer.ended_at,
            wire_status=answer.wire_status,
            model=answer.model,
            validation=validation,
        )

    @classmethod
    def of_fault(cls, attempt: RunningAttempt, error: UpstreamError, *, ended_at: float) -> Self:
        """It failed, or was cut."""
        return cls(
            attempt=attempt,
            charge=charge_fault(
                error=error,
                candidate=attempt.candidate,
                facts=attempt.facts,
                received_bytes=attempt.received_bytes if attempt.shows_what_it_generates else None,
            ),
            ended_at=ended_at,
            wire_status=error.wire_status,
            fault=error.fault,
            retry_after_s=error.retry_after_s,
            is_void=error.fault is FaultClass.UNREACHABLE,
        )

    @classmethod
    def of_nothing(cls, attempt: RunningAttempt, *, ended_at: float) -> Self:
        """It was not made after all."""
        return cls(attempt=attempt, charge=NOTHING, ended_at=ended_at, is_void=True)

    @property
    def is_waste(self) -> bool:
        """Whether it was this side's doing that the attempt is not the answer: beaten, not taken, or cut by a switch or a stop.

        What a vendor's fault or a client that hangs up costs is not, and checks are no answers.
        """
        if self.fault is not None:
            return self.fault in _CUT_HERE
        return self.attempt.record.role not in _CHECKS

    @property
    def report(self) -> TargetReport:
        """What it says of its target. That was never asked if nothing went wrong and yet nothing was sent."""
        was_asked = self.fault is not None or not self.is_void
        return TargetReport(
            fault=self.fault if was_asked else FaultClass.SUPERSEDED,
            retry_after_s=self.retry_after_s,
            first_byte_ms=self._first_byte_ms,
            total_ms=self._latency_ms,
            output_tokens=self.charge.usage.output_tokens,
            wire_status=self.wire_status,
        )

    def settlement(self, *, settled_at: datetime, outcome: DispatchOutcome | None) -> Settlement:
        """What is posted for it, with how its dispatch ended if it is the one that ends it."""
        record = self.attempt.record
        return Settlement(
            attempt_id=record.id,
            attempt_created_at=record.created_at,
            state=AttemptState.VOIDED if self.is_void else AttemptState.SETTLED,
            wire_status=self.wire_status,
            fault=self.fault,
            response_model=self.model,
            validation=self.validation,
            usage=self.charge.usage,
            cost_nanos=self.charge.cost_nanos,
            estimated=self.charge.estimated,
            cold=self.attempt.candidate.cold_penalty_ms > 0,
            latency_ms=self._latency_ms,
            first_byte_ms=self._first_byte_ms,
            settled_at=settled_at,
            outcome=outcome,
        )

    @property
    def _latency_ms(self) -> int:
        """From the first byte sent to the end."""
        return milliseconds(self.ended_at - self.attempt.started_at)

    @property
    def _first_byte_ms(self) -> int | None:
        """From the first byte sent to the first that came, None if none did."""
        return milliseconds_since(self.attempt.started_at, self.attempt.first_byte_at)


def milliseconds(seconds: float) -> int:
    """Whole milliseconds, not below zero."""
    return max(0, round(seconds * 1000))


def milliseconds_since(start: float, moment: float | None) -> int | None:
    """Whole milliseconds from `start` to a moment, None if that never came."""
    return None if moment is None else milliseconds(moment - start)
