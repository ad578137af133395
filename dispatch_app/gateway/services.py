"""What the gateway's endpoints work with, put together once at start."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol
from uuid import UUID

import uuid_utils.compat

from dispatch_app.claims import KeyBook
from dispatch_app.execution.dispatcher import Dispatch
from dispatch_app.execution.drains import Drains
from dispatch_app.execution.errors import DispatchError, ErrorCode
from dispatch_app.execution.hedge_budget import HedgeBudget
from dispatch_app.execution.order import Order, Ports
from dispatch_app.execution.ports import CredentialsOf, Health, Ledger, ModelRates, Upstream
from dispatch_app.execution.retry_budget import RetryBudget
from dispatch_app.gateway.errors import RequestError
from dispatch_app.gateway.owners import Owners
from dispatch_app.limits.leave import Leave
from dispatch_app.snapshot.situation import Usage
from dispatch_app.snapshot.types import RateLimits, Snapshot
from policies_app.routing.types import FleetState


class Snapshots(Protocol):
    """Holds the snapshot of the moment."""

    @property
    def is_loaded(self) -> bool: ...

    @property
    def current(self) -> Snapshot: ...


class Fleet(Protocol):
    """Knows how the fleet fares; see `dispatch_app.fleet`."""

    @property
    def current(self) -> FleetState: ...


class Rates(Protocol):
    """Keeps callers within their rate limits; see `dispatch_app.limits`."""

    async def take(self, limits: RateLimits, *, tokens: int = 0) -> Leave:
        """Take `tokens` of each limit that counts tokens and one of each other, all or nothing.

        :raises LimitReachedError: if one of them has less left.
        :raises LedgerUnavailableError: if that is not to be known in time.
        """


class SystemClock:
    """Implements `dispatch_app.execution.ports.Clock`."""

    def __init__(self) -> None:
        self.monotonic = asyncio.get_running_loop().time

    def now(self) -> datetime:
        return datetime.now(UTC)  # noqa: TID251 - this is the edge where time comes in


def new_id() -> UUID:
    """A UUIDv7."""
    return uuid_utils.compat.uuid7()


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the gateway accepts, and how many seconds dispatches have left when it is told to stop."""

    body_bytes: int = 10 * 1024 * 1024
    shutdown_s: float = 12.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """One gateway's collaborators. `database_answers` is for readiness only; `stopped_by` says why nothing is admitted."""

    snapshots: Snapshots
    ledger: Ledger
    key_book: KeyBook
    rates: Rates
    model_rates: ModelRates
    credentials_of: CredentialsOf
    budget_usage: Usage
    upstream: Upstream
    health: Health
    fleet: Fleet
    pepper: bytes = field(repr=False)
    database_answers: Callable[[], Awaitable[bool]]
    stopped_by: Callable[[], str | None] = lambda: None
    limits: Limits = field(default_factory=Limits)
    clock: SystemClock = field(default_factory=SystemClock)
    owners: Owners = field(default_factory=Owners)
    retries: RetryBudget = field(default_factory=RetryBudget)
    hedges: HedgeBudget = field(default_factory=HedgeBudget)
    drains: Drains = field(default_factory=Drains)

    def snapshot(self) -> Snapshot:
        """The snapshot of the moment.

        :raises DispatchError: as long as none has been loaded.
        """
        if not self.snapshots.is_loaded:
            raise DispatchError(status=503, code=ErrorCode.LEDGER_UNAVAILABLE, retry_after_s=1)
        return self.snapshots.current

    def require_leave_to_admit(self) -> None:
        """Nothing is admitted while the break-glass file is there.

        :raises RequestError: with what the file says.
        """
        if (reason := self.stopped_by()) is not None:
            raise RequestError(status=503, code=ErrorCode.KILLED, detail=f"Everything is stopped: {reason}")

    def dispatch(self, order: Order) -> Dispatch:
        """A dispatch of `order`, ready to run."""
        ports = Ports(
            ledger=self.ledger,
            upstream=self.upstream,
            clock=self.clock,
            new_id=new_id,
            retries=self.retries,
            hedges=self.hedges,
            health=self.health,
            drains=self.drains,
            rates=self.model_rates,
            credentials_of=self.credentials_of,
        )
        return Dispatch(order=order, ports=ports)
