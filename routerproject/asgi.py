"""The composition root of a web process: the data plane owns `/v1`, Django owns everything else."""

import asyncio
import os
import random
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Protocol, TypeVar, cast

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "routerproject.settings")

from django.core.asgi import get_asgi_application

# Apps must be loaded before anything that knows the models is imported.
django_application = get_asgi_application()

import psycopg  # noqa: E402
from django.conf import settings  # noqa: E402
from starlette.types import Receive, Scope, Send  # noqa: E402

from dispatch_app.break_glass import BreakGlass  # noqa: E402
from dispatch_app.collector import spare_the_collector  # noqa: E402
from dispatch_app.database import database_conninfo  # noqa: E402
from dispatch_app.execution.breakers import Breakers  # noqa: E402
from dispatch_app.execution.hedge_budget import HedgeBudget  # noqa: E402
from dispatch_app.execution.ports import Credential  # noqa: E402
from dispatch_app.execution.retry_budget import RetryBudget  # noqa: E402
from dispatch_app.fleet.fleet import Fleet  # noqa: E402
from dispatch_app.fleet.health import FleetHealth, ServedTargets, key_by  # noqa: E402
from dispatch_app.fleet.holder import FleetHolder  # noqa: E402
from dispatch_app.gateway.app import PATHS, Gateway  # noqa: E402
from dispatch_app.gateway.hard_kill import keep_cutting  # noqa: E402
from dispatch_app.gateway.owners import Owners  # noqa: E402
from dispatch_app.gateway.services import Limits, Services, SystemClock  # noqa: E402
from dispatch_app.health.publication import HealthPublication  # noqa: E402
from dispatch_app.health.tally import TalliedHealth, Tally  # noqa: E402
from dispatch_app.ledger.key_book import PostgresKeyBook  # noqa: E402
from dispatch_app.ledger.ledger import PostgresLedger  # noqa: E402
from dispatch_app.limits.models import ModelLimits  # noqa: E402
from dispatch_app.limits.shared import SharedLimits  # noqa: E402
from dispatch_app.providers.transport import Transport  # noqa: E402
from dispatch_app.providers.upstream import ProviderUpstream  # noqa: E402
from dispatch_app.snapshot.budget_usage import BudgetUsage  # noqa: E402
from dispatch_app.snapshot.holder import SnapshotHolder  # noqa: E402
from dispatch_app.snapshot.types import RateLimits, ServedProvider  # noqa: E402
from policies_app.routing.types import Candidate  # noqa: E402
from policies_app.sealing import secret_key_from_text  # noqa: E402

DATABASE_ANSWERS_S = 2

# WhiteNoise hands out its files by synchronous iterators, which Django then reads in a thread: they are small.
warnings.filterwarnings("ignore", message="StreamingHttpResponse must consume synchronous iterators")
# Serving starts without a snapshot after this time; until one comes, every request is answered 503.
FIRST_SNAPSHOT_S = 3.0
# Serving starts without a picture of the fleet after this time; until it comes, nothing is learned and nothing holds.
FIRST_PICTURE_S = 1.0


@asynccontextmanager
async def open_services() -> AsyncIterator[Services]:
    """Everything that the data plane needs, started, and stopped in the opposite order: money before last words."""
    conninfo, clock, owners, budget_usage = database_conninfo(), SystemClock(), Owners(), BudgetUsage()
    patience_s = settings.LEDGER_PATIENCE_MS / 1000
    async with AsyncExitStack() as stack:
        transport = await stack.enter_async_context(Transport())
        break_glass = await _started(stack, BreakGlass(state_dir=settings.STATE_DIR))
        holder = SnapshotHolder(conninfo=conninfo, budget_usage=budget_usage)
        snapshots = await _started(stack, holder, patience_s=FIRST_SNAPSHOT_S)
        lookup = _Lookup(snapshots)
        breakers = Breakers(
            clock=clock,
            random=random.Random(),  # noqa: S311 - jitter
            key_of=key_by(lookup.provider),
            roster=ServedTargets(lambda: snapshots.current if snapshots.is_loaded else None),
        )
        tally = Tally(retries=RetryBudget(), hedges=HedgeBudget())
        publication = HealthPublication(
            conninfo=conninfo,
            process_id=snapshots.id,
            breakers=breakers,
            tally=tally,
            in_flight=lambda: len(owners),
            monotonic=clock.monotonic,
            is_stopped=lambda: break_glass.is_broken,
        )
        await _started(stack, publication)
        fleet = Fleet(targets=breakers, now=clock.now)
        picture = FleetHolder(conninfo=conninfo, fleet=fleet, snapshots=snapshots)
        await _started(stack, picture, patience_s=FIRST_PICTURE_S)
        ledger = PostgresLedger(
            conninfo=conninfo,
            budget_usage=budget_usage,
            begin_patience_s=patience_s,
            is_stopped=lambda: break_glass.is_broken,
            spool=settings.STATE_DIR / "spool",
        )
        sealing_key = secret_key_from_text(settings.ENCRYPTION_KEY)
        key_book = PostgresKeyBook(conninfo=conninfo, sealing_key=sealing_key, patience_s=patience_s)
        rates = SharedLimits(conninfo=conninfo, patience_s=patience_s)
        for service in (ledger, key_book, rates):
            await _started(stack, service)
        cutting = asyncio.create_task(keep_cutting(owners=owners, snapshots=snapshots, clock=clock))
        stack.callback(cutting.cancel)
        spare_the_collector()
        yield Services(
            snapshots=snapshots,
            ledger=ledger,
            key_book=key_book,
            rates=rates,
            credentials_of=lookup.credentials,
            model_rates=ModelLimits(limits=rates, find_limits=lookup.limits),
            budget_usage=budget_usage,
            upstream=ProviderUpstream(transport=transport, find_provider=lookup.provider, now=clock.now),
            health=FleetHealth(breakers=TalliedHealth(health=breakers, tally=tally), fleet=fleet),
            fleet=fleet,
            pepper=secret_key_from_text(settings.API_KEY_PEPPER),
            stopped_by=lambda: break_glass.reason,
            database_answers=lambda: _database_answers(conninfo),
            limits=Limits(body_bytes=settings.MAX_BODY_BYTES, shutdown_s=settings.SHUTDOWN_S),
            clock=clock,
            owners=owners,
            retries=tally.retries,
            hedges=tally.hedges,
        )


class _Service(Protocol):
    """What is started and stopped."""

    @property
    def start(self) -> Callable[..., Awaitable[None]]: ...

    async def stop(self) -> None: ...


ServiceT = TypeVar("ServiceT", bound=_Service)


async def _started(stack: AsyncExitStack, service: ServiceT, **patience: float) -> ServiceT:
    """The service, started; `stack` stops it, also if it did not start."""
    stack.push_async_callback(service.stop)
    await service.start(**patience)
    return service


class _Lookup:
    """What calls need of the snapshot, looked up anew each time: it is swapped as a whole."""

    def __init__(self, snapshots: SnapshotHolder) -> None:
        self._snapshots = snapshots

    def provider(self, provider_id: int, credential_id: int) -> ServedProvider | None:
        return self._snapshots.current.find_provider(provider_id, credential_id)

    def credentials(self, candidate: Candidate) -> Sequence[Credential]:
        return self._snapshots.current.credentials_of(candidate)

    def limits(self, model_id: int) -> RateLimits:
        return self._snapshots.current.model_limits.get(model_id, ())


async def _database_answers(conninfo: str) -> bool:
    try:
        async with await psycopg.AsyncConnection.connect(
            conninfo, connect_timeout=DATABASE_ANSWERS_S
        ) as probe:
            await probe.execute("SELECT 1")
    except psycopg.Error:
        return False
    return True


gateway = Gateway(lifetime=open_services)


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """Serve one connection, or the lifespan."""
    if scope["type"] == "websocket":
        await send({"type": "websocket.close"})
    elif scope["type"] == "lifespan" or scope.get("path", "").startswith(PATHS):
        await gateway(scope, receive, send)
    else:
        await django_application(cast("dict[str, Any]", scope), receive, cast("Any", send))
