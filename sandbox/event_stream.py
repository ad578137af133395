"""AWS's event streams, as bytes."""

import struct
import zlib
from collections.abc import Mapping

_STRING = 7
_SUM = struct.Struct(">I")
_PRELUDE = struct.Struct(">II")
_OVERHEAD_BYTES = 16
"""The prelude, its sum, and that of the whole."""


def encode_frame(headers: Mapping[str, str], payload: bytes) -> bytes:
    """Return one message, with its sums."""
    head = b"".join(_encode_header(name, value) for name, value in headers.items())
    prelude = _PRELUDE.pack(len(head) + len(payload) + _OVERHEAD_BYTES, len(head))
    message = prelude + _SUM.pack(zlib.crc32(prelude)) + head + payload
    return message + _SUM.pack(zlib.crc32(message))


def encode_event(kind: str, payload: bytes) -> bytes:
    """Return an event of a kind; its payload is JSON."""
    headers = {":event-type": kind, ":content-type": "application/json", ":message-type": "event"}
    return encode_frame(headers, payload)


def encode_exception(kind: str, payload: bytes) -> bytes:
    """Return the message that tells of an error in the middle of a stream."""
    headers = {":exception-type": kind, ":content-type": "application/json", ":message-type": "exception"}
    return encode_frame(headers, payload)


def _encode_header(name: str, value: str) -> bytes:
    told = value.encode()
    return bytes([len(name)]) + name.encode() + struct.pack(">BH", _STRING, len(told)) + told
