"""The routes that a storm is let loose on."""

from collections.abc import Sequence

from policies_app.routing.codes import Strategy

STORMS: Sequence[tuple[Strategy, Sequence[str]]] = (
    (Strategy.SINGLE, ("small",)),
    (Strategy.FAILOVER, ("small", "mid")),
    (Strategy.FAILOVER, ("small", "mid", "frontier")),
    (Strategy.CASCADE, ("small", "mid")),
    (Strategy.PARALLEL, ("small", "mid")),
)
