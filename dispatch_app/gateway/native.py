"""Signalbox's own endpoints: `POST /v1/dispatch` carries a request out, `POST /v1/explain` only decides it.

A body with `input` in place of `messages` is a request for embeddings.
"""

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from dispatch_app.execution.canonical import Operation, Reply
from dispatch_app.execution.dispatcher import Dispatch
from dispatch_app.execution.errors import ErrorCode
from dispatch_app.gateway.admission import Inputs
from dispatch_app.gateway.answers import send_json
from dispatch_app.gateway.errors import RequestError
from dispatch_app.gateway.exchange import Exchange, carry_out
from dispatch_app.gateway.fields import check_fields
from dispatch_app.gateway.headers import CallerHeaders, checked_tags, checked_task
from dispatch_app.gateway.json_guard import measured_object
from dispatch_app.gateway.openai_chat import read_chat
from dispatch_app.gateway.openai_embeddings import read_embeddings, rendered_vectors
from dispatch_app.gateway.prompt import Prompt
from dispatch_app.gateway.repeats import keep, once
from dispatch_app.gateway.trace import decision_details, dispatch_details

_OWN_FIELDS = frozenset({"task", "tags", "limits", "draft"})


class _Limits(msgspec.Struct, forbid_unknown_fields=True):
    timeout_ms: Annotated[int, Meta(ge=1, le=86_400_000)] | None = None
    output_tokens: Annotated[int, Meta(ge=1, le=10_000_000)] | None = None


class _OwnFields(msgspec.Struct):
    task: str | None = None
    tags: dict[str, str] | None = None
    limits: _Limits | None = None
    draft: bool = False
    metadata: dict[str, str] | None = None


async def dispatch(exchange: Exchange) -> None:
    """Carry a canonical request out; tell the reply, the decision, the attempts and the cost."""
    caller, key, body = await exchange.open()
    own, prompt = _read(body)
    if prompt.request.stream:
        raise RequestError(
            code=ErrorCode.UNSUPPORTED_PARAMETER,
            param="stream",
            detail="Stream from /v1/chat/completions instead.",
        )
    inputs = _inputs(own, caller)
    exchange.make_claim(caller, key=key, body=body)

    async def answer() -> None:
        running = await exchange.admit(key=key, prompt=prompt, inputs=inputs)
        reply = await carry_out(exchange, running)
        told = msgspec.json.encode(await _told(exchange, running, reply, prompt))
        await keep(exchange, told)
        await send_json(exchange.send, told, headers=exchange.final_headers())

    await once(exchange, answer)


async def explain(exchange: Exchange) -> None:
    """Tell how a request would be decided at this moment. Nothing is called, reserved or logged."""
    caller, key, body = await exchange.open()
    own, prompt = _read(body)
    if own.draft and not key.may_explain_drafts:
        raise RequestError(status=403, code=ErrorCode.MODEL_NOT_ALLOWED, param="draft")
    admission = exchange.decide(key=key, prompt=prompt, inputs=_inputs(own, caller), is_draft=own.draft)
    told = decision_details(admission.decision, admission.reason)
    await send_json(exchange.send, msgspec.json.encode(told), headers=exchange.headers())


def _read(body: bytes) -> tuple[_OwnFields, Prompt]:
    document, size = measured_object(body)
    own = check_fields(document, _OwnFields)
    asked = {name: value for name, value in document.items() if name not in _OWN_FIELDS}
    if "input" in asked and "messages" not in asked:
        return own, read_embeddings(asked)
    if own.limits is not None and own.limits.output_tokens is not None:
        asked["max_tokens"] = own.limits.output_tokens
    return own, read_chat(asked, size=size)


def _inputs(own: _OwnFields, caller: CallerHeaders) -> Inputs:
    """Fields stand before headers here."""
    timeout_ms = own.limits.timeout_ms if own.limits is not None else None
    tags = dict(caller.tags) | (own.metadata or {}) | (own.tags or {})
    return Inputs(
        task=checked_task(own.task) if own.task is not None else caller.task or "",
        tags=checked_tags(tags),
        timeout_ms=timeout_ms or caller.timeout_ms,
    )


async def _told(exchange: Exchange, running: Dispatch, reply: Reply, prompt: Prompt) -> dict[str, Any]:
    answered: dict[str, Any] = (
        {"data": await rendered_vectors(reply, prompt)}
        if prompt.request.operation is Operation.EMBEDDINGS
        else {"reply": reply.choices[0].message, "choices": reply.choices}
    )
    return {
        "id": str(exchange.id),
        **answered,
        "usage": running.progress.usage,
        "dispatch": dispatch_details(exchange, running),
    }
