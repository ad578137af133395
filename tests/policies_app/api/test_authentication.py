import pytest
from django.test import Client

from tests.personas import api_client, make_ops, make_stranger

pytestmark = pytest.mark.django_db


def test_a_call_without_a_token_is_refused():
    assert api_client().get("/api/v1/models/").status_code == 401


def test_a_token_that_nobody_was_given_is_refused():
    client = api_client()
    client.credentials(HTTP_AUTHORIZATION="Bearer " + "0" * 64)

    assert client.get("/api/v1/models/").status_code == 401


def test_a_browser_session_authenticates_no_call():
    browser = Client()
    browser.force_login(make_ops())

    assert browser.get("/api/v1/models/").status_code == 401


def test_an_account_that_is_no_staff_may_not_read():
    assert api_client(make_stranger()).get("/api/v1/models/").status_code == 403


def test_an_account_without_permissions_may_not_read():
    user = make_ops()
    user.groups.clear()

    assert api_client(user).get("/api/v1/models/").status_code == 403


def test_an_account_that_was_switched_off_is_refused():
    user = make_ops()
    client = api_client(user)
    user.is_active = False
    user.save()

    assert client.get("/api/v1/models/").status_code == 401
