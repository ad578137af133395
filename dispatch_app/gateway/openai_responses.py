"""OpenAI's Responses as clients speak them. `responses_request` is what comes in, `responses_stream` goes out bit by bit."""

from typing import Any
from uuid import UUID

import msgspec

from dispatch_app.execution.canonical import ClientFormat, Reply
from dispatch_app.execution.errors import DispatchError
from dispatch_app.gateway.client_half import ClientHalf
from dispatch_app.gateway.errors import render_error
from dispatch_app.gateway.prompt import Prompt
from dispatch_app.gateway.responses_items import describe_ending, describe_response, items_of
from dispatch_app.gateway.responses_request import parse_response
from dispatch_app.gateway.responses_stream import ResponseStream
from policies_app.routing.types import Usage

_encode = msgspec.json.Encoder().encode


def render_reply(
    *,
    reply: Reply,
    dispatch_id: str,
    created: int,
    model: str,
    usage: Usage | None,
    details: Any,
    prompt: Prompt,
) -> bytes:
    """See `ClientHalf.render_reply`."""
    (choice, *_) = reply.choices
    response = describe_response(dispatch_id, created=created, model=model, prompt=prompt)
    items = items_of(choice.message, dispatch_id=dispatch_id)
    response |= describe_ending(choice.finish_reason, output=items, usage=usage)
    return _encode(response if details is None else response | {"dispatch": details})


def _render_error(error: DispatchError, *, dispatch_id: UUID) -> bytes:
    """OpenAI tells the id of a request in a header only."""
    return render_error(error)


OPENAI_RESPONSES = ClientHalf(
    name=ClientFormat.OPENAI_RESPONSES,
    parse=parse_response,
    render_reply=render_reply,
    render_stream=ResponseStream,
    render_error=_render_error,
    heartbeat=b": still at it\n\n",
    request_id_header=b"x-request-id",
)
