"""Two processes' ledgers, many callers, edits and lost connections: what they were told has an explanation in some serial order."""

import asyncio
import os
import random
from dataclasses import dataclass, field

import psycopg
import pytest
from asgiref.sync import sync_to_async

from dispatch_app.execution.ports import BudgetKey, LedgerUnavailableError, Verdict
from dispatch_app.ledger.ledger import PostgresLedger, void_of
from dispatch_app.snapshot.budget_usage import BudgetUsage
from policies_app.models import Budget, Tenant
from policies_app.routing.codes import KillScope
from policies_app.services.budgets import change_budget_limit
from policies_app.services.kill_switches import lift_kill_switch, throw_kill_switch
from tests.dispatch_app.ledger.books import (
    Books,
    a_dispatch,
    a_settlement,
    an_attempt,
    an_outcome,
    make_budget,
)
from tests.dispatch_app.ledger.histories import (
    Accounts,
    Action,
    Begin,
    History,
    Read,
    SetKilled,
    SetLimit,
    Settle,
    order_of,
)

LIMITS = (6_000, 4_000)
SEEDS = int(os.environ.get("HISTORY_SEEDS", "3"))
CALLERS = 6
ROUNDS = 16
PATIENCE_S = 1.0


def history_of(*calls: tuple[int, int | None, Action]) -> History:
    """Of calls with the moments at which each was made and answered."""
    history = History()
    for called_at, answered_at, action in calls:
        number = history.call()
        history.operations[number].called_at = called_at
        history.operations[number].answered_at = answered_at
        history.operations[number].action = action
    return history


ADMITTED = Begin(600, (0,), "admitted")
REFUSED = Begin(600, (0,), "over_budget")
KILLED = Begin(600, (0,), "killed")
UNANSWERED = Begin(600, (0,), None)
START = Accounts(used=(0, 0), limits=(1_000, 1_000))


@pytest.mark.parametrize(
    "history",
    [
        pytest.param(history_of((1, 2, ADMITTED), (3, 4, REFUSED)), id="in turn"),
        pytest.param(history_of((1, 4, REFUSED), (2, 3, ADMITTED)), id="the one that answered first came first"),
        pytest.param(history_of((1, 4, ADMITTED), (2, 3, SetKilled(True))), id="admitted while the switch was thrown"),
        pytest.param(history_of((1, None, UNANSWERED), (2, 3, REFUSED)), id="nobody heard, and it took the rest"),
        pytest.param(history_of((1, None, UNANSWERED), (2, 3, ADMITTED)), id="nobody heard, and nothing came of it"),
        pytest.param(
            history_of((1, 2, ADMITTED), (3, 6, Settle(0, 600, 100, (0,))), (4, 5, ADMITTED)), id="given back just in time"
        ),
        pytest.param(
            history_of((1, None, UNANSWERED), (2, 3, Read((600, 0))), (4, None, Settle(0, 600, 0, (0,))), (5, 6, Read((0, 0)))),
            id="what nobody heard of was given back",
        ),
    ],
)  # fmt: skip
def test_a_history_is_explained(history: History) -> None:
    assert order_of(history, START) is not None


@pytest.mark.parametrize(
    "history",
    [
        pytest.param(history_of((1, 3, ADMITTED), (2, 4, ADMITTED)), id="twice the same rest"),
        pytest.param(history_of((1, 3, REFUSED), (2, 4, REFUSED)), id="refused though there was room"),
        pytest.param(history_of((1, 2, SetKilled(True)), (3, 4, ADMITTED)), id="admitted after the switch answered"),
        pytest.param(history_of((1, 2, SetLimit(0, 500)), (3, 4, ADMITTED)), id="admitted by the limit of before"),
        pytest.param(history_of((1, 2, SetLimit(0, 500)), (3, 4, KILLED)), id="killed without a switch"),
        pytest.param(
            history_of((1, 2, ADMITTED), (3, 4, ADMITTED), (5, 6, Settle(0, 600, 0, (0,)))), id="given back too late"
        ),
        pytest.param(
            history_of((1, 2, Begin(600, (0, 1), "admitted")), (3, 4, Begin(600, (1,), "admitted"))), id="the second budget's rest"
        ),
        pytest.param(history_of((1, 2, ADMITTED), (3, 4, Read((0, 0)))), id="a reservation that is not in the books"),
        pytest.param(
            history_of((1, 2, Begin(600, (0, 1), "over_budget")), (3, 4, Read((0, 0)))), id="refused for nothing"
        ),
    ],
)  # fmt: skip
def test_a_history_that_no_order_explains_is_found(history: History) -> None:
    assert order_of(history, START) is None


@dataclass
class Town:
    """Callers of two ledgers, and people who edit meanwhile; everything they see goes into the history."""

    ledgers: list[PostgresLedger]
    books: Books
    budgets: list[BudgetKey]
    chance: random.Random
    history: History = field(default_factory=History)

    async def caller(self) -> None:
        """Begins and settles, over either ledger."""
        for _ in range(ROUNDS):
            ledger = self.chance.choice(self.ledgers)
            nanos = self.chance.randrange(200, 1_600)
            budgets = self.chance.choice([(0,), (1,), (0, 1)])
            await self._attempt(ledger, nanos, budgets)
            await asyncio.sleep(self.chance.random() * 0.004)

    async def _attempt(self, ledger: PostgresLedger, nanos: int, budgets: tuple[int, ...]) -> None:
        attempt = an_attempt(reserved_nanos=nanos)
        begun = self.history.call()
        try:
            verdict = await ledger.begin(
                dispatch=a_dispatch(), attempt=attempt, budgets=tuple(self.budgets[n] for n in budgets)
            )
        except LedgerUnavailableError:
            self.history.give_up(begun, Begin(nanos, budgets, None))
            # Where it was admitted after all, the ledger gives it back by itself.
            self.history.give_up(self.history.call(), Settle(begun, nanos, 0, budgets))
            await asyncio.sleep(self.chance.random() * 0.1)
            return
        self.history.answer(begun, Begin(nanos, budgets, verdict.verdict))
        if verdict.verdict is not Verdict.ADMITTED:
            return
        await asyncio.sleep(self.chance.random() * 0.01)
        cost_nanos = self.chance.choice([0, 0, nanos // 4, nanos // 4, nanos + 100])
        settled = self.history.call()
        settlement = (
            a_settlement(attempt, cost_nanos=cost_nanos, outcome=an_outcome())
            if cost_nanos
            else void_of(attempt)
        )
        is_settled = await ledger.settle(settlement=settlement)
        action = Settle(begun, nanos, cost_nanos, budgets)
        if is_settled:
            self.history.answer(settled, action)
        else:
            self.history.give_up(settled, action)

    async def administrator(self) -> None:
        """Moves limits."""
        for _ in range(ROUNDS):
            await asyncio.sleep(self.chance.random() * 0.02)
            which, limit_nanos = self.chance.randrange(2), self.chance.randrange(1_000, 9_000)
            number = self.history.call()
            await sync_to_async(self._change_limit)(which, limit_nanos)
            self.history.answer(number, SetLimit(which, limit_nanos))

    async def watchman(self) -> None:
        """Throws a kill switch over everything now and then."""
        for _ in range(ROUNDS // 4):
            await asyncio.sleep(self.chance.random() * 0.05)
            number = self.history.call()
            thrown = await sync_to_async(throw_kill_switch)(
                scope=KillScope.EVERYTHING, reason="test", author_name="test"
            )
            self.history.answer(number, SetKilled(True))
            await asyncio.sleep(self.chance.random() * 0.01)
            number = self.history.call()
            await sync_to_async(lift_kill_switch)(switch=thrown, author_name="test")
            self.history.answer(number, SetKilled(False))

    async def vandal(self, conninfo: str) -> None:
        """Cuts connections in the middle of whatever they do, and holds what they need for longer than they wait."""
        async with await psycopg.AsyncConnection.connect(conninfo, autocommit=True) as connection:
            while True:
                await asyncio.sleep(self.chance.random() * 0.1)
                if self.chance.random() < 0.8:
                    await connection.execute(
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                        " WHERE datname = current_database() AND application_name LIKE 'signalbox-%'"
                    )
                else:
                    async with connection.transaction():
                        await connection.execute("SELECT FROM budget_balance FOR UPDATE")
                        await asyncio.sleep(self.chance.random() * PATIENCE_S / 2)

    def _change_limit(self, which: int, limit_nanos: int) -> None:
        budget = Budget.objects.get(pk=self.budgets[which].budget_id)
        change_budget_limit(budget=budget, limit_nanos=limit_nanos, author_name="test")


@pytest.mark.parametrize("seed", range(SEEDS))
async def test_what_callers_of_two_processes_were_told_happened_in_some_order(
    conninfo: str, books: Books, seed: int
) -> None:
    tenant = await sync_to_async(Tenant.objects.create)(name="acme")
    budgets = [
        await sync_to_async(make_budget)(tenant=tenant, limit_nanos=limit, name=f"budget {n}")
        for n, limit in enumerate(LIMITS)
    ]
    ledgers = [
        PostgresLedger(conninfo=conninfo, budget_usage=BudgetUsage(), begin_patience_s=PATIENCE_S)
        for _ in range(2)
    ]
    for ledger in ledgers:
        await ledger.start()
    town = Town(ledgers, books, budgets, random.Random(seed))

    vandal = asyncio.create_task(town.vandal(conninfo))
    callers = [town.caller() for _ in range(CALLERS)]
    await asyncio.gather(*callers, town.administrator(), town.watchman())
    vandal.cancel()
    await asyncio.gather(vandal, return_exceptions=True)
    for ledger in ledgers:
        await ledger.stop()
    number = town.history.call()
    town.history.answer(number, Read(tuple(sum(books.balance(budget)) for budget in budgets)))

    assert order_of(town.history, Accounts(used=(0, 0), limits=LIMITS)) is not None, town.history
    books.assert_they_agree()
