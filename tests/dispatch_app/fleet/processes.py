"""Web processes as far as the fleet is concerned: each with what it saw, all on one database."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import psycopg

from dispatch_app.execution.ports import TargetReport
from dispatch_app.fleet.fleet import Fleet
from dispatch_app.fleet.holder import FleetHolder
from dispatch_app.snapshot.types import ServedPolicy, Snapshot
from policies_app.routing.codes import FaultClass, LatencyMeasure, Strategy
from policies_app.routing.compilation import compile_policy, direct_policies
from policies_app.routing.conditions import LatencyAbove
from policies_app.routing.document import PolicyDocument, RouteDocument, RuleDocument, StepDocument
from policies_app.routing.types import Catalogue, TargetHealth
from tests.dispatch_app.routing_values import make_candidate

SMALL = make_candidate("small", number=1)
LARGE = make_candidate("large", number=2)


@dataclass(kw_only=True)
class Targets:
    """Stands for the breakers."""

    changes: int = 0
    models: Mapping[str, TargetHealth] = field(default_factory=dict)
    degraded: frozenset[str] = frozenset()

    def fleet_health(self) -> tuple[Mapping[str, TargetHealth], frozenset[str]]:
        return self.models, self.degraded


@dataclass(kw_only=True)
class Snapshots:
    """Stands for the snapshot holder."""

    current: Snapshot
    is_loaded: bool = True


@dataclass(kw_only=True)
class Process:
    """One process. `exchange` is what it does every two seconds."""

    fleet: Fleet
    holder: FleetHolder
    connection: psycopg.AsyncConnection

    async def exchange(self) -> None:
        await self.holder.exchange(self.connection)

    def saw(self, *durations_ms: int, candidate=SMALL, fault: FaultClass | None = None) -> None:
        """Calls that took this long, from the first byte to the last in no time."""
        for duration_ms in durations_ms:
            self.fleet.report(candidate.model, make_report(duration_ms, fault=fault))


def make_report(
    total_ms: int, *, first_byte_ms: int | None = -1, fault: FaultClass | None = None
) -> TargetReport:
    return TargetReport(
        fault=fault,
        retry_after_s=None,
        first_byte_ms=total_ms if first_byte_ms == -1 else first_byte_ms,
        total_ms=total_ms,
        output_tokens=1,
    )


def make_snapshot(
    *conditions: LatencyAbove, catalogue: Catalogue | None = None, quality: Mapping = {}
) -> Snapshot:
    """A snapshot whose one policy states `conditions`."""
    catalogue = catalogue or {"small": SMALL.model, "large": LARGE.model}
    route = RouteDocument(strategy=Strategy.SINGLE, steps=(StepDocument(model="small"),))
    rule = RuleDocument(name="rule", conditions=conditions, route=route)
    document = PolicyDocument(name="auto", rules=(rule,))
    policy = ServedPolicy(
        id=1,
        name="auto",
        description="",
        tenant_id=None,
        compiled=compile_policy(document=document, version=1, catalogue=catalogue),
    )
    return Snapshot(
        epoch=1,
        loaded_at=datetime.now(UTC),
        keys={},
        policies={"auto": policy},
        drafts={},
        catalogue=catalogue,
        direct=direct_policies(catalogue),
        providers={},
        kill_switches=(),
        judges={},
        quality=quality,
    )


def make_condition(*, above_ms: int = 1_000, **fields) -> LatencyAbove:
    defaults = {"model": "small", "measure": LatencyMeasure.TOTAL, "percentile": 95, "window_s": 60}
    return LatencyAbove(above_ms=above_ms, **defaults | {"least_samples": 1} | fields)


@asynccontextmanager
async def running_processes(
    conninfo: str, count: int = 1, *, snapshot: Snapshot | None = None, now=lambda: datetime.now(UTC)
) -> AsyncIterator[list[Process]]:
    """So many processes that have read what there is to read."""
    snapshot = snapshot or make_snapshot()
    async with AsyncExitStack() as stack:
        processes = []
        for _ in range(count):
            connection = await psycopg.AsyncConnection.connect(conninfo, autocommit=True)
            await stack.enter_async_context(connection)
            fleet = Fleet(targets=Targets(), now=now)
            holder = FleetHolder(conninfo=conninfo, fleet=fleet, snapshots=Snapshots(current=snapshot))
            processes.append(Process(fleet=fleet, holder=holder, connection=connection))
            await processes[-1].exchange()
        yield processes


def cold_after(seconds: int, *, penalty_ms: int = 4_000, **fields):
    """`small`, going cold."""
    return {"small": replace(SMALL.model, cold_after_s=seconds, cold_penalty_ms=penalty_ms, **fields)}
