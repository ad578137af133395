"""AWS's event streams (`application/vnd.amazon.eventstream`), decoded from whatever pieces come. Performs no I/O.

Source: "Amazon Event Stream Specification" of Smithy. Tests hold it against botocore's decoder; see docs/decisions/0009.
"""

import struct
from collections.abc import Iterator, Mapping
from functools import lru_cache
from zlib import crc32

import msgspec

from dispatch_app.execution.errors import InvalidReplyError
from dispatch_app.providers.sse import MAX_EVENT_BYTES, EventTooLongError

_PRELUDE = struct.Struct(">III")
"""The length of the whole, that of its headers, and the sum of these two."""
_SUM = struct.Struct(">I")
_LENGTH = struct.Struct(">H")
_OVERHEAD_BYTES = _PRELUDE.size + _SUM.size
_MOST_HEADER_BYTES = 128 * 1024
"""The specification's own limit."""
_STRING = 7
_SIZES = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}
"""Bytes of the values of other types; those of 6 (bytes) and 7 (string) tell their length themselves."""
_UNREADABLE = (struct.error, KeyError, IndexError, UnicodeDecodeError)


class Frame(msgspec.Struct, frozen=True, kw_only=True):
    """One message of an event stream, with those of its headers that are texts."""

    headers: Mapping[str, str]
    payload: bytes


class FrameDecoder:
    """Turns bytes into messages, and checks their sums. How the bytes are split makes no difference."""

    def __init__(self, *, max_frame_bytes: int = MAX_EVENT_BYTES) -> None:
        self._max_frame_bytes = max_frame_bytes
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Take the next bytes, and yield what they complete.

        :raises EventTooLongError: if a message is longer than the limit.
        :raises InvalidReplyError: if the bytes are no event stream.
        """
        self._rest += data
        while len(self._rest) >= _PRELUDE.size:
            length, headers_length, prelude_sum = _PRELUDE.unpack_from(self._rest)
            _check_prelude(self._rest[:8], prelude_sum, length=length, headers_length=headers_length)
            if length > self._max_frame_bytes:
                raise EventTooLongError
            if len(self._rest) < length:
                return
            message, self._rest = self._rest[:length], self._rest[length:]
            yield _read(message, headers_end=_PRELUDE.size + headers_length)


def _check_prelude(prelude: bytes, prelude_sum: int, *, length: int, headers_length: int) -> None:
    is_possible = headers_length <= min(_MOST_HEADER_BYTES, length - _OVERHEAD_BYTES)
    if crc32(prelude) != prelude_sum or not is_possible:
        raise InvalidReplyError(wire_status=200)


def _read(message: bytes, *, headers_end: int) -> Frame:
    (message_sum,) = _SUM.unpack_from(message, len(message) - _SUM.size)
    if crc32(message[: -_SUM.size]) != message_sum:
        raise InvalidReplyError(wire_status=200)
    try:
        headers = _headers(message[_PRELUDE.size : headers_end])
    except _UNREADABLE as error:
        raise InvalidReplyError(wire_status=200) from error
    return Frame(headers=headers, payload=message[headers_end : -_SUM.size])


@lru_cache(maxsize=32)
def _headers(data: bytes) -> Mapping[str, str]:
    """The headers that are texts. All steps of an answer have the same."""
    headers: dict[str, str] = {}
    at = 0
    while at < len(data):
        name_end = at + 1 + data[at]
        name, kind, at = data[at + 1 : name_end].decode(), data[name_end], name_end + 1
        if kind in _SIZES:
            at += _SIZES[kind]
            continue
        (length,) = _LENGTH.unpack_from(data, at)
        value, at = data[at + 2 : at + 2 + length], at + 2 + length
        if kind == _STRING:
            headers[name] = value.decode()
        elif kind != 6:
            raise KeyError(kind)
    if at > len(data):
        raise IndexError(at)
    return headers
