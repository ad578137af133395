"""Why a vendor could not be reached, in words for the staff: from our side of the connection, never from what was sent back."""

import ssl
from collections.abc import Iterator
from socket import gaierror

from dispatch_app.providers.dial import AddressRefusedError

_WORDS: tuple[tuple[tuple[type[BaseException], ...], str], ...] = (
    (
        (AddressRefusedError,),
        "its address is not one of the public internet, and the provider may not use private networks",
    ),
    ((gaierror,), "its name cannot be resolved"),
    ((ssl.SSLCertVerificationError,), "its certificate is not valid for that name"),
    ((ssl.SSLError,), "no encrypted connection came about"),
    ((ConnectionRefusedError,), "it refuses connections"),
    ((TimeoutError,), "no connection came about in time"),
)


def why_unreachable(error: BaseException) -> str:
    """The first cause that has a name."""
    causes = list(_causes(error))
    for kinds, words in _WORDS:
        if any(isinstance(cause, kinds) for cause in causes):
            return words
    return "no connection came about" if len(causes) > 1 else "its address may not be called like that"


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An error and everything that led to it; aiohttp keeps some of that in attributes."""
    waiting: list[BaseException | None] = [error]
    seen: set[int] = set()
    while waiting:
        cause = waiting.pop()
        if cause is None or id(cause) in seen:
            continue
        seen.add(id(cause))
        yield cause
        waiting += [
            cause.__cause__,
            cause.__context__,
            getattr(cause, "os_error", None),
            getattr(cause, "_certificate_error", None),
            *(cause.exceptions if isinstance(cause, BaseExceptionGroup) else ()),
        ]
