"""One attempt of the log in words: how it ended, and what its answer was found to be. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dispatch_app.costs.formats import show_code, show_exact_usd
from dispatch_app.execution.picking import PICK
from policies_app.routing.codes import AttemptState, FaultClass

Found = Mapping[str, Any]
"""What one validator found, as the log has it: `validator`, `passed`, `expected`, `actual`, `score`."""

_ENDINGS: Mapping[str, str] = {
    FaultClass.UNREACHABLE: "could not be reached",
    FaultClass.RATE_LIMITED: "was limiting its rate",
    FaultClass.QUOTA_EXHAUSTED: "had no quota left",
    FaultClass.SERVER_ERROR: "failed with a server error",
    FaultClass.BAD_REQUEST: "did not take the request",
    FaultClass.CREDENTIAL_REFUSED: "refused the credential",
    FaultClass.FIRST_BYTE_TIMEOUT: "gave no first byte in time",
    FaultClass.IDLE_TIMEOUT: "fell silent half-way",
    FaultClass.DEADLINE_EXCEEDED: "was not done when time was up",
    FaultClass.TRUNCATED: "broke off half-way",
    FaultClass.STREAM_ERROR: "broke off with an error",
    FaultClass.INVALID_REPLY: "gave a reply that makes no sense",
    FaultClass.REDIRECTED: "answered with a redirect, which is not followed",
    FaultClass.CLIENT_DISCONNECTED: "was stopped, because the client hung up",
    FaultClass.SUPERSEDED: "was stopped, because another answer was taken",
    FaultClass.KILLED: "was cut by a kill switch",
    FaultClass.SHUT_DOWN: "was cut, because the process had to end",
    FaultClass.EXPIRED: "was lost with the process that had asked",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ToldAttempt:
    """One attempt as its row has it. `validation` is what each validator found."""

    position: int
    model: str
    role: str
    state: str = AttemptState.SETTLED
    fault: str = ""
    wire_status: int | None = None
    validation: Sequence[Found] = field(default=())
    cost_nanos: int = 0
    start_offset_ms: int = 0

    @property
    def has_answered(self) -> bool:
        """Whether a whole answer came, whatever became of it."""
        return not self.fault and self.state == AttemptState.SETTLED

    @property
    def checks(self) -> Sequence[Found]:
        """What its validators found."""
        return [found for found in self.validation if found.get("validator") != PICK]

    @property
    def pick(self) -> Found | None:
        """Why its answer was picked, or was not; None if it was no valid answer of several that were asked for."""
        return next((found for found in self.validation if found.get("validator") == PICK), None)


def result_of(attempt: ToldAttempt) -> str:
    """How an attempt ended, as a predicate of its model."""
    if not attempt.has_answered:
        return _ending_of(attempt)
    failed = next((found for found in attempt.checks if not found.get("passed")), None)
    if failed is not None:
        return f"answered, but its answer was not accepted: {_failure(failed)}"
    if attempt.checks:
        passed = "; ".join(_success(found) for found in attempt.checks)
        return f"answered, and its answer passed {counted(len(attempt.checks), 'check')}: {passed}"
    return "answered"


def counted(count: int, noun: str) -> str:
    """A number of things: `2 checks`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _ending_of(attempt: ToldAttempt) -> str:
    if not attempt.fault:
        return "was not asked after all"
    ending = _ENDINGS.get(attempt.fault, f"ended in {show_code(attempt.fault)}")
    if attempt.wire_status is not None and attempt.wire_status >= 300:
        ending += f" (HTTP {attempt.wire_status})"
    return ending + (f", at a cost of {show_exact_usd(attempt.cost_nanos)}" if attempt.cost_nanos else "")


def _failure(found: Found) -> str:
    actual = found.get("actual")
    return f"it was expected that {found.get('expected')}" + (f", but {actual}" if actual else "")


def _success(found: Found) -> str:
    actual = found.get("actual")
    return f"{found.get('expected')}" + (f" ({actual})" if actual else "")
