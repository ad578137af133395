from collections.abc import AsyncIterator

import psycopg
import pytest
import pytest_asyncio
from asgiref.sync import sync_to_async
from django.db import connection, connections


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
