"""AWS's event streams (`application/vnd.amazon.eventstream`), decoded by botocore from whatever pieces come. No I/O."""

import struct
from collections.abc import Iterator
from typing import Any

import msgspec
from botocore.eventstream import EventStreamBuffer, ParserError

from dispatch_app.execution.errors import InvalidReplyError
from dispatch_app.providers.sse import MAX_EVENT_BYTES, EventTooLongError

_UNREADABLE = (ParserError, struct.error, KeyError, IndexError, UnicodeDecodeError)


class Frame(msgspec.Struct, frozen=True, kw_only=True):
    """One message of an event stream."""

    headers: dict[str, Any]
    payload: bytes


class FrameDecoder:
    """Turns bytes into messages, and checks their sums. How the bytes are split makes no difference."""

    def __init__(self, *, max_frame_bytes: int = MAX_EVENT_BYTES) -> None:
        self._max_frame_bytes = max_frame_bytes
        self._buffer = EventStreamBuffer()
        self._pending_bytes = 0

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Take the next bytes, and yield what they complete.

        :raises EventTooLongError: if a message grows past the limit.
        :raises InvalidReplyError: if the bytes are no event stream.
        """
        self._buffer.add_data(data)
        self._pending_bytes += len(data)
        while (message := self._next()) is not None:
            self._pending_bytes -= message.prelude.total_length
            self._check(message.prelude.total_length)
            yield Frame(headers=message.headers, payload=message.payload)
        self._check(self._pending_bytes)

    def _next(self) -> Any:
        try:
            return next(self._buffer, None)
        except _UNREADABLE as error:
            raise InvalidReplyError(wire_status=200) from error

    def _check(self, size: int) -> None:
        if size > self._max_frame_bytes:
            raise EventTooLongError
