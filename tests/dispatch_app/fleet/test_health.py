import asyncio
from datetime import UTC, datetime
from random import Random

from dispatch_app.execution.breakers import Breakers, TargetKey
from dispatch_app.execution.ports import Credential, Target
from dispatch_app.fleet.fleet import Fleet
from dispatch_app.fleet.health import FleetHealth, key_by
from dispatch_app.gateway.services import SystemClock
from dispatch_app.snapshot.types import ServedProvider
from policies_app.routing.codes import FaultClass, HealthState, WireFormat
from tests.dispatch_app.fleet.processes import SMALL, make_report

TARGET = Target(candidate=SMALL, credential=Credential(id=7, name="main …1234"))
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
    credential=Credential(id=7, name="main …1234"),
    secret=None,
)


async def test_a_report_reaches_breakers_and_statistics_and_shows_in_the_next_decision():
    clock = SystemClock()
    breakers = Breakers(clock=clock, random=Random(1))
    fleet = Fleet(targets=breakers, now=clock.now)
    health = FleetHealth(breakers=breakers, fleet=fleet)
    assert health.admits(TARGET)
    health.report(TARGET, make_report(300))

    for _ in range(5):
        await asyncio.sleep(0.002)  # What began before an ejection says nothing of the time after it.
        health.report(TARGET, make_report(0, first_byte_ms=None, fault=FaultClass.SERVER_ERROR))

    assert not health.admits(TARGET)
    assert fleet.current.targets["small"].state is HealthState.OPEN
    told = fleet.tell()
    assert sum(told.calls.values()) == 2
    assert list(told.last_used_at) == [SMALL.model.id]
    assert told.last_used_at[SMALL.model.id] <= datetime.now(UTC)


def test_breakers_are_kept_by_the_credential_and_by_the_region_that_its_provider_has_now():
    providers = {(PROVIDER.id, 7): PROVIDER}
    key_of = key_by(lambda *ids: providers.get(ids))

    assert key_of(TARGET) == TargetKey(
        provider_id=PROVIDER.id, credential="main …1234", model_id=SMALL.model.id, region="eu-west"
    )
    providers.clear()
    assert key_of(TARGET).region == ""
