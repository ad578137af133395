"""OpenAI's Chat Completions, as the vendor speaks them."""

import hmac
from collections.abc import Mapping
from typing import Any

import msgspec

from sandbox.chat import ChatRequest, parse_chat
from sandbox.completion import Completion, render_plain, render_stream
from sandbox.errors import ApiError
from sandbox.faults import ErrorShape
from sandbox.parameters import check_parameters
from sandbox.wire import Framing, Headers, HttpRequest, Piece, Reply

ERROR_SHAPE = ErrorShape.OPENAI
BILLS_CACHE_WRITES = False


def authenticate(request: HttpRequest, *, api_key: str | None) -> None:
    """Check the bearer token; with None, any will do.

    :raises ApiError: if there is none, or it is not the right one.
    """
    scheme, _, key = (request.head.header("authorization") or "").partition(" ")
    if scheme.lower() != "bearer" or not key:
        raise ApiError(status=401, message="You didn't provide an API key.", code="invalid_api_key")
    if api_key is not None and not hmac.compare_digest(key.encode(), api_key.encode()):
        raise ApiError(status=401, message="Incorrect API key provided.", code="invalid_api_key")


def read_chat(request: HttpRequest) -> ChatRequest:
    """Read a request.

    :raises ApiError: if it is not one.
    """
    chat = parse_chat(request.body)
    check_parameters(request.body)
    return chat


def caches_prompt(_request: HttpRequest) -> bool:
    """Whether prefixes of the prompt are looked up in the cache, and kept there."""
    return True


def render_reply(completion: Completion, *, usage: Mapping[str, Any] | None) -> Reply:
    """Return a plain reply; without `usage`, it reports none."""
    body = render_plain(completion, usage=None if usage is None else dict(usage))
    return Reply.json(body, headers=_headers(completion))


def render_events(
    completion: Completion, *, usage: Mapping[str, Any] | None, per_token_ms: float = 0
) -> Reply:
    """Return a completion as a stream of server-sent events, one piece each."""
    events = [
        Piece(
            data=b"data: " + msgspec.json.encode(chunk.value) + b"\n\n",
            delay_ms=per_token_ms * chunk.output_tokens,
            output_tokens=chunk.output_tokens,
        )
        for chunk in render_stream(completion, usage=None if usage is None else dict(usage))
    ]
    return Reply(
        headers=(("content-type", "text/event-stream; charset=utf-8"), *_headers(completion)),
        pieces=(*events, Piece(data=b"data: [DONE]\n\n")),
        framing=Framing.CHUNKED,
    )


def render_refusal(error: ApiError) -> Reply:
    """Return the reply that tells of an error."""
    return Reply.json(error.body, status=error.status)


def _headers(completion: Completion) -> Headers:
    request_id = completion.id.replace("chatcmpl-", "req_")
    return ("x-request-id", request_id), ("openai-version", "2020-10-01")
