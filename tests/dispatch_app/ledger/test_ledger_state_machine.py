"""Any order of begin, settle, void, expire, late settlement, limit change, raise, kill, lift and new period, against a model of the ledger in Python."""

import os
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import psycopg
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from dispatch_app.execution.ports import AttemptRecord, BudgetKey, DispatchRecord
from dispatch_app.ledger.ledger import void_of
from dispatch_app.ledger.wire import (
    BEGIN_SQL,
    SETTLE_SQL,
    BeginItem,
    begin_parameters,
    decode_begin,
    settle_parameters,
)
from policies_app.models import Budget, BudgetRaise, KillSwitch, Tenant
from policies_app.routing.codes import KillScope
from tests.dispatch_app.ledger.books import Books, a_dispatch, a_settlement, an_attempt, an_outcome, key_of

EXAMPLES = int(os.environ.get("LEDGER_EXAMPLES", "60"))
LIMITS = st.integers(min_value=0, max_value=4_000)
AMOUNTS = st.integers(min_value=0, max_value=1_500)


@dataclass
class ModelledBudget:
    key: BudgetKey
    limit_nanos: int
    settled: int = 0
    reserved: int = 0
    overage: int = 0
    raised_by_nanos: int = 0

    def has_room_for(self, nanos: int) -> bool:
        used_nanos = self.settled + self.reserved + self.overage
        return used_nanos + nanos <= self.limit_nanos + self.raised_by_nanos


@dataclass
class ModelledDispatch:
    """One that its process has not ended. The sweep may have."""

    record: DispatchRecord
    attempts: list[UUID] = field(default_factory=list)
    is_given_up: bool = False


@dataclass(frozen=True)
class ModelledAttempt:
    record: AttemptRecord
    budgets: list[ModelledBudget]
    dispatch: ModelledDispatch


@pytest.mark.timeout(240)
def test_the_ledger_and_its_model_never_disagree(conninfo: str) -> None:
    connection = psycopg.connect(conninfo, autocommit=True)
    books = Books(connection=connection)

    class LedgerMachine(RuleBasedStateMachine):
        @initialize(limits=st.tuples(LIMITS, LIMITS))
        def open_books(self, limits: tuple[int, int]) -> None:
            connection.execute("TRUNCATE dispatch, attempt, budget_balance, rollup_delta")
            KillSwitch.objects.all().delete()
            Budget.objects.all().delete()
            tenant, _ = Tenant.objects.get_or_create(name="acme")
            created = [
                Budget.objects.create(tenant=tenant, name=f"budget {n}", limit_nanos=limit)
                for n, limit in enumerate(limits)
            ]
            self.budgets = [ModelledBudget(key_of(budget), budget.limit_nanos) for budget in created]
            self.open: dict[UUID, ModelledAttempt] = {}
            self.expired: dict[UUID, ModelledAttempt] = {}
            self.dispatches: dict[UUID, ModelledDispatch] = {}
            self.sent: list[ModelledAttempt] = []
            self.is_killed = False

        @rule(nanos=AMOUNTS, which=st.sets(st.integers(0, 1), min_size=1))
        def begin(self, nanos: int, which: set[int]) -> None:
            self._begin(ModelledDispatch(a_dispatch()), nanos, which)

        @precondition(lambda self: self.dispatches)
        @rule(data=st.data(), nanos=AMOUNTS, which=st.sets(st.integers(0, 1), min_size=1))
        def begin_a_further_attempt(self, data: st.DataObject, nanos: int, which: set[int]) -> None:
            dispatch = self.dispatches[data.draw(st.sampled_from(sorted(self.dispatches)))]
            self._begin(dispatch, nanos, which)

        def _begin(self, dispatch: ModelledDispatch, nanos: int, which: set[int]) -> None:
            attempt = an_attempt(reserved_nanos=nanos, position=len(dispatch.attempts) + 1)
            budgets = [self.budgets[n] for n in sorted(which)]
            expected = "admitted"
            if dispatch.is_given_up:
                expected = "expired"
            elif self.is_killed:
                expected = "killed"
            elif nanos > 0 and not all(budget.has_room_for(nanos) for budget in budgets):
                expected = "over_budget"

            modelled = ModelledAttempt(attempt, budgets, dispatch)
            assert self._send(modelled, in_doubt=False) == expected

            if expected == "admitted":
                for budget in budgets:
                    budget.reserved += nanos
                dispatch.attempts.append(attempt.id)
                self.dispatches[dispatch.record.id] = dispatch
                self.open[attempt.id] = modelled
                self.sent.append(modelled)

        @precondition(lambda self: self.sent)
        @rule(data=st.data())
        def begin_again_in_doubt(self, data: st.DataObject) -> None:
            assert self._send(data.draw(st.sampled_from(self.sent)), in_doubt=True) in ("known", "expired")

        @precondition(lambda self: self.open)
        @rule(data=st.data(), cost=AMOUNTS, times=st.integers(1, 2), ends=st.booleans())
        def settle(self, data: st.DataObject, cost: int, times: int, ends: bool) -> None:
            attempt = self.open.pop(data.draw(st.sampled_from(sorted(self.open))))
            self._settle_once(attempt, cost, times, ends=ends)
            self._post(attempt, cost)

        @precondition(lambda self: self.open)
        @rule(data=st.data())
        def void(self, data: st.DataObject) -> None:
            attempt = self.open.pop(data.draw(st.sampled_from(sorted(self.open))))
            self._settle(void_of(attempt.record))
            self._post(attempt, 0)

        @rule()
        def expire(self) -> None:
            at = datetime.now(UTC) + timedelta(minutes=3)
            connection.execute("SELECT ledger_expire(%s, 1000)", [at])
            connection.execute("UPDATE ledger_sweep SET swept_until = '-infinity'")
            for attempt_id, attempt in self.open.items():
                self._post(attempt, attempt.record.reserved_nanos)
                attempt.dispatch.is_given_up |= attempt.dispatch.attempts[-1] == attempt_id
            self.expired |= self.open
            self.open.clear()

        @precondition(lambda self: self.expired)
        @rule(data=st.data(), cost=AMOUNTS, times=st.integers(1, 2), ends=st.booleans())
        def settle_late(self, data: st.DataObject, cost: int, times: int, ends: bool) -> None:
            attempt = self.expired.pop(data.draw(st.sampled_from(sorted(self.expired))))
            self._settle_once(attempt, cost, times, ends=ends)
            reserved = attempt.record.reserved_nanos
            for budget in attempt.budgets:
                budget.settled += min(cost, reserved) - reserved
                budget.overage += max(cost - reserved, 0)

        @rule(which=st.integers(0, 1), limit=LIMITS)
        def change_limit(self, which: int, limit: int) -> None:
            budget = self.budgets[which]
            Budget.objects.filter(pk=budget.key.budget_id).update(limit_nanos=limit)
            budget.limit_nanos = limit

        @rule(which=st.integers(0, 1), amount=st.integers(1, 1_500))
        def raise_for_a_time(self, which: int, amount: int) -> None:
            budget = self.budgets[which]
            BudgetRaise.objects.create(
                budget_id=budget.key.budget_id, amount_nanos=amount, reason="test", author_name="test",
                starts_at=datetime.now(UTC) - timedelta(hours=1),
            )  # fmt: skip
            budget.raised_by_nanos += amount

        @rule(which=st.integers(0, 1))
        def end_raises(self, which: int) -> None:
            budget = self.budgets[which]
            BudgetRaise.objects.filter(budget_id=budget.key.budget_id).update(
                ends_at=datetime.now(UTC) - timedelta(minutes=30)
            )
            budget.raised_by_nanos = 0

        @rule()
        def kill(self) -> None:
            KillSwitch.objects.create(scope=KillScope.EVERYTHING, reason="test", author_name="test")
            self.is_killed = True

        @rule()
        def lift(self) -> None:
            KillSwitch.objects.update(lifted_at=datetime.now(UTC))
            self.is_killed = False

        @rule(which=st.integers(0, 1))
        def new_period(self, which: int) -> None:
            old = self.budgets[which]
            key = msgspec.structs.replace(old.key, period_start=old.key.period_start + timedelta(days=31))
            self.budgets[which] = ModelledBudget(key, old.limit_nanos, raised_by_nanos=old.raised_by_nanos)

        @invariant()
        def balances_equal_the_model(self) -> None:
            for budget in getattr(self, "budgets", []):
                assert books.balance(budget.key) == (budget.settled, budget.reserved, budget.overage)

        def teardown(self) -> None:
            books.assert_they_agree()

        def _send(self, attempt: ModelledAttempt, *, in_doubt: bool) -> str:
            item = BeginItem(
                dispatch=attempt.dispatch.record,
                attempt=attempt.record,
                budgets=tuple(budget.key for budget in attempt.budgets),
            )
            _, parameters = begin_parameters([item], in_doubt=in_doubt)
            answer = decode_begin(connection.execute(BEGIN_SQL, parameters).fetchone()[0])
            return "admitted" if answer.verdicts is None else answer.verdicts[0][0]

        def _settle_once(self, attempt: ModelledAttempt, cost: int, times: int, *, ends: bool) -> None:
            """However often it is sent. A process ends each of its dispatches once."""
            is_last_word = ends and self.dispatches.pop(attempt.dispatch.record.id, None) is not None
            outcome = an_outcome() if is_last_word else None
            for _ in range(times):
                self._settle(a_settlement(attempt.record, cost_nanos=cost, outcome=outcome))

        def _settle(self, settlement: Any) -> None:
            connection.execute(SETTLE_SQL, settle_parameters([settlement], []))

        def _post(self, attempt: ModelledAttempt, cost: int) -> None:
            reserved = attempt.record.reserved_nanos
            for budget in attempt.budgets:
                budget.reserved -= reserved
                budget.settled += min(cost, reserved)
                budget.overage += max(cost - reserved, 0)

    run_state_machine_as_test(
        LedgerMachine,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    connection.close()
