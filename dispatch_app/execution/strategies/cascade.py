"""Cascade: the cheapest model first, and a better one when its answer does not pass."""

from dispatch_app.execution.attempt import Answer
from dispatch_app.execution.attempts import Attempts
from dispatch_app.execution.calls import Delivery
from dispatch_app.execution.errors import DispatchError, ErrorCode, UpstreamError
from dispatch_app.execution.onward import Onward
from dispatch_app.execution.strategies.accepted import Accepted
from dispatch_app.execution.validation import Validation
from policies_app.routing.codes import AttemptRole, WhenNonePasses
from policies_app.routing.types import Candidate


async def cascade(attempts: Attempts) -> Accepted | None:
    """Ask the candidates in order until an answer passes its step's validators.

    A step without validators streams straight through. If none passes, the last answer is taken as one that was not
    validated, or none, as the rule says.
    """
    onward = Onward(attempts, role=AttemptRole.PRIMARY)
    validation = Validation(attempts)
    rejected: Answer | None = None
    while (turn := await onward.next()) is not None:
        attempt = await attempts.begin(
            turn.target,
            role=turn.role,
            request=turn.request or validation.request_for(turn.target.candidate),
            facts=turn.facts,
        )
        if attempt is None:
            continue
        try:
            answer = await attempts.calls.make(attempt, delivery=_delivery(attempts, turn.target.candidate))
        except UpstreamError as error:
            attempts.fail(attempt, error)
            onward.failed(attempt.target, error)
            continue
        findings = await validation.check(answer)
        attempts.post(answer, validation=findings)
        if all(finding.passed for finding in findings):
            return Accepted(answer=answer, validated=True if findings else None)
        rejected = answer
        onward.answered(role=AttemptRole.ESCALATION)
    return none_passed(attempts, rejected)


def none_passed(attempts: Attempts, rejected: Answer | None) -> Accepted | None:
    """What is left when no answer passed: the one that was rejected last, if the rule takes it."""
    if rejected is None or attempts.delivered.has_begun or attempts.is_abandoned:
        return None
    if attempts.order.plan.when_none_passes is WhenNonePasses.RETURN_LAST:
        return Accepted(answer=rejected, validated=False)
    attempts.error = DispatchError(status=502, code=ErrorCode.NO_VALID_ANSWER)
    return None


def _delivery(attempts: Attempts, candidate: Candidate) -> Delivery:
    as_asked = attempts.calls.as_asked
    return Delivery.BUFFERED if as_asked is Delivery.DIRECT and candidate.validators else as_asked
