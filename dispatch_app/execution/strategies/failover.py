"""Failover: one target after the other, until one answers."""

from dispatch_app.execution.attempt import Answer
from dispatch_app.execution.attempts import Attempts, Delivery
from dispatch_app.execution.errors import UpstreamError
from dispatch_app.execution.onward import Onward
from dispatch_app.execution.strategies.accepted import Accepted
from policies_app.routing.codes import AttemptRole


async def failover(attempts: Attempts) -> Accepted | None:
    """Ask the candidates in order. Once a stream has begun to reach the client, only a continuation goes on."""
    delivery = Delivery.DIRECT if attempts.is_streamed else Delivery.WHOLE
    answer = await first_answer(attempts, role=AttemptRole.PRIMARY, delivery=delivery)
    return None if answer is None else Accepted(answer=answer)


async def first_answer(
    attempts: Attempts, *, role: AttemptRole, delivery: Delivery, onward: Onward | None = None
) -> Answer | None:
    """The first good answer of the candidates that have not been asked yet, posted; None if there is none.

    The first attempt has `role`; `onward` knows what went wrong before, None if nothing did.
    """
    onward = onward or Onward(attempts, role=role)
    while (turn := await onward.next()) is not None:
        attempt = await attempts.begin(turn.target, role=turn.role, request=turn.request, facts=turn.facts)
        if attempt is None:
            continue
        try:
            answer = await attempts.perform(attempt, delivery=delivery)
        except UpstreamError as error:
            attempts.fail(attempt, error)
            onward.failed(attempt.target, error)
            continue
        attempts.post(answer)
        return answer
    return None
