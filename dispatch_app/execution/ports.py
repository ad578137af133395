"""What execution needs of the world outside: a ledger, upstreams, a clock and ids. Each has one real implementation."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol
from uuid import UUID

import msgspec

from dispatch_app.execution.canonical import Reply, Request, StreamPart
from policies_app.routing.codes import AttemptRole, AttemptState, DispatchStatus, FaultClass, Strategy
from policies_app.routing.types import Candidate, CatalogueModel, Facts, Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """What a provider is called with, but for the secret itself: its `name` tells people which one it is.

    Several share the calls by their weights. `id` is 0 where a provider asks for none.
    """

    id: int = 0
    name: str = ""
    weight: int = 1


NO_CREDENTIAL = Credential()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Target:
    """Whom an attempt asks: a candidate, with one of its provider's credentials.

    `is_rotated` says that its model was asked before, with another credential. `asker` stays the same whatever else of the
    target is replaced: it is what a probe is known by.
    """

    candidate: Candidate
    credential: Credential = NO_CREDENTIAL
    is_rotated: bool = False
    asker: object = field(default_factory=object, repr=False)

    @property
    def model(self) -> CatalogueModel:
        """The model that is asked."""
        return self.candidate.model


CredentialsOf = Callable[[Candidate], Sequence[Credential]]
"""What the provider of a candidate can be called with at the moment: at least one, which may be `NO_CREDENTIAL`."""


class BudgetKey(msgspec.Struct, frozen=True, kw_only=True):
    """One budget in one period, as it applies to a request."""

    budget_id: int
    subject: str
    period_start: datetime


class IdempotencyKey(msgspec.Struct, frozen=True, kw_only=True):
    """What a caller named its request by, within its tenant, API key and endpoint. Both digests are hexadecimal.

    `key_hmac` stands for the key, which is not kept, and `body_sha256` for what was asked under it.
    """

    endpoint: str
    key_hmac: str
    body_sha256: str


class DispatchRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What the log says of a dispatch from its start. `reason` is JSON-ready: `words`, `failed`, `dropped`."""

    id: UUID
    created_at: datetime
    tenant_id: int
    api_key_id: int
    end_user: str
    task: str
    tags: Mapping[str, str]
    requested_model: str
    policy_id: int | None
    policy_version: int
    rule: str
    strategy: Strategy | None
    reason: Mapping[str, object]
    stream: bool


class AttemptRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What the log says of an attempt from its start. It counts as expired when not settled by `expires_at`.

    `credential` is the name of what its provider was called with. `is_first` says that no attempt of the dispatch had been admitted when this one was made.
    """

    id: UUID
    created_at: datetime
    position: int
    role: AttemptRole
    model_id: int
    provider_id: int
    price_id: int
    reserved_nanos: int
    expires_at: datetime
    start_offset_ms: int
    is_first: bool
    credential: str = ""


class Verdict(StrEnum):
    """What the ledger says to an attempt."""

    ADMITTED = "admitted"
    OVER_BUDGET = "over_budget"
    KILLED = "killed"
    REPEATED = "repeated"
    """The dispatch's idempotency key stands for another one."""


class BeginVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """The ledger's answer. `subject_id` is the budget or the kill switch that refused, None when admitted."""

    verdict: Verdict
    subject_id: int | None = None


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What one validator found in an answer. `score` is what it measured, from 0 to 1, None where it measures nothing."""

    validator: str
    passed: bool
    expected: str
    actual: str
    score: float | None = None


class DispatchOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """How a dispatch ended. `baseline_cost_nanos` is None when its policy declares no baseline. `wasted_nanos` is the part of
    its cost that this side caused beside the answer, see `Conclusion.is_waste`.

    `answered_by` is the position of the attempt whose answer the client got, `validated` whether that passed its
    validators; None where there was no answer, or nothing to validate.
    """

    status: DispatchStatus
    error_code: str
    answered_by: int | None = None
    validated: bool | None = None
    model_id: int | None
    provider_id: int | None
    baseline_cost_nanos: int | None
    wasted_nanos: int = 0
    total_ms: int
    first_byte_ms: int | None
    overhead_us: int
    finished_at: datetime


class Settlement(msgspec.Struct, frozen=True, kw_only=True):
    """How an attempt ended and what it cost. `outcome` is set on the attempt that ends its dispatch."""

    attempt_id: UUID
    attempt_created_at: datetime
    state: AttemptState
    wire_status: int | None
    fault: FaultClass | None
    response_model: str
    validation: tuple[Finding, ...] = ()
    usage: Usage
    cost_nanos: int
    estimated: bool
    cold: bool
    latency_ms: int
    first_byte_ms: int | None
    settled_at: datetime
    outcome: DispatchOutcome | None


class LedgerUnavailableError(Exception):
    """The ledger could not commit in time; nothing was admitted. `retry_after_s` is a hint for the client."""

    def __init__(self, retry_after_s: int = 1) -> None:
        super().__init__("The ledger is unavailable.")
        self.retry_after_s = retry_after_s


class RateLimitReachedError(Exception):
    """A rate limit has nothing left for what was asked; nothing was taken. Come back in `retry_after_s`."""

    def __init__(self, retry_after_s: int) -> None:
        super().__init__("A rate limit is reached.")
        self.retry_after_s = retry_after_s


class Leave(Protocol):
    """What was taken of the rate limits of a model for one attempt."""

    def end(self, *, tokens: int) -> None:
        """The attempt is over, and this is what it used. Call it once."""


class ModelRates(Protocol):
    """Keeps models within their rate limits; see `dispatch_app.limits`."""

    async def take(self, candidate: Candidate, facts: Facts) -> Leave | None:
        """Take what one attempt needs, all or nothing; None if its model has no limits.

        :raises RateLimitReachedError: if one of the limits is reached.
        :raises LedgerUnavailableError: if that is not to be known in time.
        """


class Ledger(Protocol):
    """Reserves before a byte leaves and settles once; see `dispatch_app.ledger`."""

    async def begin(
        self,
        *,
        dispatch: DispatchRecord,
        attempt: AttemptRecord,
        budgets: tuple[BudgetKey, ...],
        key: IdempotencyKey | None = None,
    ) -> BeginVerdict:
        """Reserve `attempt.reserved_nanos` on every one of `budgets`, all or nothing, and log attempt and dispatch.

        The commit stands when this returns. A refused attempt leaves no row. Of the dispatches that come with the same
        `key`, one alone is admitted.

        :raises LedgerUnavailableError: if no commit was to be had in time.
        """

    async def settle(self, *, settlement: Settlement) -> bool:
        """Post the actual cost once and, with an outcome, end the dispatch. False: still pending, being retried."""

    async def finish(self, *, dispatch: DispatchRecord, outcome: DispatchOutcome) -> bool:
        """End a dispatch that has no further attempt to settle, or never had one. False: still pending."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamCall:
    """One attempt as a vendor's adapter needs it. `deadline_at` is on the clock of the event loop."""

    request: Request
    candidate: Candidate
    deadline_at: float
    credential: Credential = NO_CREDENTIAL


class Upstream(Protocol):
    """Calls a vendor once; see `dispatch_app.providers`."""

    async def complete(self, call: UpstreamCall) -> Reply:
        """Return the whole reply.

        :raises UpstreamError: whatever goes wrong; see `dispatch_app.execution.errors`.
        """

    def stream(self, call: UpstreamCall) -> AbstractAsyncContextManager[AsyncIterator[StreamPart]]:
        """Open a stream of parts, which ends when the vendor says that it is complete.

        :raises UpstreamError: on opening, or from the iterator.
        """


class Sink(Protocol):
    """Where the parts of a streamed reply go; see `dispatch_app.gateway.streaming`."""

    def on_abandoned(self, callback: Callable[[], None] | None) -> None:
        """Have `callback`, and no earlier one, called when the client hangs up; at once if it has.

        From then on parts are taken and dropped.
        """

    def offer(self, part: StreamPart) -> bool:
        """Forward a part if there is room for it; False while the client is behind."""

    async def put(self, part: StreamPart) -> None:
        """Forward a part; waits while the client is behind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetReport:
    """How one attempt went for its target. `fault` is None when it answered; `first_byte_ms` when it stayed silent."""

    fault: FaultClass | None
    retry_after_s: int | None
    first_byte_ms: int | None
    total_ms: int
    output_tokens: int
    wire_status: int | None = None

    @property
    def is_of_no_call(self) -> bool:
        """Whether the attempt ended before it was made: it only gives back the leave to make it."""
        return self.fault is FaultClass.SUPERSEDED and self.total_ms == 0


class Health(Protocol):
    """Which targets can be called at the moment; see `dispatch_app.execution.breakers`."""

    def admits(self, target: Target) -> bool:
        """Whether `target` may be called now. Yes takes the one probe of a target that is being tried again."""

    def badness(self, target: Target) -> float:
        """Orders targets that are not admitted: the least bad is tried where there is no other."""

    def report(self, target: Target, report: TargetReport) -> None:
        """Note how an attempt went. Called once for every attempt, and after a yes of `admits` that led to none."""


class HedgeBudget(Protocol):
    """Keeps hedged requests a small share of those that could be."""

    def count(self) -> None:
        """Count a dispatch that may hedge."""

    def spend(self) -> bool:
        """Take one hedge; False if that would be too many."""


class Clock(Protocol):
    """Time, in two senses."""

    def monotonic(self) -> float:
        """Seconds on the clock of the event loop."""

    def now(self) -> datetime:
        """The time of day, aware."""


IdSource = Callable[[], UUID]
"""Gives ids that grow with time (UUIDv7)."""
