from collections.abc import AsyncIterator, Awaitable, Callable

import psycopg
import pytest
import pytest_asyncio
from django.db import connection

from dispatch_app.limits.shared import SharedLimits

Process = Callable[[], Awaitable[SharedLimits]]


@pytest.fixture
def conninfo(transactional_db: None) -> str:
    """Where the test database is, for connections of its own."""
    parameters = connection.get_connection_params()
    names = {"dbname", "user", "password", "host", "port"}
    return psycopg.conninfo.make_conninfo(**{name: parameters[name] for name in names & set(parameters)})


@pytest_asyncio.fixture
async def process(conninfo: str) -> AsyncIterator[Process]:
    """Makes what each web process has one of."""
    started: list[SharedLimits] = []

    async def start() -> SharedLimits:
        limits = SharedLimits(conninfo=conninfo, patience_s=10.0)
        await limits.start()
        started.append(limits)
        return limits

    yield start
    for limits in started:
        await limits.stop()
