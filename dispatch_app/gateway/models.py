"""`GET /v1/models`: what a key may name in `model`, in OpenAI's words or, to Anthropic's clients, in theirs."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from dispatch_app.execution.canonical import ClientFormat
from dispatch_app.execution.errors import ErrorCode
from dispatch_app.gateway.admission import is_visible, may_use
from dispatch_app.gateway.answers import send_json
from dispatch_app.gateway.errors import RequestError
from dispatch_app.gateway.exchange import Exchange
from dispatch_app.gateway.headers import read_headers
from dispatch_app.snapshot.types import ServedKey, Snapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    """A policy, or a model with what fits into it."""

    name: str
    owner: str
    kind: str
    known_since: datetime
    input_tokens: int | None = None
    output_tokens: int | None = None


async def list_models(exchange: Exchange) -> None:
    """List the policies and models that the key may use, all on one page."""
    key = exchange.authenticate(read_headers(exchange.scope))
    data = [_told(exchange, entry) for entry in _usable(exchange.services.snapshot(), key)]
    if _is_anthropics(exchange):
        ends = {"first_id": data[0]["id"], "last_id": data[-1]["id"]} if data else {}
        told = {"data": data, "has_more": False, "first_id": None, "last_id": None, **ends}
    else:
        told = {"object": "list", "data": data}
    await send_json(exchange.send, msgspec.json.encode(told), headers=exchange.headers())


async def retrieve_model(exchange: Exchange) -> None:
    """Tell of one policy or model; what the key may not use does not exist."""
    key = exchange.authenticate(read_headers(exchange.scope))
    wanted = exchange.scope["path_params"]["model"]
    for entry in _usable(exchange.services.snapshot(), key):
        if entry.name == wanted:
            told = _told(exchange, entry)
            await send_json(exchange.send, msgspec.json.encode(told), headers=exchange.headers())
            return
    raise RequestError(status=404, code=ErrorCode.MODEL_NOT_FOUND, param="model")


def _usable(snapshot: Snapshot, key: ServedKey) -> Iterator[_Entry]:
    since = snapshot.loaded_at
    for policy in snapshot.policies.values():
        if is_visible(key, policy) and may_use(key, policy):
            yield _Entry(name=policy.name, owner="signalbox", kind="policy", known_since=since)
    if key.may_call_models:
        for model in snapshot.catalogue.values():
            if model.enabled and model.name not in snapshot.policies:
                yield _Entry(
                    name=model.name,
                    owner=model.provider,
                    kind="model",
                    known_since=since,
                    input_tokens=model.context_window_tokens,
                    output_tokens=model.max_output_tokens,
                )


def _is_anthropics(exchange: Exchange) -> bool:
    return exchange.half.name is ClientFormat.ANTHROPIC_MESSAGES


def _told(exchange: Exchange, entry: _Entry) -> dict[str, Any]:
    """Neither vendor's clients mind a field that they do not know, here `kind`."""
    if not _is_anthropics(exchange):
        created = int(entry.known_since.timestamp())
        return {
            "id": entry.name,
            "object": "model",
            "created": created,
            "owned_by": entry.owner,
            "kind": entry.kind,
        }
    return {
        "id": entry.name,
        "type": "model",
        "display_name": entry.name,
        "created_at": entry.known_since,
        "lifecycle": "active",
        "max_input_tokens": entry.input_tokens,
        "max_tokens": entry.output_tokens,
        "kind": entry.kind,
    }
