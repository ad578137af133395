"""Failover: one target after the other, until one answers."""

from dispatch_app.execution.attempts import Attempts
from dispatch_app.execution.errors import UpstreamError
from dispatch_app.execution.onward import Onward
from dispatch_app.execution.strategies.accepted import Accepted
from policies_app.routing.codes import AttemptRole


async def failover(attempts: Attempts) -> Accepted | None:
    """Ask the candidates in order. Once a stream has begun to reach the client, only a continuation goes on."""
    return await first_answer(attempts, Onward(attempts, role=AttemptRole.PRIMARY))


async def first_answer(attempts: Attempts, onward: Onward) -> Accepted | None:
    """The first good answer of the candidates that have not been asked yet, posted; None if there is none.

    `onward` knows what went wrong before.
    """
    while (turn := await onward.next()) is not None:
        attempt = await attempts.begin(turn.target, role=turn.role, request=turn.request, facts=turn.facts)
        if attempt is None:
            continue
        try:
            answer = await attempts.calls.make(attempt, delivery=attempts.calls.as_asked)
        except UpstreamError as error:
            attempts.fail(attempt, error)
            onward.failed(attempt.target, error)
            continue
        attempts.post(answer)
        return Accepted(answer=answer)
    return None
