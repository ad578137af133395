"""What requests are given of rate limits, and what they are told when there is nothing left."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from dispatch_app.execution.ports import RateLimitReachedError
from dispatch_app.limits.standing import Standing, amount_of

Settle = Callable[["Leave", int], None]


@dataclass(slots=True, kw_only=True, eq=False)
class Leave:
    """What one request took of several limits at once: `tokens` of those that count tokens, one of each other.

    `standings` tells how the limits stood afterwards.
    """

    standings: tuple[Standing, ...]
    tokens: int
    settle: Settle

    def end(self, *, tokens: int) -> None:
        """Give slots back, and correct what was taken by what was used. Call it once."""
        self.settle(self, tokens)


class LimitReachedError(RateLimitReachedError):
    """One of the limits has less left than was asked for. `standings` are those of all that were asked."""

    def __init__(self, *, standings: tuple[Standing, ...], tokens: int) -> None:
        waits = {
            standing: standing.wait_s(_amount(standing, tokens))
            for standing in standings
            if _is_short(standing, tokens)
        }
        self.standings = standings
        self.reached, wait_s = max(waits.items(), key=lambda item: item[1])
        super().__init__(retry_after_s=max(1, math.ceil(wait_s)))


def _amount(standing: Standing, tokens: int) -> int:
    return amount_of(standing.limit, tokens=tokens)


def _is_short(standing: Standing, tokens: int) -> bool:
    return standing.remaining < _amount(standing, tokens)
