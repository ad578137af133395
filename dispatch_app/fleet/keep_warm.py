"""Pings the models that are to be kept warm, just before they would go cold.

A ping is a dispatch like any other, of a tenant of its own: decided, reserved on that tenant's budget, sent through the
dispatcher and logged. There is at most one for a model in the time that it stays warm, whatever becomes of it, and none as
long as callers keep it warm.
"""

import asyncio
import logging
from collections.abc import Mapping
from datetime import datetime

import psycopg
from django.conf import settings
from django.db import connection

from dispatch_app.database import database_conninfo
from dispatch_app.execution.dispatcher import Dispatch
from dispatch_app.execution.errors import DispatchError
from dispatch_app.execution.order import Order
from dispatch_app.fleet.account import KEEP_WARM, keep_warm_key
from dispatch_app.fleet.exchange import tell
from dispatch_app.fleet.observations import Observations
from dispatch_app.fleet.own_dispatches import decide_own, open_ledger, own_order, own_ports
from dispatch_app.fleet.warmth import cold_penalties
from dispatch_app.gateway.services import SystemClock
from dispatch_app.ledger.ledger import PostgresLedger
from dispatch_app.providers.transport import Transport
from dispatch_app.providers.upstream import ProviderUpstream
from dispatch_app.snapshot.loader import load_snapshot
from dispatch_app.snapshot.types import Snapshot
from policies_app.models import Model
from policies_app.routing.types import CatalogueModel, FleetState

LastUses = Mapping[int, datetime | None]
"""When each model, by id, last gave a sign of life; None: never."""

logger = logging.getLogger(__name__)

MOST_EARLY_S = 45
"""How long before it would go cold a model is pinged, if it stays warm for long enough: the task runs every 30 s."""

MAKE_ROWS_SQL = """
INSERT INTO fleet_warmth (model_id) SELECT unnest(%(model_ids)s::bigint[]) ON CONFLICT DO NOTHING
"""
# Who comes second to a row finds it claimed. One that was never used is due at once.
CLAIM_SQL = """
UPDATE fleet_warmth AS known SET pinged_at = now()
  FROM unnest(%(model_ids)s::bigint[], %(rests_s)s::integer[]) AS kept (model_id, rest_s)
 WHERE kept.model_id = known.model_id
   AND coalesce(greatest(known.last_used_at, known.pinged_at), '-infinity') <= now() - make_interval(secs => kept.rest_s)
RETURNING known.model_id, known.last_used_at
"""


def keep_warm() -> int:
    """Ping what is about to go cold; answers how many models that was."""
    due = claim_due_models()
    if due:
        asyncio.run(_ping_all(due, public_id=keep_warm_key(), address=database_conninfo()))
    return len(due)


def claim_due_models() -> LastUses:
    """The models that it is time to ping. Nobody else gets them until they have rested again."""
    kept = Model.objects.filter(
        keep_warm=True, cold_after_s__isnull=False, enabled=True, provider__enabled=True
    )
    rests = {model.pk: rest_s(model.cold_after_s or 0) for model in kept}
    values = {"model_ids": list(rests), "rests_s": list(rests.values())}
    with connection.cursor() as cursor:
        cursor.execute(MAKE_ROWS_SQL, values)
        cursor.execute(CLAIM_SQL, values)
        return dict(cursor.fetchall())


def rest_s(cold_after_s: int) -> int:
    """How long a model is left alone after it was last used or pinged."""
    return cold_after_s - min(MOST_EARLY_S, cold_after_s // 2)


async def _ping_all(due: LastUses, *, public_id: str, address: str) -> None:
    """Ping the models that are due, all at once, and tell the web processes which of them are warm."""
    # In a thread of its own, because the loader closes its thread's connection.
    snapshot = await asyncio.to_thread(load_snapshot)
    async with open_ledger(address) as ledger, Transport() as transport:
        pings = Pings(
            snapshot=snapshot, last_uses=due, public_id=public_id, ledger=ledger, transport=transport
        )
        due_models = [model for model in snapshot.catalogue.values() if model.id in due]
        answered = await asyncio.gather(*(pings.send(model) for model in due_models))
    seen = Observations()
    for model, is_warm in zip(due_models, answered, strict=True):
        if is_warm:
            seen.note_use(model.id, pings.clock.now())
    async with await psycopg.AsyncConnection.connect(address, autocommit=True) as exchange:
        await tell(exchange, seen)


class Pings:
    """Sends single pings. They say nothing of latency: nobody waits for an answer of one token."""

    def __init__(
        self,
        *,
        snapshot: Snapshot,
        last_uses: LastUses,
        public_id: str,
        ledger: PostgresLedger,
        transport: Transport,
    ) -> None:
        self.clock = SystemClock()
        used = {model_id: at for model_id, at in last_uses.items() if at is not None}
        self._fleet = FleetState(
            cold_penalty_ms=cold_penalties(
                snapshot.catalogue.values(), last_used_at=used, now=self.clock.now()
            )
        )
        self._snapshot = snapshot
        self._public_id = public_id
        self._ports = own_ports(
            ledger=ledger,
            upstream=ProviderUpstream(
                transport=transport, find_provider=snapshot.find_provider, now=self.clock.now
            ),
            clock=self.clock,
            credentials_of=snapshot.credentials_of,
        )

    async def send(self, model: CatalogueModel) -> bool:
        """Ping `model`; answers whether it gave a sign of life."""
        order = self._order(model)
        if order is None:
            return False
        try:
            await Dispatch(order=order, ports=self._ports).complete()
        except DispatchError as error:
            logger.warning("Model %s was pinged in vain: %s.", model.name, error.code.value)
            return False
        return True

    def _order(self, model: CatalogueModel) -> Order | None:
        """The ping as a dispatch; None if it cannot be made now."""
        admission = decide_own(
            snapshot=self._snapshot,
            public_id=self._public_id,
            model=model,
            task=KEEP_WARM,
            output_tokens=settings.KEEP_WARM_OUTPUT_TOKENS,
            clock=self.clock,
            fleet=self._fleet,
        )
        order = own_order(
            admission,
            snapshot=self._snapshot,
            public_id=self._public_id,
            clock=self.clock,
            timeout_ms=None,
        )
        if order is None:
            logger.warning("Model %s is not kept warm: %s", model.name, admission.reason)
        return order
