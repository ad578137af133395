from collections.abc import Iterator

import pytest
from django.db import connection

TABLES = "dispatch, attempt, budget_balance, rollup_delta, rollup_hour, rollup_day, rollup_month, rollup_latency, rollup_dirty"


@pytest.fixture
def figures(transactional_db: None) -> Iterator[None]:
    """The rollups' own transactions on a database whose log and figures are emptied afterwards."""
    yield
    with connection.cursor() as cursor:
        cursor.execute(f"TRUNCATE {TABLES}")
