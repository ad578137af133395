"""Azure's shape of OpenAI's Chat Completions: deployments in the address, and what its content filter found.

A deployment is called like its model. Source: "Azure OpenAI in Foundry Models REST API reference".
"""

import hmac
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, unquote

import msgspec

from sandbox import openai_chat
from sandbox.chat import ChatRequest, parse_chat
from sandbox.completion import Completion
from sandbox.errors import ApiError
from sandbox.faults import ErrorShape
from sandbox.openai_chat import caches_prompt
from sandbox.parameters import check_parameters
from sandbox.wire import HttpRequest, Piece, Reply

__all__ = [
    "BILLS_CACHE_WRITES",
    "ERROR_SHAPE",
    "authenticate",
    "caches_prompt",
    "deployment_of",
    "is_azure",
    "is_embedding",
    "read_chat",
    "render_events",
    "render_refusal",
    "render_reply",
]

ERROR_SHAPE = ErrorShape.AZURE
BILLS_CACHE_WRITES = False
_PATH = re.compile(r"/openai/deployments/(?P<deployment>[^/]+)/(?P<operation>chat/completions|embeddings)")
_VERSION = re.compile(r"\d{4}-\d\d-\d\d(-preview)?")
_HARMLESS = {
    kind: {"filtered": False, "severity": "safe"} for kind in ("hate", "self_harm", "sexual", "violence")
}


def is_azure(request: HttpRequest) -> bool:
    """Whether a request is to one of Azure's addresses."""
    return request.path.startswith("/openai/")


def is_embedding(request: HttpRequest) -> bool:
    """Whether a request asks a deployment for embeddings."""
    called = _PATH.fullmatch(request.path)
    return called is not None and called["operation"] == "embeddings"


def deployment_of(request: HttpRequest) -> str:
    """Which deployment is asked. The model that the body names is of no account.

    :raises ApiError: if the address is none, or names no version of the API.
    """
    called = _PATH.fullmatch(request.path)
    versions = parse_qs(request.head.target.partition("?")[2]).get("api-version", [""])
    if called is None or _VERSION.fullmatch(versions[0]) is None:
        raise ApiError(status=404, message="Resource not found", code="404")
    return unquote(called["deployment"])


def authenticate(request: HttpRequest, *, api_key: str | None) -> None:
    """Check the key, which has a header of its own, or a token of Entra ID in its place; with None, any will do.

    :raises ApiError: if there is none, or it is not the right one.
    """
    scheme, _, token = (request.head.header("authorization") or "").partition(" ")
    shown = request.head.header("api-key") or (token if scheme.lower() == "bearer" else "")
    if not shown or (api_key is not None and not hmac.compare_digest(shown.encode(), api_key.encode())):
        raise ApiError(
            status=401,
            message="Access denied due to invalid subscription key or wrong API endpoint. Make sure to provide a "
            "valid key for an active subscription and use a correct regional API endpoint for your resource.",
            code="401",
        )


def read_chat(request: HttpRequest) -> ChatRequest:
    """Read a request.

    :raises ApiError: if it is not one.
    """
    deployment = deployment_of(request)
    body = _with_model(request.body, deployment)
    chat = parse_chat(body)
    check_parameters(body)
    return chat


def _with_model(body: bytes, deployment: str) -> bytes:
    try:
        fields = msgspec.json.decode(body, type=dict[str, Any])
    except msgspec.DecodeError:
        return body
    return msgspec.json.encode({**fields, "model": deployment})


def render_reply(completion: Completion, *, usage: Mapping[str, Any] | None) -> Reply:
    """Return a plain reply; without `usage`, it reports none."""
    reply = openai_chat.render_reply(completion, usage=usage)
    (piece,) = reply.pieces
    body = msgspec.json.decode(piece.data)
    body["choices"] = [{**choice, "content_filter_results": _HARMLESS} for choice in body["choices"]]
    body["prompt_filter_results"] = _prompt_filter_results()
    return replace(reply, pieces=(replace(piece, data=msgspec.json.encode(body)),))


def render_events(
    completion: Completion, *, usage: Mapping[str, Any] | None, per_token_ms: float = 0
) -> Reply:
    """Return a completion as a stream; its first event is of the filter alone."""
    reply = openai_chat.render_events(completion, usage=usage, per_token_ms=per_token_ms)
    opening = {"id": "", "object": "", "created": 0, "model": "", "choices": []}
    opening["prompt_filter_results"] = _prompt_filter_results()
    first = Piece(data=b"data: " + msgspec.json.encode(opening) + b"\n\n")
    return replace(reply, pieces=(first, *map(_annotated, reply.pieces)))


def _annotated(piece: Piece) -> Piece:
    """An event of a stream with what the filter says of each choice: nothing, where it has no words."""
    told = piece.data.removeprefix(b"data: ").rstrip()
    if told == b"[DONE]":
        return piece
    chunk = msgspec.json.decode(told)
    chunk["choices"] = [
        {**choice, "content_filter_results": _HARMLESS if choice["delta"].get("content") else {}}
        for choice in chunk["choices"]
    ]
    return replace(piece, data=b"data: " + msgspec.json.encode(chunk) + b"\n\n")


def _prompt_filter_results() -> list[dict[str, Any]]:
    return [{"prompt_index": 0, "content_filter_results": _HARMLESS}]


def render_refusal(error: ApiError) -> Reply:
    """Return the reply that tells of an error. Azure's own say less than those of the models."""
    told = error.body["error"]
    if told["code"] == "model_not_found":
        message = "The API deployment for this resource does not exist. If you created the deployment within "
        message += "the last 5 minutes, please wait a moment and try again."
        told = {"code": "DeploymentNotFound", "message": message}
    elif error.status in {401, 404}:
        told = {"code": told["code"], "message": told["message"]}
    return Reply.json({"error": told}, status=error.status)
