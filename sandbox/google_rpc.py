"""Google's errors (`google.rpc.Status`), as its APIs write them down in JSON."""

from collections.abc import Mapping, Sequence
from typing import Any

from sandbox.faults import Fault

_Detail = dict[str, Any]

_TYPE = "type.googleapis.com/google.rpc."
_STATUSES: Mapping[int, str] = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ABORTED",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
TOO_LONG = "The input token count exceeds the maximum number of tokens allowed."


def status_body(*, status: int, message: str, details: Sequence[_Detail] = ()) -> dict[str, Any]:
    """Return the body that tells of an error. `status` is the HTTP status."""
    unknown = "INVALID_ARGUMENT" if status < 500 else "INTERNAL"
    told: dict[str, Any] = {
        "code": status,
        "message": message,
        "status": _STATUSES.get(status, unknown),
    }
    return {"error": told | ({"details": list(details)} if details else {})}


def status_body_of(fault: Fault) -> dict[str, Any]:
    """Return the body that tells of a fault. When to come back stands in it, not in a header."""
    wait = fault.format_retry_after()
    details = [] if wait is None else [retry_info(wait)]
    if fault.code == "insufficient_quota":
        details.append(quota_failure("GenerateRequestsPerDayPerProjectPerModel"))
    message = TOO_LONG if fault.code == "context_length_exceeded" else fault.message
    return status_body(status=fault.status, message=message, details=details)


def retry_info(seconds: str) -> _Detail:
    """Return the detail that says when to come back."""
    return {"@type": f"{_TYPE}RetryInfo", "retryDelay": f"{seconds}s"}


def quota_failure(quota: str) -> _Detail:
    """Return the detail that says which quota is used up."""
    return {"@type": f"{_TYPE}QuotaFailure", "violations": [{"quotaId": quota}]}


def error_info(reason: str) -> _Detail:
    """Return the detail that gives an error a name that machines can read."""
    return {"@type": f"{_TYPE}ErrorInfo", "reason": reason, "domain": "googleapis.com"}


def bad_request(field: str, description: str) -> _Detail:
    """Return the detail that says which field of a request is wrong."""
    return {
        "@type": f"{_TYPE}BadRequest",
        "fieldViolations": [{"field": field, "description": description}],
    }
