"""Bar 5: PostgreSQL frozen, then killed, under load: refusals are quick, nothing hangs, nothing goes upstream unlogged."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from django.db import connections

from tests.chaos.acknowledged import unlogged_calls
from tests.chaos.budgets import sweep
from tests.chaos.callers import Crowd, Told, chat, session
from tests.chaos.ground import Ground, await_nothing_open
from tests.chaos.town import Town
from tests.factories import make_budget, make_key, make_tenant

ONSET_S = 1.0
"""The first callers find out; they are a few of a minute's thousands. In a run of seconds they are told apart."""
LONG_ENOUGH_S = 30.0
PAUSE_S = 0.05
LEAD_S = 0.5
AFTERWARDS_S = 1.0
"""How long the load goes on once somebody is served again, who is waited for for `RETURN_PATIENCE_S`."""
RETURN_PATIENCE_S = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AwayFigures:
    """One way of being away. `unwell_s`: how long after its return a call was still refused."""

    way: str
    refused: int
    refusal_p50_ms: float
    refusal_p99_ms: float
    onset_max_ms: float
    hung: int
    served_while_away: int
    unlogged: int
    unwell_s: float
    served_after: int
    left_open: int


def run_away(town: Town, way: str, *, callers: int, processes: int, seconds: float) -> AwayFigures:
    """`way` is frozen or killed, for so many seconds, with load before it and after."""
    ground = town.ground
    leave, return_ = {
        "frozen": (ground.freeze_postgres, ground.thaw_postgres),
        "killed": (ground.kill_postgres, lambda: _restart(ground)),
    }[way]
    town.vendor.clear_faults()
    town.vendor.ledger.clear()
    tenant = make_tenant(f"away-{time.time_ns()}")
    make_budget(tenant, limit_nanos=10**15)
    crowd = Crowd(gateways=town.have(processes))
    key = make_key(tenant).text
    connections.close_all()
    left_at, back_at = asyncio.run(
        _around(crowd, key, callers=callers, seconds=seconds, leave=leave, return_=return_)
    )
    left_open = await_nothing_open(patience_s=5, tenant_id=tenant.pk)
    sweep()
    return _figures(
        way,
        crowd.told,
        left_at=left_at,
        gone_until=left_at + seconds,
        back_at=back_at,
        unlogged=unlogged_calls(town),
        left_open=left_open,
    )


def _restart(ground: Ground) -> None:
    ground.start_postgres()


async def _around(
    crowd: Crowd,
    key: str,
    *,
    callers: int,
    seconds: float,
    leave: Callable[[], None],
    return_: Callable[[], object],
) -> tuple[float, float]:
    async with session() as calls:

        async def caller(number: int) -> None:
            turn = 0
            while not crowd.is_over:
                turn += 1
                await crowd.call(
                    calls, key, chat("chaos-failover", f"away/{number}/{turn}", stream=turn % 4 == 0)
                )
                await asyncio.sleep(PAUSE_S)

        loads = asyncio.gather(*(caller(number) for number in range(callers)))
        await crowd.until_served(patience_s=RETURN_PATIENCE_S)
        await asyncio.sleep(LEAD_S)
        left_at = time.monotonic()
        await asyncio.to_thread(leave)
        await asyncio.sleep(max(0.0, left_at + seconds - time.monotonic()))
        await asyncio.to_thread(return_)
        back_at = time.monotonic()
        await crowd.until_served(patience_s=RETURN_PATIENCE_S)
        await asyncio.sleep(AFTERWARDS_S)
        crowd.is_over = True
        await loads
    return left_at, back_at


def _figures(
    way: str,
    told: list[Told],
    *,
    left_at: float,
    gone_until: float,
    back_at: float,
    unlogged: int,
    left_open: int,
) -> AwayFigures:
    begins_at = left_at + (0 if gone_until - left_at >= LONG_ENOUGH_S else ONSET_S)
    away = [answer for answer in told if begins_at <= answer.started_at < gone_until - PAUSE_S * 4]
    onset = [answer for answer in told if left_at <= answer.started_at < left_at + ONSET_S]
    after = [answer for answer in told if answer.started_at >= back_at]
    refusals_ms = sorted(_ms(answer) for answer in away if answer.status == 503)
    unwell = [answer.started_at - back_at for answer in after if answer.status != 200]
    return AwayFigures(
        way=way,
        refused=len(refusals_ms),
        refusal_p50_ms=_percentile(refusals_ms, 50),
        refusal_p99_ms=_percentile(refusals_ms, 99),
        onset_max_ms=max(map(_ms, onset), default=0.0),
        hung=sum(answer.status == -1 for answer in told),
        served_while_away=sum(answer.status == 200 for answer in away),
        unlogged=unlogged,
        unwell_s=max(unwell, default=0.0),
        served_after=sum(answer.status == 200 for answer in after),
        left_open=left_open,
    )


def _ms(answer: Told) -> float:
    return (answer.ended_at - answer.started_at) * 1000


def _percentile(ordered: list[float], percent: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))] if ordered else 0.0
