"""Health is of all processes that serve, and one of the session's own may be serving the test database meanwhile.

So these tests get tables of their own: temporary ones for the ORM, and ones in a schema of their own where there are several
connections.
"""

from collections.abc import AsyncIterator, Iterator

import psycopg
import pytest
import pytest_asyncio
from asgiref.sync import sync_to_async
from django.db import connection, connections

TABLES = ("metric_count", "process_load", "target_health")


@pytest_asyncio.fixture
async def close_connections_of_threads() -> AsyncIterator[None]:
    """Async tests use the ORM in a thread, whose connection would outlive the test database."""
    yield
    await sync_to_async(connections.close_all)()


@pytest.fixture
def own_tables(db: None) -> None:
    """What the ORM reads and writes in this test is nobody else's."""
    with connection.cursor() as cursor:
        for table in TABLES:
            cursor.execute(
                f"CREATE TEMPORARY TABLE {table} (LIKE public.{table} INCLUDING ALL) ON COMMIT DROP"
            )


@pytest.fixture
def conninfo(transactional_db: None, close_connections_of_threads: None) -> Iterator[str]:
    """The test database, for connections of one's own that see tables of the test's own."""
    parameters = connection.get_connection_params()
    names = {"dbname", "user", "password", "host", "port"} & set(parameters)
    with connection.cursor() as cursor:
        cursor.execute("CREATE SCHEMA health_of_test")
        for table in TABLES:
            cursor.execute(f"CREATE TABLE health_of_test.{table} (LIKE public.{table} INCLUDING ALL)")
        yield psycopg.conninfo.make_conninfo(
            **{name: parameters[name] for name in names}, options="-c search_path=health_of_test,public"
        )
        cursor.execute("DROP SCHEMA health_of_test CASCADE")
