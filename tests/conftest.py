import os
from collections.abc import Iterator

import pytest
from django.conf import settings
from django.test import TransactionTestCase
from pytest_django import DjangoDbBlocker

from tests.emptying import Emptying

pytest_plugins = ["tests.running_servers", "tests.shared_gateway", "tests.order"]


@pytest.fixture(scope="session")
def django_db_modify_db_settings() -> None:
    """Give each run of the suite a database of its own, so that several may run against one server."""
    settings.DATABASES["default"].setdefault("TEST", {})["NAME"] = f"test_signalbox_{os.getpid()}"


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[Emptying]:
    """Tests that commit leave nothing behind, in Django's tables or in the ledger's."""
    with django_db_blocker.unblock():
        emptying = Emptying.remember()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TransactionTestCase, "_fixture_teardown", lambda _test_case: emptying.restore())
        yield emptying


@pytest.fixture(scope="session", autouse=True)
def _static_files_are_found_when_asked_for() -> None:
    """Spare every test client the scan of all static files that a server makes once at its start."""
    settings.WHITENOISE_AUTOREFRESH = True


@pytest.fixture(scope="session", autouse=True)
def _passwords_are_cheap_to_check() -> None:
    """Half a second of hashing keeps guessers away, and there are none here."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
