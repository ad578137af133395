"""What callers are told of their rate limits, in OpenAI's headers and in words."""

from collections.abc import Iterable

from dispatch_app.execution.errors import ErrorCode
from dispatch_app.gateway.errors import RequestError
from dispatch_app.gateway.headers import RawHeaders
from dispatch_app.limits.leave import LimitReachedError
from dispatch_app.limits.standing import Standing
from policies_app.routing.codes import RateLimitKind, RateLimitScope

_UNITS = {RateLimitKind.REQUESTS_PER_MINUTE: b"requests", RateLimitKind.TOKENS_PER_MINUTE: b"tokens"}
_SUBJECTS = {
    RateLimitScope.TENANT: "tenant",
    RateLimitScope.API_KEY: "API key",
    RateLimitScope.MODEL: "model",
}
_MEASURES = {
    RateLimitKind.REQUESTS_PER_MINUTE: "requests a minute",
    RateLimitKind.TOKENS_PER_MINUTE: "tokens a minute",
    RateLimitKind.CONCURRENT_DISPATCHES: "requests at once",
}


def rate_limit_headers(standings: Iterable[Standing]) -> RawHeaders:
    """How the limits stand. Of several that count the same, the one that has the least left."""
    if not standings:
        return []
    headers: RawHeaders = []
    for kind, unit in _UNITS.items():
        counted = [standing for standing in standings if standing.limit.kind is kind]
        if counted:
            tightest = min(counted, key=lambda standing: standing.remaining)
            headers += [
                (b"x-ratelimit-limit-" + unit, b"%d" % tightest.limit.most),
                (b"x-ratelimit-remaining-" + unit, b"%d" % tightest.remaining),
                (b"x-ratelimit-reset-" + unit, b"%.3fs" % tightest.reset_s),
            ]
    return headers


def reached(error: LimitReachedError) -> RequestError:
    """The refusal, which says which limit it was and when to come back."""
    limit = error.reached.limit
    return RequestError(
        status=429,
        code=ErrorCode.RATE_LIMIT_EXCEEDED,
        detail=f"The limit of {limit.most:,} {_MEASURES[limit.kind]} of this {_SUBJECTS[limit.scope]} is reached.",
        retry_after_s=error.retry_after_s,
    )
