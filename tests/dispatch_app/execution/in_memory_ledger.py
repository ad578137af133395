"""A ledger in memory: the port of execution without a database, strict about how it is used."""

from collections.abc import Callable
from dataclasses import dataclass, field
from uuid import UUID

from dispatch_app.execution.ports import (
    AttemptRecord,
    BeginVerdict,
    BudgetKey,
    DispatchOutcome,
    DispatchRecord,
    IdempotencyKey,
    LedgerUnavailableError,
    Settlement,
    Verdict,
)

ADMITTED = BeginVerdict(verdict=Verdict.ADMITTED)


@dataclass(kw_only=True)
class InMemoryLedger:
    """One budget that every attempt is reserved on. Using it against its contract fails the test."""

    limit_nanos: int | None = None
    settled_nanos: int = 0
    reserved_nanos: int = 0
    killed_models: set[int] = field(default_factory=set)
    is_away: bool = False
    settles_late: bool = False
    open: dict[UUID, AttemptRecord] = field(default_factory=dict)
    attempts: list[AttemptRecord] = field(default_factory=list)
    settlements: list[Settlement] = field(default_factory=list)
    outcomes: list[DispatchOutcome] = field(default_factory=list)
    on_begin: Callable[[], None] = lambda: None
    on_settle: Callable[[], None] = lambda: None

    async def begin(
        self,
        *,
        dispatch: DispatchRecord,
        attempt: AttemptRecord,
        budgets: tuple[BudgetKey, ...],
        key: IdempotencyKey | None = None,
    ) -> BeginVerdict:
        del dispatch, budgets, key
        self.on_begin()
        if self.is_away:
            raise LedgerUnavailableError
        if attempt.model_id in self.killed_models:
            return BeginVerdict(verdict=Verdict.KILLED, subject_id=7)
        used_nanos = self.settled_nanos + self.reserved_nanos
        if self.limit_nanos is not None and used_nanos + attempt.reserved_nanos > self.limit_nanos:
            return BeginVerdict(verdict=Verdict.OVER_BUDGET, subject_id=1)
        assert not self.outcomes, "An attempt was begun for a dispatch that has ended."
        assert attempt.position not in {known.position for known in self.attempts}
        assert attempt.is_first or self.attempts
        self.reserved_nanos += attempt.reserved_nanos
        self.open[attempt.id] = attempt
        self.attempts.append(attempt)
        return ADMITTED

    async def settle(self, *, settlement: Settlement) -> bool:
        self.on_settle()
        attempt = self.open.pop(settlement.attempt_id)
        assert settlement.attempt_created_at == attempt.created_at
        assert 0 <= settlement.cost_nanos <= attempt.reserved_nanos
        self.reserved_nanos -= attempt.reserved_nanos
        self.settled_nanos += settlement.cost_nanos
        self.settlements.append(settlement)
        if settlement.outcome is not None:
            self._end(settlement.outcome)
        return not self.settles_late

    async def finish(self, *, dispatch: DispatchRecord, outcome: DispatchOutcome) -> bool:
        del dispatch
        assert not self.open, "A dispatch was finished while an attempt was open."
        self._end(outcome)
        return not self.settles_late

    @property
    def outcome(self) -> DispatchOutcome:
        """How the dispatch ended, once."""
        (outcome,) = self.outcomes
        return outcome

    def _end(self, outcome: DispatchOutcome) -> None:
        assert not self.outcomes, "A dispatch ended twice."
        self.outcomes.append(outcome)
