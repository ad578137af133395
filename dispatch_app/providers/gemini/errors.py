"""What Gemini's errors mean.

Source: "Troubleshooting guide" and "Rate limits" of the Gemini API and `google.rpc` (`Status`, `ErrorInfo`, `RetryInfo`,
`QuotaFailure`). A key that is none is a 400, told apart by its reason; that a prompt is too long is told by the message
alone. A day's quota that is used up is told by its id alone: the seconds to wait that come with it are none that help.
"""

import re
from typing import Any

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

_RETRIABLE_CLIENT_ERRORS = frozenset({408, 425, 499})
_QUOTA_FAILURE = "type.googleapis.com/google.rpc.QuotaFailure"
_PER_DAY = "PerDay"
"""Within the id of a quota, such as `GenerateRequestsPerDayPerProjectPerModel`."""
_SECONDS = re.compile(r"(\d{1,6})(\.\d+)?s")


class _Status(msgspec.Struct):
    message: str = ""
    status: str = ""
    details: list[dict[str, Any]] = []

    @property
    def reasons(self) -> frozenset[Any]:
        return frozenset(detail.get("reason") for detail in self.details)

    @property
    def is_of_a_day(self) -> bool:
        """Whether a quota is used up that only the next day renews."""
        return any(
            _PER_DAY in str(detail.get("violations"))
            for detail in self.details
            if detail.get("@type") == _QUOTA_FAILURE
        )

    @property
    def retry_after_s(self) -> int | None:
        """What is said of when to come back; it is rounded up."""
        for detail in self.details:
            said = _SECONDS.fullmatch(str(detail.get("retryDelay", "")))
            if said is not None:
                return int(said[1]) + (said[2] is not None)
        return None


class _Error(msgspec.Struct):
    error: _Status


_decode = msgspec.json.Decoder(_Error | list[_Error]).decode


def read_error(
    body: bytes, *, wire_status: int, retry_after_s: int | None, bills_server_errors: bool
) -> UpstreamError:
    """See `Adapter.read_error`."""
    if wire_status >= 500 or wire_status in _RETRIABLE_CLIENT_ERRORS:
        return ServerFailedError(
            wire_status=wire_status, is_billable=bills_server_errors, retry_after_s=retry_after_s
        )
    told = _read(body)
    if wire_status == 429 and not told.is_of_a_day:
        after_s = told.retry_after_s if retry_after_s is None else retry_after_s
        return RateLimitedError(wire_status=wire_status, retry_after_s=after_s)
    return _refusal_kind(wire_status, told)(wire_status=wire_status)


def _refusal_kind(wire_status: int, told: _Status) -> type[UpstreamError]:
    if wire_status in {401, 403} or "API_KEY_INVALID" in told.reasons:
        return CredentialRefusedError
    if wire_status == 429 or told.status == "FAILED_PRECONDITION":
        return QuotaExhaustedError
    if wire_status == 400 and "token count" in told.message and "exceeds" in told.message:
        return ContextTooLongError
    if wire_status >= 400:
        return RequestRejectedError
    return RedirectedError if wire_status >= 300 else InvalidReplyError


def _read(body: bytes) -> _Status:
    """What the error says. Where a stream was asked for, it may stand in a list."""
    try:
        told = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _Status()
    errors = told if isinstance(told, list) else [told]
    return errors[0].error if errors else _Status()
