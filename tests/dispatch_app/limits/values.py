"""Rate limits by a word or two."""

import itertools

from dispatch_app.snapshot.types import ServedRateLimit
from policies_app.routing.codes import RateLimitKind, RateLimitScope

_ids = itertools.count(1)


def requests(most: int) -> ServedRateLimit:
    return _limit(RateLimitKind.REQUESTS_PER_MINUTE, most)


def tokens(most: int) -> ServedRateLimit:
    return _limit(RateLimitKind.TOKENS_PER_MINUTE, most)


def at_once(most: int) -> ServedRateLimit:
    return _limit(RateLimitKind.CONCURRENT_DISPATCHES, most)


def _limit(kind: RateLimitKind, most: int) -> ServedRateLimit:
    return ServedRateLimit(id=next(_ids), scope=RateLimitScope.TENANT, kind=kind, most=most)
