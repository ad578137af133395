"""Where a dispatch goes on after a fault: to another credential, the next model, the same target again, on from a broken stream, or nowhere."""

import asyncio
import random
from dataclasses import dataclass, replace

import msgspec

from dispatch_app.execution.attempts import Attempts
from dispatch_app.execution.canonical import Request
from dispatch_app.execution.errors import ContextTooLongError, RateLimitedError, StoppedError, UpstreamError
from dispatch_app.execution.ports import Target
from policies_app.routing.codes import AttemptRole
from policies_app.routing.money import bound_nanos
from policies_app.routing.types import Facts

MOST_JITTER_S = 0.2
"""A retry of the same target waits a random time up to this, so that retries of many requests do not meet."""
MOST_WAIT_S = 10.0
"""How long a dispatch waits out a rate limit where there is no other target. Beyond it, the client is told."""
FRAMING_TOKENS_OF_A_MESSAGE = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """Whom to ask next, and what, if not what the client asked."""

    target: Target
    role: AttemptRole
    request: Request | None = None
    facts: Facts | None = None


class Onward:
    """Gives the turns of one dispatch in order. Told of each fault, it knows whether and where to go on."""

    def __init__(
        self, attempts: Attempts, *, role: AttemptRole, after: AttemptRole = AttemptRole.FALLBACK
    ) -> None:
        self._attempts = attempts
        self._role = role
        self._after = after
        self._last: tuple[Target, UpstreamError] | None = None
        self._retried: set[str] = set()

    async def next(self) -> Turn | None:
        """Whom to ask now; None if the candidates or the envelope are used up, or the last fault forbids it."""
        if not self._attempts.may_go_on or not self._may_follow():
            return None
        target = self._attempts.targets.take()
        if target is None:
            return await self._again()
        if self._attempts.delivered.has_begun:
            return self._continuing(target)
        if target.is_rotated:
            return Turn(target=target, role=AttemptRole.ROTATION)
        role, self._role = self._role, self._after
        return Turn(target=target, role=role)

    def failed(self, target: Target, error: UpstreamError) -> None:
        """The attempt at `target` came to `error`."""
        self._last = (target, error)

    def answered(self, *, role: AttemptRole) -> None:
        """The last attempt answered, and the answer is not good enough: the next attempt is made as `role`."""
        self._last = None
        self._role = role

    def _may_follow(self) -> bool:
        if self._last is None:
            return True
        _, error = self._last
        if self._attempts.delivered.has_begun and not self._can_continue(error):
            return False
        by_leave = self._attempts.order.plan.fall_back_on_long_context
        return error.fails_over or (by_leave and isinstance(error, ContextTooLongError))

    def _can_continue(self, error: UpstreamError) -> bool:
        is_cut = isinstance(error, StoppedError)
        order = self._attempts.order
        # Nobody can be handed the beginnings of several answers at once.
        may_be = order.plan.continue_broken_streams and order.request.choices == 1
        return may_be and not is_cut and self._attempts.delivered.text is not None

    async def _again(self) -> Turn | None:
        """Ask the target that failed last once more, if its fault may pass and there is no other."""
        if self._last is None or self._attempts.delivered.has_begun or self._attempts.targets.has_more:
            return None
        target, error = self._last
        wait_s = self._wait_s(error)
        if wait_s is None or target.model.name in self._retried:
            return None
        if not self._attempts.ports.retries.spend(now=self._attempts.ports.clock.monotonic()):
            return None
        self._retried.add(target.model.name)
        await self._attempts.postings.flush()
        await asyncio.sleep(wait_s)
        return Turn(target=target, role=AttemptRole.RETRY) if self._attempts.may_go_on else None

    def _wait_s(self, error: UpstreamError) -> float | None:
        """Seconds before the same target is asked again; None if it is not, or not in time."""
        jitter_s = random.Random(self._attempts.order.seed).uniform(0, MOST_JITTER_S)  # noqa: S311
        if isinstance(error, RateLimitedError) and error.retry_after_s is not None:
            wait_s = error.retry_after_s + jitter_s
        elif error.is_retryable:
            wait_s = max(jitter_s, float(error.retry_after_s or 0))
        else:
            return None
        return wait_s if wait_s < min(MOST_WAIT_S, self._attempts.envelope.remaining_s) else None

    def _continuing(self, target: Target) -> Turn:
        """Hand `target` what the client has of the answer already, as the beginning of its own."""
        candidate, order, delivered = target.candidate, self._attempts.order, self._attempts.delivered
        said = delivered.text or ""
        messages = [*order.request.fields.get("messages", ()), {"role": "assistant", "content": said}]
        added_tokens = len(said.encode()) + FRAMING_TOKENS_OF_A_MESSAGE
        facts = replace(
            order.facts,
            input_tokens=order.facts.input_tokens + delivered.parts,
            input_tokens_bound=order.facts.input_tokens_bound + added_tokens,
        )
        # A part holds one token at least.
        limit = max(1, candidate.output_tokens_limit - delivered.parts)
        bound = bound_nanos(
            facts=facts, model=candidate.model, price=candidate.price, output_tokens_limit=limit
        )
        self._attempts.progress.is_continued = True
        return Turn(
            target=replace(
                target,
                candidate=msgspec.structs.replace(candidate, output_tokens_limit=limit, bound_nanos=bound),
            ),
            role=AttemptRole.CONTINUATION,
            request=msgspec.structs.replace(
                order.request, fields={**order.request.fields, "messages": messages}
            ),
            facts=facts,
        )
