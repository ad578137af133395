"""What the ledger's SQL functions take and answer, as JSON. A batch is told by columns that need no looking up there."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from dispatch_app.execution.ports import (
    AttemptRecord,
    BudgetKey,
    DispatchOutcome,
    DispatchRecord,
    Finding,
    IdempotencyKey,
    Settlement,
)

BEGIN_SQL = "SELECT ledger_begin(%s::json, %s::json, %s::json, %s::json, %s::json, %s::json, %s)::text"
SETTLE_SQL = "SELECT ledger_settle(%s::json, %s::json, %s::timestamptz, %s::timestamptz)::text"


class BeginItem(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt that asks to be admitted."""

    dispatch: DispatchRecord
    attempt: AttemptRecord
    budgets: tuple[BudgetKey, ...]
    key: IdempotencyKey | None = None


class FinishItem(msgspec.Struct, frozen=True, kw_only=True):
    """One dispatch that ends without a further attempt."""

    dispatch: DispatchRecord
    outcome: DispatchOutcome


class WantedBudget(msgspec.Struct):
    """A budget, and what a batch would reserve on it in all."""

    budget_id: int
    subject: str
    period_start: datetime
    wanted_nanos: int = 0


class Purse(msgspec.Struct):
    """Budgets that the attempts at some places of a batch reserve on together. Both are counted from 1."""

    slots: list[int]
    places: list[int]


class ClaimedKey(msgspec.Struct):
    """The idempotency key of the dispatch at a place of a batch."""

    place: int
    tenant_id: int
    api_key_id: int
    endpoint: str
    key_hmac: str
    body_sha256: str
    dispatch_id: UUID
    dispatch_created_at: datetime


class BegunDispatch(msgspec.Struct):
    """A dispatch that began in an earlier batch."""

    id: UUID
    created_at: datetime


class SettlementRow(msgspec.Struct, omit_defaults=True, kw_only=True):
    """A settlement without anything in it that has columns of its own. `outcome` is the status of the dispatch that it ends."""

    attempt_id: UUID
    attempt_created_at: datetime
    state: str
    wire_status: int | None = None
    fault: str | None = None
    response_model: str
    validation: tuple[Finding, ...] = ()
    input_tokens: int = 0
    cached_input_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    cost_nanos: int
    estimated: bool = False
    cold: bool = False
    latency_ms: int
    first_byte_ms: int | None = None
    settled_at: datetime
    outcome: str | None = None
    error_code: str | None = None
    answered_by: int | None = None
    validated: bool | None = None
    model_id: int | None = None
    provider_id: int | None = None
    baseline_cost_nanos: int | None = None
    wasted_nanos: int | None = None
    total_ms: int | None = None
    dispatch_first_byte_ms: int | None = None
    overhead_us: int | None = None
    finished_at: datetime | None = None


class BeginAnswer(msgspec.Struct):
    """What `ledger_begin` says; no verdicts where it admitted all."""

    verdicts: list[tuple[str, int | None]] | None
    used_nanos: list[int | None]


encode = msgspec.json.Encoder().encode
decode_begin = msgspec.json.Decoder(BeginAnswer).decode
decode_settle = msgspec.json.Decoder(list[tuple[int, str, datetime, int]]).decode


def begin_parameters(
    items: Sequence[BeginItem], *, in_doubt: bool
) -> tuple[list[BudgetKey], tuple[object, ...]]:
    """The batch's budgets, in the order in which the answer tells what is used of them, and the parameters of `BEGIN_SQL`."""
    budgets, purses = _purses_of(items)
    documents = (
        [item.dispatch for item in items],
        [item.attempt for item in items],
        list(budgets.values()),
        purses,
        [_claimed(item.key, place, item.dispatch) for place, item in enumerate(items, start=1) if item.key],
        [_begun(item.dispatch) for item in items if not item.attempt.is_first],
    )
    return list(budgets), (*(encode(document).decode() for document in documents), in_doubt)


def settle_parameters(
    settlements: Sequence[Settlement], finishes: Sequence[FinishItem]
) -> tuple[str, str, datetime | None, datetime | None]:
    """Those of `SETTLE_SQL`."""
    created = [settlement.attempt_created_at for settlement in settlements]
    return (
        encode([row_of(settlement) for settlement in settlements]).decode(),
        encode(finishes).decode(),
        min(created, default=None),
        max(created, default=None),
    )


def row_of(settlement: Settlement) -> SettlementRow:
    """The settlement as `ledger_settlements` reads it."""
    usage, outcome = settlement.usage, settlement.outcome
    row = SettlementRow(
        attempt_id=settlement.attempt_id,
        attempt_created_at=settlement.attempt_created_at,
        state=settlement.state,
        wire_status=settlement.wire_status,
        fault=settlement.fault,
        response_model=settlement.response_model,
        validation=settlement.validation,
        input_tokens=usage.input_tokens,
        cached_input_tokens=usage.cached_input_tokens,
        cache_write_tokens=usage.cache_write_tokens,
        output_tokens=usage.output_tokens,
        reasoning_tokens=usage.reasoning_tokens,
        cost_nanos=settlement.cost_nanos,
        estimated=settlement.estimated,
        cold=settlement.cold,
        latency_ms=settlement.latency_ms,
        first_byte_ms=settlement.first_byte_ms,
        settled_at=settlement.settled_at,
    )
    if outcome is not None:
        row.outcome = outcome.status
        row.error_code = outcome.error_code
        row.answered_by = outcome.answered_by
        row.validated = outcome.validated
        row.model_id = outcome.model_id
        row.provider_id = outcome.provider_id
        row.baseline_cost_nanos = outcome.baseline_cost_nanos
        row.wasted_nanos = outcome.wasted_nanos
        row.total_ms = outcome.total_ms
        row.dispatch_first_byte_ms = outcome.first_byte_ms
        row.overhead_us = outcome.overhead_us
        row.finished_at = outcome.finished_at
    return row


def _purses_of(items: Sequence[BeginItem]) -> tuple[dict[BudgetKey, WantedBudget], list[Purse]]:
    budgets: dict[BudgetKey, WantedBudget] = {}
    slots: dict[BudgetKey, int] = {}
    purses: dict[tuple[BudgetKey, ...], Purse] = {}
    for place, item in enumerate(items, start=1):
        purse = purses.get(item.budgets)
        if purse is None:
            for key in item.budgets:
                if key not in slots:
                    budgets[key] = WantedBudget(key.budget_id, key.subject, key.period_start)
                    slots[key] = len(budgets)
            purse = purses[item.budgets] = Purse([slots[key] for key in item.budgets], [])
        purse.places.append(place)
    for keys, purse in purses.items():
        wanted_nanos = sum(items[place - 1].attempt.reserved_nanos for place in purse.places)
        for key in keys:
            budgets[key].wanted_nanos += wanted_nanos
    return budgets, list(purses.values())


def _begun(dispatch: DispatchRecord) -> BegunDispatch:
    return BegunDispatch(dispatch.id, dispatch.created_at)


def _claimed(key: IdempotencyKey, place: int, dispatch: DispatchRecord) -> ClaimedKey:
    return ClaimedKey(
        place=place,
        tenant_id=dispatch.tenant_id,
        api_key_id=dispatch.api_key_id,
        endpoint=key.endpoint,
        key_hmac=key.key_hmac,
        body_sha256=key.body_sha256,
        dispatch_id=dispatch.id,
        dispatch_created_at=dispatch.created_at,
    )
