"""The model of the ledger is a model of the ledger: PostgreSQL says and keeps the same, transaction by transaction."""

from collections.abc import Iterator
from datetime import date
from typing import Any

import msgspec
import psycopg
import pytest
from django.db import connection as django_connection

from dispatch_app.ledger.wire import (
    BEGIN_SQL,
    SETTLE_SQL,
    BeginItem,
    FinishItem,
    begin_parameters,
    settle_parameters,
)
from dispatch_app.rollups.statements import fetch_one
from policies_app.routing.codes import KillScope
from policies_app.services.budgets import _GRANT_SQL
from tests.simulation.accounts import Accounts, Begin, Switch
from tests.simulation.simulation import Simulation

SETTLED_LATE = (133, 301, 766)
SEEDS = (*range(0, 90, 3), *SETTLED_LATE)

_read = msgspec.json.decode


class Replay:
    """Carries out a model's transactions on the real tables."""

    def __init__(self, connection: psycopg.Connection) -> None:
        self._execute = connection.execute

    def empty(self, accounts: Accounts, limits: dict[int, int]) -> None:
        """Nothing but the budgets, with the limits that they began with."""
        self._execute(
            "TRUNCATE dispatch, attempt, budget_balance, rollup_delta, policies_app_killswitch CASCADE"
        )
        self._execute("TRUNCATE policies_app_budget CASCADE")
        self._execute("UPDATE ledger_sweep SET swept_until = '-infinity'")
        for budget in accounts.budgets.values():
            self._execute(
                "INSERT INTO policies_app_budget (id, tenant_id, name, scope, end_user, tag, period, month_begins_on, limit_nanos, action, "
                "alert_at_pcts, enabled, created_at) "
                "VALUES (%s, 1, %s, 'tenant', '', '', 'day', 1, %s, %s, '{}', true, now())",
                (budget.id, f"budget {budget.id}", limits[budget.id], budget.action),
            )

    def begin(self, budgets: list[Any], items: list[Begin], in_doubt: bool, said: tuple[Any, Any]) -> None:
        keys, parameters = begin_parameters(
            [
                BeginItem(
                    dispatch=item.dispatch,
                    attempt=item.attempt,
                    budgets=tuple(budgets[slot - 1] for slot in item.slots),
                )
                for item in items
            ],
            in_doubt=in_doubt,
        )
        answer = self._ask(BEGIN_SQL, parameters)
        verdicts, used = said
        told = answer["verdicts"] or [["admitted", None]] * len(items)
        assert [tuple(verdict) for verdict in told] == verdicts
        assert (keys, answer["used_nanos"]) == (budgets, used)

    def settle(self, settlements: list[Any], finishes: list[Any], said: list[Any]) -> None:
        ended = [FinishItem(dispatch=finish.dispatch, outcome=finish.outcome) for finish in finishes]
        answer = self._ask(SETTLE_SQL, settle_parameters(settlements, ended))
        found = {(budget_id, subject, used) for budget_id, subject, _, used in answer}
        assert found == {(budget_id, subject, used) for budget_id, subject, _, used in said}

    def expire(self, at: Any, said: int) -> None:
        assert self._execute("SELECT ledger_expire(%s, 1000)", (at,)).fetchone() == (said,)

    def change_limit(self, budget_id: int, limit_nanos: int) -> None:
        self._execute(
            "UPDATE policies_app_budget SET limit_nanos = %s WHERE id = %s", (limit_nanos, budget_id)
        )
        starts = self._execute(
            "SELECT DISTINCT period_start FROM budget_balance WHERE budget_id = %s", (budget_id,)
        )
        for (start,) in starts.fetchall():
            (action,) = self._execute(
                "SELECT action FROM policies_app_budget WHERE id = %s", (budget_id,)
            ).fetchone()
            values = {"limit_nanos": limit_nanos, "budget_id": budget_id, "period_start": start}
            self._execute(_GRANT_SQL, {**values, "is_soft": action == "alert"})

    def throw(self, switch: Switch) -> None:
        columns: dict[str, Any] = {"id": switch.id, "scope": switch.scope, **_subject(switch)}
        names = ", ".join(columns)
        self._execute(
            f"INSERT INTO policies_app_killswitch ({names}, reason, author_name, created_at, lifted_by_name, hard) "
            f"VALUES ({', '.join(['%s'] * len(columns))}, 'test', 'test', now(), '', false)",
            tuple(columns.values()),
        )

    def lift(self, switch_id: int) -> None:
        self._execute("UPDATE policies_app_killswitch SET lifted_at = now() WHERE id = %s", (switch_id,))

    def _ask(self, query: str, values: tuple[Any, ...]) -> Any:
        return _read(self._execute(query, values).fetchone()[0])


@pytest.fixture
def connection(transactional_db: None) -> Iterator[psycopg.Connection]:
    fetch_one("create_partitions", {"first_day": date(2026, 3, 2), "days": 4})
    parameters = django_connection.get_connection_params()
    names = {"dbname", "user", "password", "host", "port"} & set(parameters)
    conninfo = psycopg.conninfo.make_conninfo(**{name: parameters[name] for name in names})
    with psycopg.connect(conninfo, autocommit=True) as connection:
        # Tenants, models and policies are not needed for what is tested here.
        connection.execute("SET session_replication_role = replica")
        yield connection


def test_postgresql_says_and_keeps_what_the_model_does(connection: psycopg.Connection) -> None:
    replay = Replay(connection)
    transactions = 0
    for seed in SEEDS:
        accounts, limits = _simulated(seed)
        replay.empty(accounts, limits)
        for name, *values in accounts.journal:
            getattr(replay, name)(*values)
        transactions += len(accounts.journal)
        _assert_same_tables(connection, accounts)
    assert transactions > 300


def _simulated(seed: int) -> tuple[Accounts, dict[int, int]]:
    simulation = Simulation(seed, keeps_lines=False)
    limits = {budget.id: budget.limit_nanos for budget in simulation.accounts.budgets.values()}
    try:
        assert not simulation.run().problem
    finally:
        simulation.bury()
    return simulation.accounts, limits


def _assert_same_tables(connection: psycopg.Connection, accounts: Accounts) -> None:
    balances = connection.execute(
        "SELECT budget_id, subject, granted_nanos, settled_nanos, reserved_nanos, overage_nanos FROM budget_balance"
    ).fetchall()
    assert sorted(balances, key=repr) == sorted(
        [
            (
                balance.key.budget_id,
                balance.key.subject,
                balance.granted_nanos,
                balance.settled_nanos,
                balance.reserved_nanos,
                balance.overage_nanos,
            )
            for balance in accounts.balances.values()
        ],
        key=repr,
    )
    attempts = connection.execute("SELECT id, state, cost_nanos, fault FROM attempt").fetchall()
    assert set(attempts) == {
        (row.record.id, row.state, row.cost_nanos, row.fault or "") for row in accounts.attempts.values()
    }
    dispatches = connection.execute("SELECT id, status, attempts, cost_nanos FROM dispatch").fetchall()
    assert set(dispatches) == {
        (row.record.id, row.status, row.attempts, row.cost_nanos) for row in accounts.dispatches.values()
    }
    sums = (
        "sum(dispatches)::bigint, sum(attempts)::bigint, sum(cost_nanos)::bigint, sum(output_tokens)::bigint"
    )
    deltas = accounts.figures + accounts.pending
    assert connection.execute(f"SELECT {sums} FROM rollup_delta").fetchone() == (
        sum(delta.dispatches for delta in deltas),
        sum(delta.attempts for delta in deltas),
        sum(delta.cost_nanos for delta in deltas),
        sum(delta.output_tokens for delta in deltas),
    )


def _subject(switch: Switch) -> dict[str, Any]:
    subject = switch.subject
    pair = subject if isinstance(subject, tuple) else (subject, "")
    columns: dict[str, Any] = {"rule_name": "", "end_user": ""}
    match switch.scope:
        case KillScope.EVERYTHING:
            return columns
        case KillScope.RULE:
            return columns | {"policy_id": pair[0], "rule_name": pair[1]}
        case KillScope.END_USER:
            return columns | {"tenant_id": pair[0], "end_user": pair[1]}
        case scope:
            return columns | {f"{scope}_id": subject}
