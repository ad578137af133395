"""`GET /v1/models`: what a key may name in `model`."""

from collections.abc import Iterator
from typing import Any

import msgspec

from dispatch_app.execution.errors import ErrorCode
from dispatch_app.gateway.admission import is_visible, may_use
from dispatch_app.gateway.answers import send_json
from dispatch_app.gateway.errors import RequestError
from dispatch_app.gateway.exchange import Exchange
from dispatch_app.gateway.headers import read_headers
from dispatch_app.snapshot.types import ServedKey, Snapshot


async def list_models(exchange: Exchange) -> None:
    """List the policies and models that the key may use."""
    key = exchange.authenticate(read_headers(exchange.scope))
    told = {"object": "list", "data": list(_usable(exchange.services.snapshot(), key))}
    await send_json(exchange.send, msgspec.json.encode(told), headers=exchange.headers())


async def retrieve_model(exchange: Exchange) -> None:
    """Tell of one policy or model; what the key may not use does not exist."""
    key = exchange.authenticate(read_headers(exchange.scope))
    wanted = exchange.scope["path_params"]["model"]
    for entry in _usable(exchange.services.snapshot(), key):
        if entry["id"] == wanted:
            await send_json(exchange.send, msgspec.json.encode(entry), headers=exchange.headers())
            return
    raise RequestError(status=404, code=ErrorCode.MODEL_NOT_FOUND, param="model")


def _usable(snapshot: Snapshot, key: ServedKey) -> Iterator[dict[str, Any]]:
    created = int(snapshot.loaded_at.timestamp())
    for policy in snapshot.policies.values():
        if is_visible(key, policy) and may_use(key, policy):
            yield _entry(policy.name, owner="signalbox", kind="policy", created=created)
    if key.may_call_models:
        for model in snapshot.catalogue.values():
            if model.enabled and model.name not in snapshot.policies:
                yield _entry(model.name, owner=model.provider, kind="model", created=created)


def _entry(name: str, *, owner: str, kind: str, created: int) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": created, "owned_by": owner, "kind": kind}
