"""The rate limits of models: an attempt that meets one is not made, and the next target is asked."""

from collections.abc import Callable

from dispatch_app.limits.leave import Leave
from dispatch_app.limits.shared import SharedLimits
from dispatch_app.snapshot.types import RateLimits
from policies_app.routing.money import bound_tokens
from policies_app.routing.types import Candidate, Facts


class ModelLimits:
    """Implements `dispatch_app.execution.ports.ModelRates`."""

    def __init__(self, *, limits: SharedLimits, find_limits: Callable[[int], RateLimits]) -> None:
        self._limits = limits
        self._find_limits = find_limits

    async def take(self, candidate: Candidate, facts: Facts) -> Leave | None:
        """See `ModelRates.take`."""
        limits = self._find_limits(candidate.model.id)
        if not limits:
            return None
        return await self._limits.take(limits, tokens=tokens_bound(candidate, facts))


def tokens_bound(candidate: Candidate, facts: Facts) -> int:
    """The most tokens that a call of `candidate` can come to."""
    return sum(
        bound_tokens(facts=facts, model=candidate.model, output_tokens_limit=candidate.output_tokens_limit)
    )
