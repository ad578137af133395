"""Sending answers over ASGI, without a response object in between."""

from starlette.types import Send

from dispatch_app.execution.errors import DispatchError
from dispatch_app.gateway.errors import error_headers
from dispatch_app.gateway.headers import RawHeaders

_JSON = (b"content-type", b"application/json")
_EVENT_STREAM = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]


async def send_json(send: Send, body: bytes, *, headers: RawHeaders, status: int = 200) -> None:
    """Send a whole answer."""
    all_headers = [_JSON, (b"content-length", b"%d" % len(body)), *headers]
    await send({"type": "http.response.start", "status": status, "headers": all_headers})
    await send({"type": "http.response.body", "body": body})


async def send_error(send: Send, error: DispatchError, *, body: bytes, headers: RawHeaders) -> None:
    """Send an error, as `body` tells it in the caller's format."""
    await send_json(send, body, headers=headers + error_headers(error), status=error.status)


async def start_events(send: Send, *, headers: RawHeaders) -> None:
    """Begin a stream of events."""
    await send({"type": "http.response.start", "status": 200, "headers": _EVENT_STREAM + headers})


async def send_event(send: Send, event: bytes) -> None:
    await send({"type": "http.response.body", "body": event, "more_body": True})


async def end_events(send: Send, event: bytes) -> None:
    """Send the last event of a stream."""
    await send({"type": "http.response.body", "body": event})
