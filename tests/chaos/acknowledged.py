"""Bar 2: what was acknowledged is in the log, with the cost that was told, whatever is killed meanwhile."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from uuid import UUID

from django.db import connections

from tests.chaos.budgets import sweep
from tests.chaos.callers import Crowd, Told, chat, session
from tests.chaos.ground import await_nothing_open, rows
from tests.chaos.town import Town
from tests.factories import make_budget, make_key, make_tenant

VICTIMS = ("web", "postgres", "celery", "redis")
SETTLING_S = 20.0


@dataclass(slots=True, kw_only=True)
class AcknowledgedFigures:
    """What a run came to. A call is unlogged when the vendor has it and the log has no attempt for it."""

    acknowledged: int = 0
    streams: int = 0
    missing: int = 0
    other_cost: int = 0
    unlogged: int = 0
    hung: int = 0
    pending: int = 0
    kills: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0


def run_acknowledged(
    town: Town, *, seed: int, wanted: int, callers: int, processes: int, round_s: float, victims: int
) -> AcknowledgedFigures:
    """Rounds of load, each with so many victims, until so many dispatches were acknowledged; all of it is checked each round."""
    chance, figures, began_at = Random(seed), AcknowledgedFigures(), time.monotonic()
    tenant = make_tenant(f"acknowledged-{time.time_ns()}")
    key = make_key(tenant).text
    make_budget(tenant, limit_nanos=10**15)
    while figures.acknowledged < wanted:
        town.vendor.clear_faults()
        town.vendor.ledger.clear()
        town.ground.start_celery()
        crowd = Crowd(gateways=town.have(processes))
        order = [VICTIMS[(sum(figures.kills.values()) + turn) % len(VICTIMS)] for turn in range(victims)]
        asyncio.run(_round(town, crowd, key, chance, callers=callers, round_s=round_s, victims=order))
        figures.kills.update(order)
        town.have(len([running for running in town.gateways if running.process.poll() is None]))
        await_nothing_open(patience_s=2.0 if "web" in order else SETTLING_S)
        sweep()
        _check(figures, town, crowd.told)
    town.ground.kill_celery()
    figures.seconds = time.monotonic() - began_at
    return figures


async def _round(
    town: Town, crowd: Crowd, key: str, chance: Random, *, callers: int, round_s: float, victims: list[str]
) -> None:
    moments = sorted(chance.uniform(0.1, 0.9) * round_s for _ in victims)
    began_at = time.monotonic()
    async with session() as calls:

        async def caller(number: int) -> None:
            turn = 0
            while not crowd.is_over:
                turn += 1
                nonce = f"ack/{number}/{began_at}/{turn}"
                told = await crowd.call(
                    calls, key, chat("chaos-failover", nonce, stream=(number + turn) % 4 == 0)
                )
                if told.status != 200:
                    await asyncio.sleep(0.05)

        loads = asyncio.gather(*(caller(number) for number in range(callers)))
        for moment, victim in zip(moments, victims, strict=True):
            await asyncio.sleep(max(0.0, began_at + moment - time.monotonic()))
            await asyncio.to_thread(_kills(town, crowd, chance)[victim])
        await asyncio.sleep(max(0.0, began_at + round_s - time.monotonic()))
        crowd.is_over = True
        await loads


def _kills(town: Town, crowd: Crowd, chance: Random) -> dict[str, Callable[[], None]]:
    ground = town.ground

    def web() -> None:
        if len(crowd.gateways) > 1:
            victim = chance.choice(crowd.gateways)
            crowd.gateways.remove(victim)
            town.kill(victim)

    def postgres() -> None:
        ground.kill_postgres()
        ground.start_postgres()
        connections.close_all()

    def redis() -> None:
        ground.kill_redis()
        ground.start_redis()

    return {"web": web, "postgres": postgres, "celery": ground.kill_celery, "redis": redis}


def _check(figures: AcknowledgedFigures, town: Town, told: list[Told]) -> None:
    """Hold a round's answers and the vendor's ledger against the log."""
    acknowledged = [answer for answer in told if answer.is_acknowledged]
    logged = {
        row["id"]: row
        for row in rows(
            "SELECT id, status, cost_nanos, input_tokens + cached_input_tokens + cache_write_tokens + output_tokens"
            " + reasoning_tokens AS tokens FROM dispatch WHERE id = ANY (%s::uuid[])",
            [answer.dispatch_id for answer in acknowledged],
        )
    }
    for answer in acknowledged:
        row = logged.get(UUID(answer.dispatch_id))
        if row is None or row["status"] != "succeeded":
            figures.missing += 1
        elif answer.cost_nanos not in {None, row["cost_nanos"]} or answer.tokens not in {None, row["tokens"]}:
            figures.other_cost += 1
    figures.acknowledged += len(acknowledged)
    figures.streams += sum(answer.cost_nanos is None for answer in acknowledged)
    figures.hung += sum(answer.status == -1 for answer in told)
    figures.pending += sum(answer.is_pending for answer in told)
    figures.unlogged += unlogged_calls(town)


def unlogged_calls(town: Town) -> int:
    """How many of the vendor's calls have no attempt of their own in the log."""
    called = town.calls_by_nonce()
    logged = {
        row["nonce"]: row["attempts"]
        for row in rows(
            "SELECT dispatch.tags->>'nonce' AS nonce, count(attempt.id) AS attempts FROM dispatch"
            " JOIN attempt ON attempt.dispatch_id = dispatch.id WHERE dispatch.tags->>'nonce' = ANY (%s) GROUP BY 1",
            list(called),
        )
    }
    return sum(max(0, number - logged.get(nonce, 0)) for nonce, number in called.items())
