"""What clients are told when something is wrong: a fixed vocabulary, in the words of this file only.

No message carries a vendor's text, a host, a key or SQL. Where a value of the caller's own is at fault, its path is named.
"""

from dataclasses import dataclass

import msgspec

from dispatch_app.execution.errors import DispatchError, ErrorCode

_NOT_FOUND = "The model or policy does not exist, or this key may not use it."

MESSAGES: dict[ErrorCode, str] = {
    ErrorCode.INVALID_REQUEST: "The request is invalid.",
    ErrorCode.UNSUPPORTED_PARAMETER: "This parameter is not supported.",
    ErrorCode.INVALID_API_KEY: "The API key is missing, unknown, expired or disabled.",
    ErrorCode.MODEL_NOT_ALLOWED: "This API key may not use that model or policy.",
    ErrorCode.MODEL_NOT_FOUND: _NOT_FOUND,
    ErrorCode.NOT_FOUND: "There is nothing at this address.",
    ErrorCode.METHOD_NOT_ALLOWED: "This address does not take that method.",
    ErrorCode.REQUEST_TOO_LARGE: "The request's body is too large.",
    ErrorCode.REQUEST_REJECTED: "The model's vendor rejected the request as invalid.",
    ErrorCode.RATE_LIMIT_EXCEEDED: "The models that could answer are rate limited. Try again later.",
    ErrorCode.INSUFFICIENT_QUOTA: "A budget does not cover this request.",
    ErrorCode.UPSTREAM_UNREACHABLE: "The models that could answer could not be reached.",
    ErrorCode.UPSTREAM_INVALID: "The models that could answer failed or gave an invalid reply.",
    ErrorCode.KILLED: "A kill switch stops this request.",
    ErrorCode.NO_TARGET_AVAILABLE: "No model is available for this request.",
    ErrorCode.LEDGER_UNAVAILABLE: "The ledger is unavailable, so nothing was sent. Try again shortly.",
    ErrorCode.DEADLINE_EXCEEDED: "No reply came in time.",
    ErrorCode.NO_VALID_ANSWER: "No model's answer passed the checks of the rule.",
    ErrorCode.CLIENT_DISCONNECTED: "The client went away.",
    ErrorCode.SHUTTING_DOWN: "This process is shutting down. Try again: another one answers.",
    ErrorCode.IDEMPOTENCY_KEY_IN_FLIGHT: "The request with this idempotency key is still being carried out.",
    ErrorCode.IDEMPOTENCY_KEY_USED: "The request with this idempotency key was carried out. Its answer is not kept.",
    ErrorCode.IDEMPOTENCY_KEY_MISMATCH: "This idempotency key was used for another request.",
    ErrorCode.OUTCOME_UNKNOWN: (
        "Whether the request with this idempotency key was carried out is not known. It is not run again."
    ),
    ErrorCode.INTERNAL_ERROR: "Something went wrong here. The request id tells the operators what.",
}

_IN_VAIN = frozenset(
    {ErrorCode.INSUFFICIENT_QUOTA, ErrorCode.IDEMPOTENCY_KEY_USED, ErrorCode.OUTCOME_UNKNOWN}
)
"""Where asking again gets the same answer, though clients retry the status of their own accord."""

_TYPES: dict[ErrorCode, str] = {
    ErrorCode.INVALID_API_KEY: "authentication_error",
    ErrorCode.MODEL_NOT_ALLOWED: "permission_error",
    ErrorCode.RATE_LIMIT_EXCEEDED: "rate_limit_error",
    ErrorCode.INSUFFICIENT_QUOTA: "insufficient_quota",
}


class RequestError(DispatchError):
    """The request itself is at fault. `param` is the path of the value that is, `detail` says what is wrong with it.

    `is_in_vain` says that the same request gets the same answer again, where the status would have clients retry it.
    """

    def __init__(
        self,
        *,
        status: int = 400,
        code: ErrorCode = ErrorCode.INVALID_REQUEST,
        param: str | None = None,
        detail: str | None = None,
        retry_after_s: int | None = None,
        is_in_vain: bool = False,
    ) -> None:
        super().__init__(status=status, code=code, retry_after_s=retry_after_s)
        self.param = param
        self.detail = detail
        self.is_in_vain = is_in_vain


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorBody:
    """The inside of OpenAI's error envelope."""

    message: str
    type: str
    param: str | None
    code: str


def render_error(error: DispatchError) -> bytes:
    """The body of an error answer, and the data of an error event, in OpenAI's format."""
    return msgspec.json.encode({"error": _body_of(error)})


def error_headers(error: DispatchError) -> list[tuple[bytes, bytes]]:
    """Headers that say whether, and when, to come back."""
    headers = []
    if error.retry_after_s is not None:
        headers.append((b"retry-after", b"%d" % error.retry_after_s))
    if error.code in _IN_VAIN or (isinstance(error, RequestError) and error.is_in_vain):
        headers.append((b"x-should-retry", b"false"))
    if error.code is ErrorCode.REQUEST_TOO_LARGE:
        headers.append((b"connection", b"close"))
    return headers


def message_of(error: DispatchError) -> str:
    """What is wrong, in words for the caller."""
    message = MESSAGES[error.code]
    if not isinstance(error, RequestError):
        return message
    if error.detail is None and error.code is ErrorCode.UNSUPPORTED_PARAMETER:
        return f"{error.param}: {message}"
    return error.detail or message


def _body_of(error: DispatchError) -> ErrorBody:
    default_type = "invalid_request_error" if error.status < 500 else "server_error"
    return ErrorBody(
        message=message_of(error),
        type=_TYPES.get(error.code, default_type),
        param=error.param if isinstance(error, RequestError) else None,
        code=error.code.value,
    )
