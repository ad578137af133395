"""What the dispatcher is asked to do, and with what."""

from dataclasses import dataclass, field

from dispatch_app.execution.canonical import Request
from dispatch_app.execution.drains import Drains
from dispatch_app.execution.ports import (
    NO_CREDENTIAL,
    BudgetKey,
    Clock,
    Credential,
    CredentialsOf,
    DispatchRecord,
    Health,
    HedgeBudget,
    IdempotencyKey,
    IdSource,
    Ledger,
    ModelRates,
    Upstream,
)
from dispatch_app.execution.retry_budget import RetryBudget
from dispatch_app.execution.shrinking import Rooms, no_rooms
from policies_app.routing.types import Candidate, Facts, Price, RoutePlan


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """An authorised and decided request. `received_at` and `deadline_at` are on the clock of the event loop.

    `seed` is the decision's: all chance of the dispatch comes from it. `rooms` tells what is left of the budgets that requests
    are shrunk to.
    """

    record: DispatchRecord
    request: Request
    facts: Facts
    plan: RoutePlan
    budgets: tuple[BudgetKey, ...]
    baseline: Price | None
    received_at: float
    deadline_at: float
    policy: str = ""
    seed: int = 0
    key: IdempotencyKey | None = None
    rooms: Rooms = no_rooms


def _no_credentials(_candidate: Candidate) -> tuple[Credential, ...]:
    return (NO_CREDENTIAL,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """What the dispatcher needs of the world outside. Without `rates`, models have no rate limits."""

    ledger: Ledger
    upstream: Upstream
    clock: Clock
    new_id: IdSource
    retries: RetryBudget
    hedges: HedgeBudget
    health: Health
    drains: Drains = field(default_factory=Drains)
    rates: ModelRates | None = None
    credentials_of: CredentialsOf = _no_credentials
