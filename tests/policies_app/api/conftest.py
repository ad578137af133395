import pytest
from rest_framework.test import APIClient

from tests.factories import Fleet, make_fleet
from tests.personas import api_client, make_finance, make_ops


@pytest.fixture
def ops(db: None) -> APIClient:
    return api_client(make_ops())


@pytest.fixture
def finance(db: None) -> APIClient:
    return api_client(make_finance())


@pytest.fixture
def fleet(db: None) -> Fleet:
    return make_fleet()
