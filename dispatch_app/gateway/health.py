"""`/healthz` says that the process lives, `/readyz` that it can serve."""

import msgspec

from dispatch_app.gateway.answers import send_json
from dispatch_app.gateway.exchange import Exchange


async def healthz(exchange: Exchange) -> None:
    """Answer at all."""
    await send_json(exchange.send, b'{"status":"ok"}', headers=[])


async def readyz(exchange: Exchange) -> None:
    """Answer 200 when requests can be served, else 503 and what is missing."""
    services = exchange.services
    checks = {
        "snapshot": services.snapshots.is_loaded,
        "database": await services.database_answers(),
        "leave to admit": services.stopped_by() is None,
    }
    is_ready = all(checks.values())
    told = {
        "status": "ready" if is_ready else "not ready",
        "missing": [name for name, holds in checks.items() if not holds],
    }
    await send_json(exchange.send, msgspec.json.encode(told), headers=[], status=200 if is_ready else 503)
