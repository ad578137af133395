"""What a request claims with its idempotency key."""

import hashlib
import hmac

import msgspec

from dispatch_app.claims import Claim
from dispatch_app.execution.ports import IdempotencyKey
from dispatch_app.gateway.headers import CallerHeaders
from dispatch_app.snapshot.types import ServedKey

MOST_WAIT_S = 120.0
"""How long a caller that prefers to wait does so, unless it says less."""
_PURPOSE = b"signalbox idempotency key\0"


def claim_of(
    caller: CallerHeaders, *, key: ServedKey, endpoint: str, body: bytes, pepper: bytes
) -> Claim | None:
    """What a request claims, None if it comes without a key. `body` must be known to be JSON."""
    if caller.idempotency_key is None:
        return None
    timeout_s = MOST_WAIT_S if caller.timeout_ms is None else caller.timeout_ms / 1000
    return Claim(
        tenant_id=key.tenant.id,
        api_key_id=key.id,
        key=IdempotencyKey(
            endpoint=endpoint,
            key_hmac=hmac.digest(pepper, _PURPOSE + caller.idempotency_key.encode(), "sha256").hex(),
            body_sha256=hashlib.sha256(canonical(body)).hexdigest(),
        ),
        wait_s=min(caller.wait_s, timeout_s, MOST_WAIT_S),
        replays=key.tenant.replays_answers,
    )


def canonical(body: bytes) -> bytes:
    """A JSON text in one way of writing it: neither space nor the order of names makes another request."""
    return msgspec.json.encode(msgspec.json.decode(body), order="sorted")
