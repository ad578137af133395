"""Bar 4: a kill switch at full load. What counts is the moment at which the save has returned."""

import asyncio
import time
from dataclasses import dataclass
from random import Random
from typing import Any

from django.db import connections

from policies_app.routing.codes import KillScope
from policies_app.services.kill_switches import throw_kill_switch
from sandbox.faults import Fault, FaultKind
from tests.chaos.callers import Crowd, chat, session
from tests.chaos.ground import rows
from tests.chaos.town import Town
from tests.factories import make_budget, make_key, make_tenant
from tests.running_servers import START_PATIENCE_S

LATE_ARRIVAL_S = 0.25
"""What was admitted before the save may still be on its way to the vendor."""
STREAM_CHUNK_MS = 150.0


@dataclass(frozen=True, slots=True, kw_only=True)
class KillFigures:
    """`admitted_after` counts attempts of the killed model that were committed, or asked to be, after the save returned."""

    admitted_before: int
    admitted_after: int
    arrived_after: int
    answered_after: int


def run_kill(town: Town, *, seed: int, callers: int, processes: int, seconds: float) -> KillFigures:
    """Load, the switch on the model that serves it all, and load for as long again."""
    town.vendor.clear_faults()
    town.vendor.ledger.clear()
    tenant = make_tenant(f"kill-{time.time_ns()}")
    make_budget(tenant, limit_nanos=10**15)
    crowd = Crowd(gateways=town.have(processes))
    moment = seconds * Random(seed).uniform(0.5, 1.0)
    saved_at, visible, switched_at = asyncio.run(
        _under_load(town, crowd, make_key(tenant).text, callers=callers, moment=moment, seconds=seconds)
    )
    model = town.fleet.small
    admitted = rows(
        "SELECT id, created_at FROM attempt WHERE model_id = %s AND tenant_id = %s", model.pk, tenant.pk
    )
    after = [row for row in admitted if row["id"] not in visible or row["created_at"].timestamp() > saved_at]
    arrived = [entry for entry in town.vendor.ledger.entries if entry.model == model.wire_name]
    return KillFigures(
        admitted_before=len(admitted) - len(after),
        admitted_after=len(after),
        arrived_after=sum(entry.at > saved_at + LATE_ARRIVAL_S for entry in arrived),
        answered_after=sum(answer.status == 200 for answer in crowd.told if answer.started_at > switched_at),
    )


async def _under_load(
    town: Town, crowd: Crowd, key: str, *, callers: int, moment: float, seconds: float
) -> tuple[float, frozenset[Any], float]:
    """Answers when the save had returned by the wall clock, what was visible then, and when it began."""
    async with session() as calls:

        async def caller(number: int) -> None:
            turn = 0
            while not crowd.is_over:
                turn += 1
                await crowd.call(calls, key, chat("chaos-failover", f"kill/{number}/{turn}"))

        loads = asyncio.gather(*(caller(number) for number in range(callers)))
        await crowd.until_served(patience_s=START_PATIENCE_S)
        await asyncio.sleep(moment)
        switched_at = time.monotonic()
        found = await asyncio.to_thread(_throw, town)
        await asyncio.sleep(seconds)
        crowd.is_over = True
        await loads
    return *found, switched_at


def _throw(town: Town, **fields: Any) -> tuple[float, frozenset[Any]]:
    """Save the switch; answer when the call returned, and which attempts stood committed right then."""
    try:
        throw_kill_switch(
            scope=KillScope.MODEL, model=town.fleet.small, reason="chaos", author_name="chaos", **fields
        )
        saved_at = time.time()
        visible = rows("SELECT id FROM attempt WHERE model_id = %s", town.fleet.small.pk)
    finally:
        connections.close_all()
    return saved_at, frozenset(row["id"] for row in visible)


def lift_all() -> None:
    """Let everything serve again."""
    rows("UPDATE policies_app_killswitch SET lifted_at = now() WHERE lifted_at IS NULL RETURNING id")


def run_cut(town: Town, *, streams: int, processes: int) -> list[float]:
    """Long streams, and a hard switch on their model; seconds from the save's return to each stream's end.

    They have one model only: what went before may have left a breaker open, and another model answers at once.
    """
    town.vendor.clear_faults()
    delay = Fault(kind=FaultKind.CONTENT, content="word " * 200, chunk_delay_ms=STREAM_CHUNK_MS)
    town.vendor.script(delay, model="sandbox-small")
    tenant = make_tenant(f"cut-{time.time_ns()}")
    key = make_key(tenant).text
    crowd = Crowd(gateways=town.have(processes))

    async def all_of_them() -> float:
        async with session() as calls:
            bodies = (
                chat("chaos-single", f"cut/{number}", stream=True) | {"max_tokens": 400}
                for number in range(streams)
            )
            running = asyncio.gather(*(crowd.call(calls, key, body) for body in bodies))
            await asyncio.sleep(1.5)
            saved_at, _ = await asyncio.to_thread(_throw, town, hard=True)
            # What stood committed was read in between, which takes the longer the fuller the log is.
            saved_ago_s = time.time() - saved_at
            saved_on_loop = time.monotonic() - saved_ago_s
            await running
            return saved_on_loop

    saved_at = asyncio.run(all_of_them())
    town.vendor.clear_faults()
    return [answer.ended_at - saved_at for answer in crowd.told]
