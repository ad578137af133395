"""Idempotency keys in the ledger: one key, one dispatch, in one commit with its first attempt."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio
from asgiref.sync import sync_to_async

from dispatch_app.claims import Claim, Earlier, KeptAnswer
from dispatch_app.execution.ports import (
    BeginVerdict,
    DispatchRecord,
    IdempotencyKey,
    LedgerUnavailableError,
    Verdict,
)
from dispatch_app.ledger.key_book import MOST_KEPT_BYTES, PostgresKeyBook
from dispatch_app.ledger.ledger import PostgresLedger, void_of
from dispatch_app.ledger.sweep import expire_attempts, forget_keys
from dispatch_app.ledger.wire import BEGIN_SQL, BeginItem, begin_parameters, decode_begin
from dispatch_app.snapshot.budget_usage import BudgetUsage
from policies_app.models import KillSwitch, Tenant
from policies_app.routing.codes import DispatchStatus, KillScope
from tests.dispatch_app.ledger.books import (
    Books,
    a_dispatch,
    a_settlement,
    an_attempt,
    an_outcome,
    make_budget,
)

SEALING_KEY = bytes(32)
ADMITTED = BeginVerdict(verdict=Verdict.ADMITTED)
REPEATED = BeginVerdict(verdict=Verdict.REPEATED)


def a_key(number: int = 1, *, body: int = 1, endpoint: str = "/v1/dispatch") -> IdempotencyKey:
    return IdempotencyKey(endpoint=endpoint, key_hmac=f"{number:064x}", body_sha256=f"{body:064x}")


def a_claim(key: IdempotencyKey | None = None, **changes: Any) -> Claim:
    values = {"tenant_id": 1, "api_key_id": 1, "key": key or a_key(), "wait_s": 0.0, "replays": False}
    return Claim(**(values | changes))


async def begin(
    ledger: PostgresLedger, dispatch: DispatchRecord, *, key: IdempotencyKey | None = None, **fields: Any
) -> BeginVerdict:
    budgets = fields.pop("budgets", ())
    attempt = fields.pop("attempt", None) or an_attempt(**fields)
    return await ledger.begin(dispatch=dispatch, attempt=attempt, budgets=budgets, key=key or a_key())


@pytest_asyncio.fixture
async def key_book(conninfo: str) -> AsyncIterator[PostgresKeyBook]:
    book = PostgresKeyBook(conninfo=conninfo, sealing_key=SEALING_KEY, patience_s=5.0)
    await book.start()
    yield book
    await book.stop()


async def found(key_book: PostgresKeyBook, claim: Claim | None = None) -> Earlier:
    earlier = await key_book.find(claim or a_claim())
    assert earlier is not None
    return earlier


async def test_of_many_dispatches_with_one_key_over_two_processes_one_is_admitted(
    conninfo: str, books: Books
) -> None:
    ledgers = [
        PostgresLedger(conninfo=conninfo, budget_usage=BudgetUsage(), begin_patience_s=10.0) for _ in range(2)
    ]
    for ledger in ledgers:
        await ledger.start()

    verdicts = await asyncio.gather(
        *(begin(ledgers[number % 2], a_dispatch(), key=a_key(number % 5)) for number in range(100))
    )
    for ledger in ledgers:
        await ledger.stop()

    assert verdicts.count(ADMITTED) == 5
    assert verdicts.count(REPEATED) == 95
    assert len(books.attempts()) == len(books.dispatches()) == 5
    assert all(dispatch["has_idempotency_key"] for dispatch in books.dispatches())


async def test_a_repeat_reserves_nothing_and_leaves_its_neighbours_alone(
    ledger: PostgresLedger, books: Books
) -> None:
    tenant = await sync_to_async(Tenant.objects.create)(name="acme")
    cap = await sync_to_async(make_budget)(tenant=tenant, limit_nanos=2_000)
    await begin(ledger, a_dispatch(), budgets=(cap,))

    repeated, other, without = await asyncio.gather(
        begin(ledger, a_dispatch(), budgets=(cap,)),
        begin(ledger, a_dispatch(), key=a_key(2), budgets=(cap,)),
        ledger.begin(dispatch=a_dispatch(), attempt=an_attempt(reserved_nanos=0), budgets=(cap,)),
    )

    assert (repeated, other, without) == (REPEATED, ADMITTED, ADMITTED)
    assert books.balance(cap) == (0, 2_000, 0)
    assert [dispatch["has_idempotency_key"] for dispatch in books.dispatches()].count(False) == 1
    books.assert_they_agree()


async def test_later_attempts_belong_to_the_dispatch_that_has_the_key(
    ledger: PostgresLedger, books: Books
) -> None:
    dispatch = a_dispatch()

    at_once = await asyncio.gather(
        begin(ledger, dispatch), begin(ledger, dispatch, position=2, is_first=True)
    )
    later = await begin(ledger, dispatch, position=3)

    assert [*at_once, later] == [ADMITTED] * 3
    assert len(books.rows("SELECT FROM idempotency_key")) == 1


@pytest.mark.parametrize(
    "other",
    [
        {"tenant_id": 2},
        {"api_key_id": 2},
        {"key": a_key(endpoint="/v1/chat/completions")},
    ],
    ids=["tenant", "api key", "endpoint"],
)
async def test_a_key_means_nothing_beyond_its_tenant_api_key_and_endpoint(
    ledger: PostgresLedger, key_book: PostgresKeyBook, other: dict[str, Any]
) -> None:
    await begin(ledger, a_dispatch())
    key = other.get("key", a_key())
    ids = {name: value for name, value in other.items() if name != "key"}

    assert await key_book.find(a_claim(key, **ids)) is None
    assert await begin(ledger, a_dispatch(**ids), key=key) == ADMITTED


@pytest.mark.parametrize("reason", ["over_budget", "killed"])
async def test_what_is_refused_leaves_its_key_free(ledger: PostgresLedger, books: Books, reason: str) -> None:
    tenant = await sync_to_async(Tenant.objects.create)(name="acme")
    cap = await sync_to_async(make_budget)(tenant=tenant, limit_nanos=999)
    if reason == "killed":
        await sync_to_async(KillSwitch.objects.create)(
            scope=KillScope.EVERYTHING, reason="drill", author_name="ops"
        )

    refused = await begin(ledger, a_dispatch(), budgets=(cap,))
    assert refused.verdict == reason
    assert books.rows("SELECT FROM idempotency_key") == []

    await sync_to_async(KillSwitch.objects.update)(lifted_at=datetime.now(UTC))
    assert await begin(ledger, a_dispatch(), reserved_nanos=999, budgets=(cap,)) == ADMITTED


async def test_a_later_attempt_that_is_refused_keeps_the_key(ledger: PostgresLedger, books: Books) -> None:
    tenant = await sync_to_async(Tenant.objects.create)(name="acme")
    cap = await sync_to_async(make_budget)(tenant=tenant, limit_nanos=1_000)
    dispatch = a_dispatch()
    await begin(ledger, dispatch, budgets=(cap,))

    refused = await begin(ledger, dispatch, position=2, budgets=(cap,))

    assert refused.verdict is Verdict.OVER_BUDGET
    assert [row["dispatch_id"] for row in books.rows("SELECT * FROM idempotency_key")] == [dispatch.id]


async def test_what_becomes_of_a_dispatch_is_what_becomes_of_its_key(
    ledger: PostgresLedger, key_book: PostgresKeyBook
) -> None:
    assert await key_book.find(a_claim()) is None

    dispatch, attempt = a_dispatch(), an_attempt()
    await begin(ledger, dispatch, attempt=attempt)
    running = await found(key_book)
    assert (running.is_in_flight, running.dispatch_id, running.status) == (True, dispatch.id, "open")
    assert not running.may_run_again

    await ledger.settle(settlement=a_settlement(attempt, cost_nanos=700, outcome=an_outcome()))
    ended = await found(key_book)
    assert (ended.state, ended.status, ended.cost_nanos) == ("done", "succeeded", 700)
    assert not ended.may_run_again
    assert await begin(ledger, a_dispatch()) == REPEATED


async def test_a_dispatch_that_failed_after_it_was_sent_is_done(
    ledger: PostgresLedger, key_book: PostgresKeyBook
) -> None:
    attempt = an_attempt()
    await begin(ledger, a_dispatch(), attempt=attempt)
    failed = an_outcome(status=DispatchStatus.FAILED, error_code="upstream_invalid")
    await ledger.settle(settlement=a_settlement(attempt, cost_nanos=0, outcome=failed))

    assert (await found(key_book)).state == "done"
    assert await begin(ledger, a_dispatch()) == REPEATED


async def test_what_was_never_sent_may_run_again_and_cannot_go_on(
    ledger: PostgresLedger, key_book: PostgresKeyBook, books: Books
) -> None:
    first, attempt, second = a_dispatch(), an_attempt(), a_dispatch()
    await begin(ledger, first, attempt=attempt)
    await ledger.settle(settlement=void_of(attempt))
    assert (await found(key_book)).may_run_again
    assert not (await found(key_book, a_claim(a_key(body=2)))).may_run_again

    assert await begin(ledger, second, key=a_key(body=2)) == REPEATED
    assert await begin(ledger, second) == ADMITTED
    assert await begin(ledger, first, position=2) == REPEATED
    assert (await found(key_book)).dispatch_id == second.id
    assert [row["dispatch_id"] for row in books.attempts()] == [first.id, second.id]


async def test_what_expired_is_unknown_and_never_run_again(
    ledger: PostgresLedger, key_book: PostgresKeyBook
) -> None:
    attempt = an_attempt()
    await begin(ledger, a_dispatch(), attempt=attempt)
    await sync_to_async(expire_attempts)(now=datetime.now(UTC) + timedelta(minutes=5))

    earlier = await found(key_book)
    assert (earlier.is_unknown, earlier.cost_nanos) == (True, attempt.reserved_nanos)
    assert await begin(ledger, a_dispatch()) == REPEATED

    await ledger.settle(settlement=a_settlement(attempt, cost_nanos=700, outcome=an_outcome()))
    late = await found(key_book)
    assert (late.state, late.cost_nanos) == ("done", 700)


async def test_a_batch_that_is_sent_twice_keeps_its_key(ledger: PostgresLedger, books: Books) -> None:
    dispatch, attempt = a_dispatch(), an_attempt()
    await begin(ledger, dispatch, attempt=attempt)
    _, parameters = begin_parameters(
        [BeginItem(dispatch=dispatch, attempt=attempt, budgets=(), key=a_key())], in_doubt=True
    )

    (answer,) = books.rows(f"{BEGIN_SQL} AS begun", *parameters)

    assert decode_begin(answer["begun"]).verdicts == [("known", None)]
    assert len(books.rows("SELECT FROM idempotency_key")) == 1


async def test_an_answer_is_kept_sealed_for_who_may_have_it(
    ledger: PostgresLedger, key_book: PostgresKeyBook, books: Books
) -> None:
    dispatch, attempt = a_dispatch(), an_attempt()
    await begin(ledger, dispatch, attempt=attempt)
    await ledger.settle(settlement=a_settlement(attempt, cost_nanos=700, outcome=an_outcome()))
    answer = KeptAnswer(status=200, body=b'{"secret": "caf\xc3\xa9"}')

    await key_book.keep(a_claim(), dispatch_id=dispatch.id, answer=answer)

    assert (await found(key_book, a_claim(replays=True))).answer == answer
    assert (await found(key_book)).answer is None
    (row,) = books.rows("SELECT sealed_answer FROM idempotency_key")
    assert b"secret" not in row["sealed_answer"]
    books.rows("UPDATE idempotency_key SET sealed_answer = %s RETURNING 1", b"\x01" + bytes(40))
    assert (await found(key_book, a_claim(replays=True))).answer is None


async def test_an_answer_that_is_about_to_be_kept_is_waited_for_a_moment(
    ledger: PostgresLedger, key_book: PostgresKeyBook, books: Books
) -> None:
    attempt = an_attempt()
    await begin(ledger, a_dispatch(), attempt=attempt)
    # On any machine it ended less than two seconds ago.
    just_now = an_outcome(finished_at=datetime.now(UTC) + timedelta(minutes=1))
    await ledger.settle(settlement=a_settlement(attempt, cost_nanos=700, outcome=just_now))

    assert (await found(key_book, a_claim(replays=True))).is_in_flight
    assert (await found(key_book)).state == "done"
    books.rows("UPDATE dispatch SET finished_at = now() - interval '3 seconds' RETURNING 1")
    assert (await found(key_book, a_claim(replays=True))).state == "done"


async def test_an_answer_of_another_dispatch_or_of_great_length_is_not_kept(
    ledger: PostgresLedger, key_book: PostgresKeyBook
) -> None:
    dispatch = a_dispatch()
    await begin(ledger, dispatch)

    short = KeptAnswer(status=200, body=b"{}")
    await key_book.keep(a_claim(), dispatch_id=a_dispatch().id, answer=short)
    long = KeptAnswer(status=200, body=b" " * (MOST_KEPT_BYTES + 1))
    await key_book.keep(a_claim(), dispatch_id=dispatch.id, answer=long)

    assert (await found(key_book, a_claim(replays=True))).answer is None


async def test_a_day_later_a_key_is_free_again_and_its_row_goes(
    ledger: PostgresLedger, key_book: PostgresKeyBook, books: Books
) -> None:
    for number in range(3):
        await begin(ledger, a_dispatch(), key=a_key(number))
    books.rows("UPDATE idempotency_key SET created_at = now() - interval '24 hours 1 second' RETURNING 1")

    assert await key_book.find(a_claim(a_key(0))) is None
    assert await begin(ledger, a_dispatch(), key=a_key(0, body=2)) == ADMITTED
    assert await begin(ledger, a_dispatch(), key=a_key(0, body=2)) == REPEATED
    assert await sync_to_async(forget_keys)() == 2
    assert len(books.rows("SELECT FROM idempotency_key")) == 1


async def test_a_database_that_is_away_is_said_so_and_takes_no_connection_before_the_first_key(
    conninfo: str, books: Books
) -> None:
    idle = PostgresKeyBook(conninfo=conninfo, sealing_key=SEALING_KEY, patience_s=0.5)
    away = PostgresKeyBook(conninfo="host=127.0.0.1 port=1", sealing_key=SEALING_KEY, patience_s=0.5)
    await idle.start()
    await away.start()

    with pytest.raises(LedgerUnavailableError):
        await away.find(a_claim())
    await away.keep(a_claim(), dispatch_id=a_dispatch().id, answer=KeptAnswer(status=200, body=b"{}"))

    lanes = "SELECT FROM pg_stat_activity WHERE application_name = 'signalbox-keys'"
    assert books.rows(lanes + " AND datname = current_database()") == []
    await idle.stop()
    await away.stop()
