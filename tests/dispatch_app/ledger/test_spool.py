"""What could not be settled in time is on disk, and is settled whoever dies."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import psycopg
import pytest

from dispatch_app.execution.ports import AttemptRecord, BudgetKey
from dispatch_app.ledger.ledger import PostgresLedger
from dispatch_app.ledger.spool import SpoolFile
from dispatch_app.snapshot.budget_usage import BudgetUsage
from policies_app.models import Tenant
from tests.dispatch_app.ledger.books import (
    Books,
    a_dispatch,
    a_settlement,
    an_attempt,
    an_outcome,
    make_budget,
)

ROOT = Path(__file__).resolve().parents[3]
NO_DATABASE = "host=127.0.0.1 port=1"
SETTLE_AND_HANG = """
import asyncio, sys
from pathlib import Path
import msgspec
from dispatch_app.execution.ports import Settlement
from dispatch_app.ledger import ledger
from dispatch_app.snapshot.budget_usage import BudgetUsage

async def main():
    ledger.SETTLE_PATIENCE_S = 0.2
    mine = ledger.PostgresLedger(conninfo=sys.argv[1], budget_usage=BudgetUsage(), spool=Path(sys.argv[2]))
    await mine.start()
    settlement = msgspec.json.decode(sys.argv[3], type=Settlement)
    print(await mine.settle(settlement=settlement), flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


@pytest.fixture
def cap(transactional_db: None) -> BudgetKey:
    return make_budget(tenant=Tenant.objects.create(name="acme"), limit_nanos=5_000)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state" / "spool"


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dispatch_app.ledger.ledger.SETTLE_PATIENCE_S", 0.3)
    monkeypatch.setattr("dispatch_app.ledger.ledger.SETTLE_DRAIN_S", 0.2)
    monkeypatch.setattr("dispatch_app.ledger.ledger.REPLAY_EVERY_S", 0.1)


async def test_while_the_database_does_not_answer_a_settlement_is_on_disk_and_afterwards_it_is_not(
    conninfo: str, books: Books, cap: BudgetKey, folder: Path
) -> None:
    ledger = PostgresLedger(conninfo=conninfo, budget_usage=BudgetUsage(), spool=folder)
    await ledger.start()
    attempt = await _begin(ledger, cap)

    async with await psycopg.AsyncConnection.connect(conninfo) as other:
        await other.execute("LOCK TABLE attempt")
        settlement = a_settlement(attempt, cost_nanos=700, outcome=an_outcome())
        assert await ledger.settle(settlement=settlement) is False
        assert len(_spooled(folder)) == 1
        await other.rollback()

    await _until_empty(folder)
    assert books.balance(cap) == (700, 0, 0)
    books.assert_they_agree()
    await ledger.stop()


async def test_what_a_killed_process_could_not_settle_is_settled_by_another(
    ledger: PostgresLedger, conninfo: str, books: Books, cap: BudgetKey, folder: Path
) -> None:
    attempt = await _begin(ledger, cap)
    settlement = a_settlement(attempt, cost_nanos=700, outcome=an_outcome())
    arguments = [NO_DATABASE, str(folder), msgspec.json.encode(settlement).decode()]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SETTLE_AND_HANG, *arguments, cwd=ROOT, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert (await process.stdout.readline()).strip() == b"False"
    await ledger.replay(folder)
    assert len(_spooled(folder)) == 1, "The living keep their own."
    process.kill()
    await process.wait()

    another = PostgresLedger(conninfo=conninfo, budget_usage=BudgetUsage(), spool=folder)
    await another.start()
    await _until_empty(folder)
    await another.stop()

    assert books.balance(cap) == (700, 0, 0)
    assert books.dispatches()[0]["status"] == "succeeded"
    books.assert_they_agree()


async def test_what_is_not_settled_by_the_end_of_a_process_is_left_to_others(
    ledger: PostgresLedger, books: Books, cap: BudgetKey, folder: Path
) -> None:
    attempts = [await _begin(ledger, cap) for _ in range(3)]
    leaving = PostgresLedger(conninfo=NO_DATABASE, budget_usage=BudgetUsage(), spool=folder)
    await leaving.start()
    settled = [
        asyncio.create_task(
            leaving.settle(settlement=a_settlement(attempt, cost_nanos=100, outcome=an_outcome()))
        )
        for attempt in attempts[:2]
    ]
    await asyncio.sleep(0)
    await leaving.finish(dispatch=a_dispatch(), outcome=an_outcome())
    await leaving.stop()
    too_late = a_settlement(attempts[2], cost_nanos=100, outcome=an_outcome())
    assert await leaving.settle(settlement=too_late) is False
    await leaving.stop()
    assert await asyncio.gather(*settled) == [False, False]

    await ledger.replay(folder)

    assert _spooled(folder) == []
    assert books.balance(cap) == (300, 0, 0)
    assert len(books.dispatches()) == 4
    books.assert_they_agree()


async def test_a_spool_stays_as_long_as_the_database_is_away(
    monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    monkeypatch.setattr("dispatch_app.ledger.ledger.REPLAY_PATIENCE_S", 0.2)
    _leave(folder, b'{"settlement":null}', msgspec.json.encode({"settlement": _settlement()}))

    await PostgresLedger(conninfo=NO_DATABASE, budget_usage=BudgetUsage()).replay(folder)

    assert len(_spooled(folder)) == 1


async def test_records_that_nobody_can_read_do_not_hold_up_the_others(
    ledger: PostgresLedger, books: Books, cap: BudgetKey, folder: Path
) -> None:
    settlement = a_settlement(await _begin(ledger, cap), cost_nanos=700, outcome=an_outcome())
    _leave(folder, b'{"settlement": {}}', b"not JSON", msgspec.json.encode({"settlement": settlement}))

    await ledger.replay(folder)

    assert _spooled(folder) == []
    assert books.balance(cap) == (700, 0, 0)


@pytest.mark.parametrize("torn_bytes", [1, 4, 8, 9])
def test_a_torn_tail_ends_the_records_before_it(folder: Path, torn_bytes: int) -> None:
    _leave(folder, b"first", b"second")
    (path,) = _spooled(folder)
    os.truncate(path, path.stat().st_size - torn_bytes)

    assert [file.read() for file in SpoolFile.left_behind(folder)] == [[b"first"]]


def test_a_record_that_was_damaged_is_not_read(folder: Path) -> None:
    _leave(folder, b"first", b"second")
    (path,) = _spooled(folder)
    path.write_bytes(path.read_bytes()[:-1] + b"D")

    assert [file.read() for file in SpoolFile.left_behind(folder)] == [[b"first"]]


def test_a_file_has_one_owner_at_a_time(folder: Path) -> None:
    _leave(folder, b"first")
    for _ in SpoolFile.left_behind(folder):
        assert list(SpoolFile.left_behind(folder)) == []
    assert len(list(SpoolFile.left_behind(folder))) == 1


async def _begin(ledger: PostgresLedger, cap: BudgetKey) -> AttemptRecord:
    attempt = an_attempt()
    await ledger.begin(dispatch=a_dispatch(), attempt=attempt, budgets=(cap,))
    return attempt


def _settlement() -> object:
    return a_settlement(an_attempt(), cost_nanos=1, outcome=None)


def _leave(folder: Path, *records: bytes) -> None:
    file = SpoolFile.create(folder)
    file.append(records)
    file.close()


def _spooled(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


async def _until_empty(folder: Path) -> None:
    async with asyncio.timeout(20):
        while _spooled(folder):  # noqa: ASYNC110 - a thread removes it
            await asyncio.sleep(0.02)
