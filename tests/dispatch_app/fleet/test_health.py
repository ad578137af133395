import asyncio
from datetime import UTC, datetime
from random import Random

from dispatch_app.execution.breakers import Breakers, TargetKey
from dispatch_app.fleet.fleet import Fleet
from dispatch_app.fleet.health import FleetHealth, key_by
from dispatch_app.gateway.services import SystemClock
from dispatch_app.snapshot.types import ServedProvider
from policies_app.routing.codes import FaultClass, HealthState, WireFormat
from tests.dispatch_app.fleet.processes import SMALL, make_report

PROVIDER = ServedProvider(
    id=SMALL.model.provider_id,
    name="vendor",
    wire_format=WireFormat.OPENAI_CHAT,
    base_url="http://127.0.0.1:9/v1",
    allow_private_network=True,
    connect_timeout_ms=1,
    first_byte_timeout_ms=1,
    idle_timeout_ms=1,
    bills_server_errors=False,
    api_version="",
    region="eu-west",
    credential="main 1234",
    secret=None,
)


async def test_a_report_reaches_breakers_and_statistics_and_shows_in_the_next_decision():
    clock = SystemClock()
    breakers = Breakers(clock=clock, random=Random(1))
    fleet = Fleet(targets=breakers, now=clock.now)
    health = FleetHealth(breakers=breakers, fleet=fleet)
    assert health.admits(SMALL)
    health.report(SMALL, make_report(300))

    for _ in range(5):
        await asyncio.sleep(0.002)  # What began before an ejection says nothing of the time after it.
        health.report(SMALL, make_report(0, first_byte_ms=None, fault=FaultClass.SERVER_ERROR))

    assert not health.admits(SMALL)
    assert fleet.current.targets["small"].state is HealthState.OPEN
    told = fleet.tell()
    assert sum(told.calls.values()) == 2
    assert list(told.last_used_at) == [SMALL.model.id]
    assert told.last_used_at[SMALL.model.id] <= datetime.now(UTC)


def test_breakers_are_kept_by_the_secret_and_the_region_that_a_provider_has_now():
    providers = {PROVIDER.id: PROVIDER}
    key_of = key_by(providers.get)

    assert key_of(SMALL) == TargetKey(
        provider_id=PROVIDER.id, credential="main 1234", model_id=SMALL.model.id, region="eu-west"
    )
    providers.clear()
    assert key_of(SMALL).credential == ""
