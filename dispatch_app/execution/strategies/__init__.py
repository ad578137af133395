"""How a plan is carried out: one coroutine a strategy. Each asks `Attempts` for attempts and accepts an answer, or none."""

from collections.abc import Awaitable, Callable, Mapping

from dispatch_app.execution.attempts import Attempts
from dispatch_app.execution.strategies.accepted import Accepted
from dispatch_app.execution.strategies.cascade import cascade
from dispatch_app.execution.strategies.failover import failover
from dispatch_app.execution.strategies.hedged import hedged
from dispatch_app.execution.strategies.parallel import parallel
from policies_app.routing.codes import Strategy

STRATEGIES: Mapping[Strategy, Callable[[Attempts], Awaitable[Accepted | None]]] = {
    Strategy.SINGLE: failover,
    Strategy.FAILOVER: failover,
    Strategy.CASCADE: cascade,
    Strategy.PARALLEL: parallel,
    Strategy.HEDGED: hedged,
}
"""`single` is *failover* over one candidate."""
