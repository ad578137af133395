"""What Anthropic's errors mean.

Source: "Errors" of the Claude API reference. That a prompt is too long, or the account without credit, is told by the
message alone.
"""

import msgspec

from dispatch_app.execution.errors import (
    ContextTooLongError,
    CredentialRefusedError,
    InvalidReplyError,
    QuotaExhaustedError,
    RateLimitedError,
    RedirectedError,
    RequestRejectedError,
    ServerFailedError,
    UpstreamError,
)

_RETRIABLE_CLIENT_ERRORS = frozenset({408, 409, 425})


class _Details(msgspec.Struct):
    type: str = ""
    message: str = ""


class _Error(msgspec.Struct):
    error: _Details


_decode = msgspec.json.Decoder(_Error).decode


def read_error(
    body: bytes, *, wire_status: int, retry_after_s: int | None, bills_server_errors: bool
) -> UpstreamError:
    """See `Adapter.read_error`."""
    if wire_status >= 500 or wire_status in _RETRIABLE_CLIENT_ERRORS:
        return ServerFailedError(
            wire_status=wire_status, is_billable=bills_server_errors, retry_after_s=retry_after_s
        )
    if wire_status == 429:
        return RateLimitedError(wire_status=wire_status, retry_after_s=retry_after_s)
    return _refusal_kind(wire_status, _message(body))(wire_status=wire_status)


def _refusal_kind(wire_status: int, message: str) -> type[UpstreamError]:
    if wire_status in {401, 403}:
        return CredentialRefusedError
    if wire_status == 402 or (wire_status == 400 and "credit balance" in message):
        return QuotaExhaustedError
    if wire_status == 400 and "prompt is too long" in message:
        return ContextTooLongError
    if wire_status >= 400:
        return RequestRejectedError
    return RedirectedError if wire_status >= 300 else InvalidReplyError


def _message(body: bytes) -> str:
    try:
        return _decode(body).error.message.lower()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""
