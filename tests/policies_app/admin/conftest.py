from collections.abc import Callable

import pytest
from django.contrib.auth.models import User
from django.test import Client

from tests.factories import Fleet, make_fleet
from tests.personas import make_admin, make_finance, make_ops


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def ops(db: None) -> Client:
    return signed_in(make_ops())


@pytest.fixture
def finance(db: None) -> Client:
    return signed_in(make_finance())


@pytest.fixture
def admin(db: None) -> Client:
    return signed_in(make_admin())


@pytest.fixture
def fleet(db: None) -> Fleet:
    return make_fleet()


@pytest.fixture
def errors_of() -> Callable[..., dict[str, list[str]]]:
    """What the form of an answer says is wrong, by field."""

    def read(response) -> dict[str, list[str]]:
        assert response.status_code == 200, "the form was accepted"
        return {
            field: list(messages) for field, messages in response.context["adminform"].form.errors.items()
        }

    return read
