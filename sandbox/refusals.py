"""How vendors say no: their best-known refusals by name, and every shape that an error is written in."""

from collections.abc import Callable, Mapping
from html import escape
from typing import Any

import msgspec

from sandbox.errors import error_body
from sandbox.event_stream import encode_exception
from sandbox.faults import ErrorShape, Fault, FaultKind
from sandbox.google_rpc import status_body_of
from sandbox.wire import Headers

_Document = dict[str, Any]

_ANTHROPIC_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    529: "overloaded_error",
}
_BEDROCK_EXCEPTIONS = {
    403: "AccessDeniedException",
    404: "ResourceNotFoundException",
    408: "ModelTimeoutException",
    424: "ModelErrorException",
    429: "ThrottlingException",
    500: "InternalServerException",
    503: "ServiceUnavailableException",
}


def encode_error(fault: Fault) -> tuple[str, bytes]:
    """Return the content type and body of a refusal."""
    if fault.shape is ErrorShape.HTML:
        return "text/html; charset=utf-8", _render_page(fault).encode()
    return "application/json", msgspec.json.encode(_DOCUMENTS[fault.shape](fault))


def error_headers(fault: Fault) -> Headers:
    """Return the headers of a refusal that tell of the error, and when to come back."""
    wait = None if fault.shape is ErrorShape.GEMINI else fault.format_retry_after()
    kind = _bedrock_exception_of(fault) if fault.shape is ErrorShape.BEDROCK else None
    told = {"x-amzn-errortype": kind, "retry-after": wait}
    return tuple((name, value) for name, value in told.items() if value is not None)


def bedrock_exception(status: int) -> str:
    """Return what Bedrock calls an error of a status."""
    unknown = "ValidationException" if status < 500 else "InternalServerException"
    return _BEDROCK_EXCEPTIONS.get(status, unknown)


def _bedrock_exception_of(fault: Fault) -> str:
    """Types of other vendors' errors say nothing here."""
    named = fault.error_type or ""
    return named if named.endswith("Exception") else bedrock_exception(fault.status)


def encode_error_event(fault: Fault) -> bytes:
    """Return the event that tells of an error in the middle of a stream."""
    match fault.shape:
        case ErrorShape.HTML:
            return b"data: " + _render_page(fault).encode() + b"\n\n"
        case ErrorShape.ANTHROPIC:
            return b"event: error\ndata: " + msgspec.json.encode(_render_anthropic(fault)) + b"\n\n"
        case ErrorShape.VLLM:
            # Its generators end with this whatever happened, and nest what a status reply has outside.
            nested = {"error": _render_vllm(fault)}
            return b"data: " + msgspec.json.encode(nested) + b"\n\ndata: [DONE]\n\n"
        case ErrorShape.BEDROCK:
            exception = _bedrock_exception_of(fault)
            # Within a stream, their names begin with a small letter.
            return encode_exception(
                exception[0].lower() + exception[1:], msgspec.json.encode(_render_bedrock(fault))
            )
        case ErrorShape.OPENAI | ErrorShape.AZURE | ErrorShape.FASTAPI | ErrorShape.GEMINI:
            return b"data: " + msgspec.json.encode(_DOCUMENTS[fault.shape](fault)) + b"\n\n"


def _render_openai(fault: Fault) -> _Document:
    kind = fault.error_type or _openai_type(fault.status)
    return error_body(message=fault.message, type=kind, param=fault.param, code=fault.code)


def _render_azure(fault: Fault) -> _Document:
    """Where Azure itself refuses, there is a code and a message; what its models refuse is told as by OpenAI."""
    if fault.status in _AZURES_OWN:
        return {"error": {"code": fault.code or str(fault.status), "message": fault.message}}
    told = _render_openai(fault)
    if fault.code == "content_filter":
        told["error"] |= {"type": None, "param": "prompt", "status": fault.status, "innererror": _FILTERED}
    return told


def _openai_type(status: int) -> str:
    if status == 429:
        return "rate_limit_error"
    return "invalid_request_error" if 400 <= status < 500 else "server_error"


def _render_anthropic(fault: Fault) -> _Document:
    kind = fault.error_type or _ANTHROPIC_TYPES.get(fault.status, "api_error")
    return {"type": "error", "error": {"type": kind, "message": fault.message}}


def _render_vllm(fault: Fault) -> _Document:
    kind = fault.error_type or ("BadRequestError" if fault.status < 500 else "InternalServerError")
    return {
        "object": "error",
        "message": fault.message,
        "type": kind,
        "param": fault.param,
        "code": fault.status,
    }


def _render_bedrock(fault: Fault) -> _Document:
    return {"message": fault.message}


def _render_fastapi(fault: Fault) -> _Document:
    place = ["body", *(() if fault.param is None else (fault.param,))]
    return {"detail": [{"type": fault.error_type or "value_error", "loc": place, "msg": fault.message}]}


def _render_page(fault: Fault) -> str:
    message = escape(fault.message)
    return f"<html><head><title>{message}</title></head><body><h1>{message}</h1></body></html>"


_AZURES_OWN = frozenset({401, 403, 404, 429})
_FILTERED = {
    "code": "ResponsibleAIPolicyViolation",
    "content_filter_result": {
        "hate": {"filtered": False, "severity": "safe"},
        "jailbreak": {"filtered": False, "detected": False},
        "self_harm": {"filtered": False, "severity": "safe"},
        "sexual": {"filtered": False, "severity": "safe"},
        "violence": {"filtered": True, "severity": "medium"},
    },
}

_DOCUMENTS: Mapping[ErrorShape, Callable[[Fault], _Document]] = {
    ErrorShape.OPENAI: _render_openai,
    ErrorShape.AZURE: _render_azure,
    ErrorShape.ANTHROPIC: _render_anthropic,
    ErrorShape.VLLM: _render_vllm,
    ErrorShape.FASTAPI: _render_fastapi,
    ErrorShape.BEDROCK: _render_bedrock,
    ErrorShape.GEMINI: status_body_of,
}


def _refusal(status: int, message: str, **fields: Any) -> Fault:
    return Fault(kind=FaultKind.STATUS, status=status, message=message, **fields)


REFUSALS: Mapping[str, Fault] = {
    "rate_limited": _refusal(
        429,
        "Rate limit reached for requests per minute: limit 500, used 500, requested 1.",
        error_type="requests",
        code="rate_limit_exceeded",
        retry_after="2",
    ),
    "insufficient_quota": _refusal(
        429,
        "You exceeded your current quota, please check your plan and billing details.",
        error_type="insufficient_quota",
        code="insufficient_quota",
    ),
    "context_length_exceeded": _refusal(
        400,
        "This model's maximum context length is 16384 tokens. However, your messages resulted in 20000 tokens. "
        "Please reduce the length of the messages.",
        param="messages",
        code="context_length_exceeded",
    ),
    "content_filter": _refusal(
        400,
        "The response was filtered because the prompt triggered the content management policy.",
        param="prompt",
        code="content_filter",
    ),
    "invalid_api_key": _refusal(401, "Incorrect API key provided.", code="invalid_api_key"),
    "forbidden": _refusal(
        403,
        "Country, region, or territory not supported.",
        error_type="request_forbidden",
        code="unsupported_country_region_territory",
    ),
    "model_not_found": _refusal(
        404, "The model does not exist or you do not have access to it.", code="model_not_found"
    ),
    "too_large": _refusal(413, "413 Request Entity Too Large", shape=ErrorShape.HTML),
    "unprocessable": _refusal(
        422,
        "Input should be a valid list",
        shape=ErrorShape.FASTAPI,
        error_type="list_type",
        param="messages",
    ),
    "bad_gateway": _refusal(502, "502 Bad Gateway", shape=ErrorShape.HTML),
    "overloaded": _refusal(529, "Overloaded", shape=ErrorShape.ANTHROPIC),
}
"""Refusals as vendors write them. Their names are short forms of the faults."""
