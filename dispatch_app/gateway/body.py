"""Reading a request's body, never more of it than allowed."""

from starlette.types import Receive, Scope

from dispatch_app.execution.errors import ErrorCode
from dispatch_app.gateway.errors import RequestError


class ClientHungUpError(Exception):
    """The client was gone before its request was complete. There is nobody to answer."""


async def read_body(scope: Scope, receive: Receive, *, limit: int) -> bytes:
    """Return the whole body.

    :raises RequestError: as soon as it is known to exceed `limit` bytes; the rest is not read.
    :raises ClientHungUpError: if the connection broke.
    """
    if _declared_size(scope) > limit:
        raise _too_large()
    message = await receive()
    body: bytes = message.get("body", b"")
    if message["type"] == "http.request" and not message.get("more_body", False) and len(body) <= limit:
        return body
    chunks = [body]
    size = len(body)
    while message.get("more_body", False) and size <= limit:
        message = await receive()
        chunks.append(message.get("body", b""))
        size += len(chunks[-1])
    if message["type"] == "http.disconnect":
        raise ClientHungUpError
    if size > limit:
        raise _too_large()
    return b"".join(chunks)


def _declared_size(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length":
            return int(value)
    return 0


def _too_large() -> RequestError:
    return RequestError(status=413, code=ErrorCode.REQUEST_TOO_LARGE)
