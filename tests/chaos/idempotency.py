"""One idempotency key, many callers over several processes, and one process killed while the vendor is at it."""

import asyncio
import time
from dataclasses import dataclass
from random import Random

from policies_app.models import Tenant
from sandbox.faults import Fault
from tests.chaos.callers import Crowd, chat, session
from tests.chaos.town import Town
from tests.factories import make_key, make_tenant
from tests.running_servers import RunningGateway

VENDOR_MS = 300.0
PREFERENCES = ({}, {"prefer": "wait=2"})
"""What callers take turns in: half of them wait for the one that is carried out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OnceFigures:
    """Of one key: how often the vendor was called, which dispatches answered, and how many callers were told what."""

    vendor_calls: int
    answering: int
    answered: int
    conflicts: int
    cut_off: int


def run_once(town: Town, *, seed: int, callers: int, processes: int) -> OnceFigures:
    """All callers at once with one key, a kill at a moment that the seed says, and a quarter of them once more."""
    chance = Random(seed)
    town.vendor.clear_faults()
    town.vendor.ledger.clear()
    town.vendor.script(Fault(delay_ms=VENDOR_MS))
    tenant: Tenant = make_tenant(f"once-{time.time_ns()}", replay_answers=True)
    key = make_key(tenant).text
    crowd = Crowd(gateways=town.have(processes))
    victim = chance.choice(crowd.gateways)
    moment = chance.uniform(0.0, 1.5 * VENDOR_MS / 1000)
    asyncio.run(_all_at_once(town, crowd, key, callers=callers, victim=victim, moment=moment))
    town.vendor.clear_faults()
    answers = [told for told in crowd.told if told.status == 200]
    return OnceFigures(
        vendor_calls=sum(town.calls_by_nonce().values()),
        answering=len({told.dispatch_id for told in answers}),
        answered=len(answers),
        conflicts=sum(told.status == 409 for told in crowd.told),
        cut_off=sum(told.status <= 0 for told in crowd.told),
    )


async def _all_at_once(
    town: Town, crowd: Crowd, key: str, *, callers: int, victim: RunningGateway, moment: float
) -> None:
    body = chat("chaos-failover", "once")
    async with session() as calls:

        async def call(number: int) -> None:
            headers = {"idempotency-key": "once"} | PREFERENCES[number % len(PREFERENCES)]
            await crowd.call(calls, key, body, headers=headers)

        running = asyncio.gather(*(call(number) for number in range(callers)))
        await asyncio.sleep(moment)
        crowd.gateways.remove(victim)
        await asyncio.to_thread(town.kill, victim)
        await running
        await asyncio.gather(*(call(number) for number in range(callers // 4)))
