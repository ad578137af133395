"""The ledger's tables and transactions as a model: what dispatch_app/ledger/sql does, in Python and at once.

Each method is one transaction. It holds or raises as a whole, and nothing else happens meanwhile, because whatever the
real one could see half-done is locked there.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from dispatch_app.execution.ports import AttemptRecord, BudgetKey, DispatchOutcome, DispatchRecord, Settlement
from policies_app.routing.codes import AttemptState, BudgetAction, DispatchStatus, FaultClass, KillScope
from policies_app.routing.types import Usage

SWEEP_LIMIT = 1_000
ORPHAN_AFTER = timedelta(minutes=15)
UNSETTLED_COMMITS = timedelta(minutes=5)

RowKey = tuple[datetime, UUID]


class UniqueError(Exception):
    """A row with that key exists."""


@dataclass(slots=True, kw_only=True)
class BudgetRow:
    """A budget as an administrator edits it."""

    id: int
    action: BudgetAction
    limit_nanos: int
    enabled: bool = True


@dataclass(slots=True, kw_only=True)
class Balance:
    """One budget in one period. `granted_nanos` is None where nothing is enforced."""

    key: BudgetKey
    granted_nanos: int | None
    settled_nanos: int = 0
    reserved_nanos: int = 0
    overage_nanos: int = 0

    @property
    def used_nanos(self) -> int:
        return self.settled_nanos + self.reserved_nanos + self.overage_nanos


@dataclass(slots=True, kw_only=True)
class Switch:
    """A kill switch. `subject` is the id, or the pair of names, that its scope compares; None stops everything."""

    id: int
    scope: KillScope
    subject: object = None
    is_lifted: bool = False


@dataclass(slots=True, kw_only=True)
class DispatchRow:
    record: DispatchRecord
    status: DispatchStatus = DispatchStatus.OPEN
    attempts: int = 0
    cost_nanos: int = 0
    endings: int = 0


@dataclass(slots=True, kw_only=True)
class AttemptRow:
    record: AttemptRecord
    dispatch: RowKey
    balances: tuple[Balance, ...]
    admitted_at: float
    state: AttemptState = AttemptState.OPEN
    cost_nanos: int = 0
    usage: Usage = field(default_factory=Usage)
    fault: FaultClass | None = None
    endings: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Delta:
    """What one settlement adds to the figures."""

    tenant_id: int
    outcome: str
    dispatches: int
    attempts: int
    cost_nanos: int
    output_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Begin:
    """One attempt that asks to be admitted; `slots` count the batch's budgets from 1."""

    dispatch: DispatchRecord
    attempt: AttemptRecord
    slots: list[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finish:
    dispatch: DispatchRecord
    outcome: DispatchOutcome


Verdict = tuple[str, int | None]
Transaction = tuple[Any, ...]
"""The name of a method of `Accounts`, what it was called with, and what it answered."""
Used = tuple[int, str, datetime, int]


class Accounts:
    """All tables. `time` is the simulation's; `on_commit` sees the balances that a transaction touched."""

    def __init__(self, *, time: Callable[[], float]) -> None:
        self.budgets: dict[int, BudgetRow] = {}
        self.balances: dict[BudgetKey, Balance] = {}
        self.switches: list[Switch] = []
        self.dispatches: dict[RowKey, DispatchRow] = {}
        self.attempts: dict[RowKey, AttemptRow] = {}
        self.attempts_of: dict[UUID, list[AttemptRow]] = {}
        self.pending: list[Delta] = []
        self.figures: list[Delta] = []
        self.journal: list[Transaction] = []
        self.swept_until = datetime.min.replace(tzinfo=UTC)
        self.on_commit: Callable[[Iterable[Balance]], None] = lambda balances: None
        self.on_admission: Callable[[AttemptRow], None] = lambda row: None
        self._time = time

    def begin(
        self, budgets: list[BudgetKey], items: list[Begin], *, in_doubt: bool
    ) -> tuple[list[Verdict], list[int | None]]:
        """`ledger_begin`."""
        balances = [self._balance(key) for key in budgets]
        remaining = [self._remaining_nanos(balance) for balance in balances]
        verdicts: list[Verdict] = []
        admitted: list[Begin] = []
        for item in items:
            verdict = self._verdict(item, balances, remaining, in_doubt=in_doubt)
            verdicts.append(verdict)
            if verdict[0] == "admitted":
                admitted.append(item)
                self._draw_on(remaining, item)
        self._require_new(admitted)
        for item in admitted:
            self._admit(item, balances)
        self.on_commit(balance for balance in balances if balance is not None)
        used = [None if balance is None else balance.used_nanos for balance in balances]
        self.journal.append(("begin", budgets, items, in_doubt, (verdicts, used)))
        return verdicts, used

    def settle(self, settlements: list[Settlement], finishes: list[Finish]) -> list[Used]:
        """`ledger_settle`: what is no longer open is passed over, but for what expired, which is corrected."""
        used = self._post(settlements, finishes)
        self.journal.append(("settle", settlements, finishes, used))
        return used

    def expire(self, at: datetime) -> int:
        """`ledger_expire`: what nobody settled in time is charged what it reserved."""
        lost = [
            row
            for row in self.attempts.values()
            if row.state is AttemptState.OPEN
            and row.record.created_at >= self.swept_until
            and row.record.expires_at < at
        ][:SWEEP_LIMIT]
        orphans = [row for row in self.dispatches.values() if self._is_orphan(row, at)][:SWEEP_LIMIT]
        self._post(
            [self._expiry(row, at) for row in lost],
            [Finish(dispatch=row.record, outcome=_expired(at)) for row in orphans],
        )
        open_since = [
            row.record.created_at for row in self.attempts.values() if row.state is AttemptState.OPEN
        ]
        open_since += [
            row.record.created_at for row in self.dispatches.values() if row.status is DispatchStatus.OPEN
        ]
        # Nothing older than the watermark is looked at, here as there.
        known = [moment for moment in open_since if moment >= self.swept_until]
        self.swept_until = max(self.swept_until, min([at - UNSETTLED_COMMITS, *known]))
        self.journal.append(("expire", at, len(lost) + len(orphans)))
        return len(lost) + len(orphans)

    def drain(self) -> None:
        """Add what is pending to the figures."""
        self.figures += self.pending
        self.pending = []

    def change_limit(self, budget: BudgetRow, limit_nanos: int) -> None:
        """`save_budget`: a running period's grant cannot go below what is spoken for."""
        budget.limit_nanos = limit_nanos
        self.journal.append(("change_limit", budget.id, limit_nanos))
        for balance in self.balances.values():
            if balance.key.budget_id == budget.id:
                is_soft = budget.action is BudgetAction.ALERT
                least = balance.settled_nanos + balance.reserved_nanos
                balance.granted_nanos = None if is_soft else max(limit_nanos, least)

    def throw(self, switch: Switch) -> None:
        """Stop what a kill switch names."""
        self.switches.append(switch)
        self.journal.append(("throw", switch))

    def lift(self, switch: Switch) -> None:
        """Stop it no longer."""
        switch.is_lifted = True
        self.journal.append(("lift", switch.id))

    def stopping_switch(self, dispatch: DispatchRecord, attempt: AttemptRecord) -> Switch | None:
        """`ledger_kill_switch`."""
        for switch in self.switches:
            if not switch.is_lifted and _stops(switch, dispatch, attempt):
                return switch
        return None

    def _post(self, settlements: list[Settlement], finishes: list[Finish]) -> list[Used]:
        touched: dict[BudgetKey, Balance] = {}
        outcomes: dict[RowKey, list[tuple[int, DispatchOutcome]]] = {}
        for settlement in settlements:
            row = self.attempts.get((settlement.attempt_created_at, settlement.attempt_id))
            if row is None:
                continue
            if row.state is AttemptState.EXPIRED and settlement.state is not AttemptState.EXPIRED:
                self._correct(row, settlement)
                touched.update((balance.key, balance) for balance in row.balances)
                continue
            if not self._is_open(row):
                continue
            self._close(row, settlement)
            touched.update((balance.key, balance) for balance in row.balances)
            if settlement.outcome is not None:
                outcomes.setdefault(row.dispatch, []).append((row.record.position, settlement.outcome))
        for key, known in outcomes.items():
            self._end(self.dispatches[key], max(known, key=lambda pair: pair[0])[1])
        for finish in finishes:
            self._finish(finish)
        self.on_commit(touched.values())
        return [
            (key.budget_id, key.subject, key.period_start, balance.used_nanos)
            for key, balance in touched.items()
        ]

    def _balance(self, key: BudgetKey) -> Balance | None:
        balance, budget = self.balances.get(key), self.budgets.get(key.budget_id)
        if balance is None and budget is not None:
            granted = None if budget.action is BudgetAction.ALERT else budget.limit_nanos
            balance = self.balances[key] = Balance(key=key, granted_nanos=granted)
        return balance

    def _remaining_nanos(self, balance: Balance | None) -> int | None:
        if balance is None or balance.granted_nanos is None:
            return None
        budget = self.budgets[balance.key.budget_id]
        if budget.action is BudgetAction.ALERT or not budget.enabled:
            return None
        return min(balance.granted_nanos, budget.limit_nanos) - balance.used_nanos

    def _verdict(
        self, item: Begin, balances: list[Balance | None], remaining: list[int | None], *, in_doubt: bool
    ) -> Verdict:
        known = self.attempts.get((item.attempt.created_at, item.attempt.id)) if in_doubt else None
        if known is not None:
            return ("expired" if known.state is AttemptState.EXPIRED else "known"), None
        if self._has_ended(item):
            return "expired", None
        switch = self.stopping_switch(item.dispatch, item.attempt)
        if switch is not None:
            return "killed", switch.id
        reserved = item.attempt.reserved_nanos
        for slot in item.slots if reserved > 0 else ():
            left, balance = remaining[slot - 1], balances[slot - 1]
            if left is not None and left < reserved:
                return "over_budget", None if balance is None else balance.key.budget_id
        return "admitted", None

    def _has_ended(self, item: Begin) -> bool:
        """Whether the sweep has ended the dispatch, which begins no further attempt then."""
        known = self.dispatches.get((item.dispatch.created_at, item.dispatch.id))
        return not item.attempt.is_first and known is not None and known.status is not DispatchStatus.OPEN

    def _draw_on(self, remaining: list[int | None], item: Begin) -> None:
        for slot in item.slots:
            left = remaining[slot - 1]
            if left is not None:
                remaining[slot - 1] = left - item.attempt.reserved_nanos

    def _require_new(self, items: list[Begin]) -> None:
        for item in items:
            if (item.attempt.created_at, item.attempt.id) in self.attempts:
                raise UniqueError

    def _admit(self, item: Begin, balances: list[Balance | None]) -> None:
        dispatch, attempt = item.dispatch, item.attempt
        key = (dispatch.created_at, dispatch.id)
        if item.attempt.is_first and key not in self.dispatches:
            self.dispatches[key] = DispatchRow(record=dispatch)
        reserved_on = tuple(balance for slot in item.slots if (balance := balances[slot - 1]) is not None)
        row = AttemptRow(record=attempt, dispatch=key, balances=reserved_on, admitted_at=self._time())
        self.attempts[attempt.created_at, attempt.id] = row
        self.attempts_of.setdefault(dispatch.id, []).append(row)
        for balance in reserved_on:
            balance.reserved_nanos += attempt.reserved_nanos
        self.on_admission(row)

    def _is_open(self, row: AttemptRow) -> bool:
        return row.state is AttemptState.OPEN

    def _close(self, row: AttemptRow, settlement: Settlement) -> None:
        row.state, row.cost_nanos, row.usage = settlement.state, settlement.cost_nanos, settlement.usage
        row.fault = settlement.fault
        row.endings += 1
        for balance in row.balances:
            balance.reserved_nanos -= row.record.reserved_nanos
            balance.settled_nanos += min(row.cost_nanos, row.record.reserved_nanos)
            balance.overage_nanos += max(row.cost_nanos - row.record.reserved_nanos, 0)
        dispatch = self.dispatches.get(row.dispatch)
        if dispatch is None:
            return
        dispatch.attempts += 1
        dispatch.cost_nanos += row.cost_nanos
        self._count(dispatch, settlement.outcome, attempts=1, row=row)

    def _correct(self, row: AttemptRow, settlement: Settlement) -> None:
        """`ledger_correct`: the charge of what expired becomes what it cost."""
        reserved, charged = row.record.reserved_nanos, row.cost_nanos
        row.state, row.cost_nanos, row.usage = settlement.state, settlement.cost_nanos, settlement.usage
        row.fault = settlement.fault
        for balance in row.balances:
            balance.settled_nanos += min(row.cost_nanos, reserved) - min(charged, reserved)
            balance.overage_nanos += max(row.cost_nanos - reserved, 0) - max(charged - reserved, 0)
        dispatch, outcome = self.dispatches[row.dispatch], settlement.outcome
        dispatch.cost_nanos += row.cost_nanos - charged
        was_open = dispatch.status is DispatchStatus.OPEN
        ends = outcome is not None and dispatch.status in {DispatchStatus.OPEN, DispatchStatus.EXPIRED}
        if outcome is not None and ends:
            dispatch.status = outcome.status
            dispatch.endings += was_open
        self.pending.append(
            Delta(
                tenant_id=dispatch.record.tenant_id,
                outcome=dispatch.status,
                dispatches=1 if ends and was_open else 0,
                attempts=0,
                cost_nanos=row.cost_nanos - charged,
                output_tokens=row.usage.output_tokens,
            )
        )

    def _count(
        self,
        dispatch: DispatchRow,
        outcome: DispatchOutcome | None,
        *,
        attempts: int,
        row: AttemptRow | None = None,
    ) -> None:
        self.pending.append(
            Delta(
                tenant_id=dispatch.record.tenant_id,
                outcome="continued" if outcome is None else outcome.status,
                dispatches=0 if outcome is None else 1,
                attempts=attempts,
                cost_nanos=0 if row is None else row.cost_nanos,
                output_tokens=0 if row is None else row.usage.output_tokens,
            )
        )

    def _end(self, dispatch: DispatchRow, outcome: DispatchOutcome) -> None:
        dispatch.status = outcome.status
        dispatch.endings += 1

    def _finish(self, finish: Finish) -> None:
        """`ledger_finish`: only what is open, or was never begun, ends."""
        key = (finish.dispatch.created_at, finish.dispatch.id)
        dispatch = self.dispatches.setdefault(key, DispatchRow(record=finish.dispatch))
        if dispatch.status is DispatchStatus.OPEN:
            self._end(dispatch, finish.outcome)
            self._count(dispatch, finish.outcome, attempts=0)

    def _is_orphan(self, row: DispatchRow, at: datetime) -> bool:
        return (
            row.status is DispatchStatus.OPEN
            and self.swept_until <= row.record.created_at < at - ORPHAN_AFTER
            and not any(self._is_open(attempt) for attempt in self.attempts_of.get(row.record.id, ()))
        )

    def _expiry(self, row: AttemptRow, at: datetime) -> Settlement:
        siblings = self.attempts_of[self.dispatches[row.dispatch].record.id]
        is_last = all(
            other.record.position <= row.record.position
            and not (self._is_open(other) and other.record.expires_at >= at)
            for other in siblings
        )
        is_ended = self.dispatches[row.dispatch].status is not DispatchStatus.OPEN
        return Settlement(
            attempt_id=row.record.id,
            attempt_created_at=row.record.created_at,
            state=AttemptState.EXPIRED,
            wire_status=None,
            fault=FaultClass.EXPIRED,
            response_model="",
            usage=Usage(),
            cost_nanos=row.record.reserved_nanos,
            estimated=True,
            cold=False,
            latency_ms=0,
            first_byte_ms=None,
            settled_at=at,
            outcome=_expired(at) if is_last and not is_ended else None,
        )


def _expired(at: datetime) -> DispatchOutcome:
    return DispatchOutcome(
        status=DispatchStatus.EXPIRED,
        error_code="expired",
        model_id=None,
        provider_id=None,
        baseline_cost_nanos=None,
        total_ms=0,
        first_byte_ms=None,
        overhead_us=0,
        finished_at=at,
    )


def _stops(switch: Switch, dispatch: DispatchRecord, attempt: AttemptRecord) -> bool:
    subjects = {
        KillScope.PROVIDER: attempt.provider_id,
        KillScope.MODEL: attempt.model_id,
        KillScope.POLICY: dispatch.policy_id,
        KillScope.RULE: (dispatch.policy_id, dispatch.rule),
        KillScope.TENANT: dispatch.tenant_id,
        KillScope.API_KEY: dispatch.api_key_id,
        KillScope.END_USER: (dispatch.tenant_id, dispatch.end_user),
    }
    return switch.scope is KillScope.EVERYTHING or subjects[switch.scope] == switch.subject
