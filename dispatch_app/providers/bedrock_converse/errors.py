"""What Bedrock's errors mean.

Source: "Common errors" of Converse in the Amazon Bedrock API reference, and "Troubleshooting Amazon Bedrock API error
codes" in the user guide. Each exception has a status of its own; that a prompt is too long, or a day's tokens are used
up, is told by the message alone.
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

_RETRIABLE_CLIENT_ERRORS = frozenset({408, 424, 425})
"""Among them ModelTimeoutException and ModelErrorException, where it is the model that failed."""
_TOO_LONG = ("input is too long", "prompt is too long", "exceed context limit", "maximum context length")


class _Error(msgspec.Struct):
    message: str = ""


_decode = msgspec.json.Decoder(_Error).decode


def read_error(
    body: bytes, *, wire_status: int, retry_after_s: int | None, bills_server_errors: bool
) -> UpstreamError:
    """See `Adapter.read_error`."""
    if wire_status >= 500 or wire_status in _RETRIABLE_CLIENT_ERRORS:
        return ServerFailedError(
            wire_status=wire_status, is_billable=bills_server_errors, retry_after_s=retry_after_s
        )
    message = _message(body)
    if wire_status == 429 and "per day" not in message:
        return RateLimitedError(wire_status=wire_status, retry_after_s=retry_after_s)
    return _refusal_kind(wire_status, message)(wire_status=wire_status)


def _refusal_kind(wire_status: int, message: str) -> type[UpstreamError]:
    if wire_status in {401, 403}:
        return CredentialRefusedError
    if wire_status == 429:
        return QuotaExhaustedError
    if wire_status == 400 and any(words in message for words in _TOO_LONG):
        return ContextTooLongError
    if wire_status >= 400:
        return RequestRejectedError
    return RedirectedError if wire_status >= 300 else InvalidReplyError


def _message(body: bytes) -> str:
    try:
        return _decode(body).message.lower()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""
