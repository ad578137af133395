from collections.abc import AsyncIterator, Iterator

import psycopg
import pytest
import pytest_asyncio
from asgiref.sync import sync_to_async
from django.db import connection, connections

from dispatch_app.ledger.ledger import PostgresLedger
from dispatch_app.snapshot.budget_usage import BudgetUsage
from tests.dispatch_app.ledger.books import Books


@pytest_asyncio.fixture(autouse=True)
async def close_connections_of_threads() -> AsyncIterator[None]:
    """Async tests use the ORM in a thread, whose connection would outlive the test database."""
    yield
    await sync_to_async(connections.close_all)()


@pytest.fixture
def conninfo(transactional_db: None) -> str:
    """Where the test database is, for connections of its own."""
    parameters = connection.get_connection_params()
    names = {"dbname", "user", "password", "host", "port"}
    return psycopg.conninfo.make_conninfo(**{name: parameters[name] for name in names & set(parameters)})


@pytest.fixture
def books(conninfo: str) -> Iterator[Books]:
    with psycopg.connect(conninfo, autocommit=True) as books_connection:
        yield Books(connection=books_connection)


@pytest_asyncio.fixture
async def ledger(conninfo: str) -> AsyncIterator[PostgresLedger]:
    ledger = PostgresLedger(conninfo=conninfo, budget_usage=BudgetUsage(), begin_patience_s=10.0)
    await ledger.start()
    yield ledger
    await ledger.stop()
