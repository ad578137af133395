from collections.abc import Iterator

import pytest
from django.contrib.auth.models import Group, User
from django.db import connection
from django.test import Client

from policies_app.roles import FINANCE

UNMANAGED = "dispatch, attempt, budget_balance, rollup_delta, rollup_hour, rollup_day, rollup_month, rollup_latency, rollup_dirty"


@pytest.fixture
def finance_user(db: None) -> User:
    user = User.objects.create_user("fiona")
    user.groups.add(Group.objects.get(name=FINANCE))
    return user


@pytest.fixture
def finance(client: Client, finance_user: User) -> Client:
    """A browser in which finance is signed in."""
    client.force_login(finance_user)
    return client


@pytest.fixture
def emptied_log(transactional_db: None) -> Iterator[None]:
    """Empty the tables that Django's flush does not know of."""
    yield
    with connection.cursor() as cursor:
        cursor.execute(f"TRUNCATE {UNMANAGED}")
