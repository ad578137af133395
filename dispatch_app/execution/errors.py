"""What can go wrong in a dispatch, upstream and towards the client.

::

    UpstreamError                     one attempt failed                  fails over  retries  money
     ├── UnreachableError             no request byte was sent            yes         no       nothing
     │    └── CredentialGoneError     it was taken away meanwhile         rotates     no       nothing
     ├── RateLimitedError             429                                 rotates     no       nothing
     ├── QuotaExhaustedError          429 or 402 for want of credit       rotates     no       nothing
     ├── ServerFailedError            5xx, 408                            yes         yes      bound, if the vendor bills it
     ├── RequestRejectedError         400, 404, 413, 422, …               no          no       nothing
     │    └── ContextTooLongError     the prompt does not fit the model   by leave    no       nothing
     ├── CredentialRefusedError       401, 403                            rotates     no       nothing
     ├── FirstByteTimeoutError        silence before the reply            yes         no       bound
     ├── IdleTimeoutError             silence within the reply            yes         no       bound
     ├── DeadlineExceededError        the time for the attempt was up     yes         no       bound
     ├── TruncatedError               the reply broke off                 yes         yes      usage, else bound
     ├── StreamFailedError            an error event after status 200     yes         yes      usage, else bound
     ├── InvalidReplyError            not what the wire format promises   yes         no       usage, else bound
     ├── RedirectedError              3xx, never followed                 yes         no       nothing
     └── StoppedError                 cut from our side                                        received, at most the bound
          ├── ClientGoneError         the caller hung up                  no          no
          ├── KilledError             a hard kill switch                  yes         no
          ├── ShutDownError           this process ends                   no          no
          └── SupersededError         another answer had won              no          no

    DispatchError                     the dispatch failed; says what the client is told

What rotates fails over, too: to the same model with another credential first, if it has one that takes traffic.
After the first byte that was forwarded to the client nothing fails over, whatever the table says.
"""

from enum import StrEnum
from typing import ClassVar

from policies_app.routing.codes import FaultClass, RefusalCode
from policies_app.routing.types import Usage

DEFAULT_RETRY_AFTER_S = 1


class ErrorCode(StrEnum):
    """Everything that a client of the data plane can be told."""

    INVALID_REQUEST = "invalid_request"
    UNSUPPORTED_PARAMETER = "unsupported_parameter"
    INVALID_API_KEY = "invalid_api_key"
    MODEL_NOT_ALLOWED = "model_not_allowed"
    MODEL_NOT_FOUND = "model_not_found"
    NOT_FOUND = "not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    REQUEST_TOO_LARGE = "request_too_large"
    REQUEST_REJECTED = "request_rejected"
    RATE_LIMIT_EXCEEDED = "rate_limit_exceeded"
    INSUFFICIENT_QUOTA = "insufficient_quota"
    UPSTREAM_UNREACHABLE = "upstream_unreachable"
    UPSTREAM_INVALID = "upstream_invalid"
    KILLED = "killed"
    NO_TARGET_AVAILABLE = "no_target_available"
    LEDGER_UNAVAILABLE = "ledger_unavailable"
    DEADLINE_EXCEEDED = "deadline_exceeded"
    NO_VALID_ANSWER = "no_valid_answer"
    CLIENT_DISCONNECTED = "client_disconnected"
    SHUTTING_DOWN = "shutting_down"
    INTERNAL_ERROR = "internal_error"
    IDEMPOTENCY_KEY_IN_FLIGHT = "idempotency_key_in_flight"
    IDEMPOTENCY_KEY_USED = "idempotency_key_used"
    IDEMPOTENCY_KEY_MISMATCH = "idempotency_key_mismatch"
    OUTCOME_UNKNOWN = "outcome_unknown"


STATUS_OF_REFUSAL: dict[RefusalCode, tuple[int, ErrorCode]] = {
    RefusalCode.KILLED: (503, ErrorCode.KILLED),
    RefusalCode.NO_TARGET_AVAILABLE: (503, ErrorCode.NO_TARGET_AVAILABLE),
    RefusalCode.INSUFFICIENT_QUOTA: (429, ErrorCode.INSUFFICIENT_QUOTA),
}


class DispatchError(Exception):
    """A dispatch came to nothing. Carries what the client may know: a status, a code and when to come back."""

    def __init__(self, *, status: int, code: ErrorCode, retry_after_s: int | None = None) -> None:
        super().__init__(code.value)
        self.status = status
        self.code = code
        self.retry_after_s = retry_after_s

    @classmethod
    def of_refusal(cls, code: RefusalCode) -> "DispatchError":
        """The error that a refusal is told as."""
        status, error_code = STATUS_OF_REFUSAL[code]
        return cls(status=status, code=error_code)


class UpstreamError(Exception):
    """An attempt failed. `usage` is what the vendor had reported by then, None if nothing."""

    fault: ClassVar[FaultClass]
    fails_over: ClassVar[bool] = True
    rotates: ClassVar[bool] = False
    is_retryable: ClassVar[bool] = False
    client_status: ClassVar[int] = 502
    client_code: ClassVar[ErrorCode] = ErrorCode.UPSTREAM_INVALID
    is_billable: bool = True

    def __init__(
        self, *, wire_status: int | None = None, usage: Usage | None = None, retry_after_s: int | None = None
    ) -> None:
        super().__init__(self.fault.value)
        self.wire_status = wire_status
        self.usage = usage
        self.retry_after_s = retry_after_s

    def as_dispatch_error(self) -> DispatchError:
        """What the client is told when there is no alternative left."""
        return DispatchError(
            status=self.client_status, code=self.client_code, retry_after_s=self.retry_after_s
        )


class UnreachableError(UpstreamError):
    fault = FaultClass.UNREACHABLE
    client_code = ErrorCode.UPSTREAM_UNREACHABLE
    is_billable = False


class CredentialGoneError(UnreachableError):
    """The credential was switched off or deleted after it had been chosen for this call."""

    rotates = True


class RateLimitedError(UpstreamError):
    fault = FaultClass.RATE_LIMITED
    rotates = True
    is_billable = False

    def as_dispatch_error(self) -> DispatchError:
        """Always says when to come back, also where the vendor did not."""
        retry_after_s = DEFAULT_RETRY_AFTER_S if self.retry_after_s is None else self.retry_after_s
        return DispatchError(status=429, code=ErrorCode.RATE_LIMIT_EXCEEDED, retry_after_s=retry_after_s)


class QuotaExhaustedError(UpstreamError):
    fault = FaultClass.QUOTA_EXHAUSTED
    rotates = True
    client_status = 503
    client_code = ErrorCode.NO_TARGET_AVAILABLE
    is_billable = False


class ServerFailedError(UpstreamError):
    """`is_billable` says whether this vendor's contract charges for its own failures."""

    fault = FaultClass.SERVER_ERROR
    is_retryable = True

    def __init__(self, *, wire_status: int, is_billable: bool, retry_after_s: int | None = None) -> None:
        super().__init__(wire_status=wire_status, retry_after_s=retry_after_s)
        self.is_billable = is_billable

    def as_dispatch_error(self) -> DispatchError:
        """An overloaded vendor is one that is not available; any other failure is an invalid answer."""
        if self.wire_status in {503, 529}:
            return DispatchError(
                status=503, code=ErrorCode.NO_TARGET_AVAILABLE, retry_after_s=self.retry_after_s
            )
        return super().as_dispatch_error()


class RequestRejectedError(UpstreamError):
    """The vendor finds fault with the request itself: another target would too."""

    fault = FaultClass.BAD_REQUEST
    fails_over = False
    is_billable = False

    def as_dispatch_error(self) -> DispatchError:
        """The vendor's own status, without its words."""
        return DispatchError(status=self.wire_status or 400, code=ErrorCode.REQUEST_REJECTED)


class ContextTooLongError(RequestRejectedError):
    """The prompt does not fit this model; a larger one may take it, where the rule gives leave."""


class CredentialRefusedError(UpstreamError):
    """Never told as a 401: it is not the client's key that was refused."""

    fault = FaultClass.CREDENTIAL_REFUSED
    client_code = ErrorCode.UPSTREAM_UNREACHABLE
    rotates = True
    is_billable = False


class FirstByteTimeoutError(UpstreamError):
    fault = FaultClass.FIRST_BYTE_TIMEOUT
    client_status = 504
    client_code = ErrorCode.DEADLINE_EXCEEDED


class IdleTimeoutError(UpstreamError):
    fault = FaultClass.IDLE_TIMEOUT
    client_status = 504
    client_code = ErrorCode.DEADLINE_EXCEEDED


class DeadlineExceededError(UpstreamError):
    fault = FaultClass.DEADLINE_EXCEEDED
    client_status = 504
    client_code = ErrorCode.DEADLINE_EXCEEDED


class TruncatedError(UpstreamError):
    fault = FaultClass.TRUNCATED
    is_retryable = True


class StreamFailedError(UpstreamError):
    fault = FaultClass.STREAM_ERROR
    is_retryable = True


class InvalidReplyError(UpstreamError):
    fault = FaultClass.INVALID_REPLY


class RedirectedError(UpstreamError):
    fault = FaultClass.REDIRECTED
    is_billable = False


class StoppedError(UpstreamError):
    """The attempt was cut from our side while the vendor was at it."""

    fails_over = False


class ClientGoneError(StoppedError):
    """The caller hung up in the middle of a stream. `client_status` is for the log alone."""

    fault = FaultClass.CLIENT_DISCONNECTED
    client_status = 499
    client_code = ErrorCode.CLIENT_DISCONNECTED


class KilledError(StoppedError):
    """A hard kill switch stopped the target, or the request. Another target is asked, which the switch may stop too."""

    fault = FaultClass.KILLED
    fails_over = True
    client_status = 503
    client_code = ErrorCode.KILLED


class ShutDownError(StoppedError):
    """The process has to end before the attempt does."""

    fault = FaultClass.SHUT_DOWN
    client_status = 503
    client_code = ErrorCode.SHUTTING_DOWN

    def as_dispatch_error(self) -> DispatchError:
        """Another process takes the request at once."""
        return DispatchError(
            status=self.client_status, code=self.client_code, retry_after_s=DEFAULT_RETRY_AFTER_S
        )


class SupersededError(StoppedError):
    """Another attempt of the same dispatch had won."""

    fault = FaultClass.SUPERSEDED
