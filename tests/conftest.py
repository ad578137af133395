import os

import pytest
from django.conf import settings

pytest_plugins = ["tests.running_servers"]


@pytest.fixture(scope="session")
def django_db_modify_db_settings() -> None:
    """Give each run of the suite a database of its own, so that several may run against one server."""
    settings.DATABASES["default"].setdefault("TEST", {})["NAME"] = f"test_signalbox_{os.getpid()}"


@pytest.fixture(scope="session", autouse=True)
def _static_files_are_found_when_asked_for() -> None:
    """Spare every test client the scan of all static files that a server makes once at its start."""
    settings.WHITENOISE_AUTOREFRESH = True
