import os

import pytest
from django.conf import settings

pytest_plugins = ["tests.running_servers"]


@pytest.fixture(scope="session")
def django_db_modify_db_settings() -> None:
    """Give each run of the suite a database of its own, so that several may run against one server."""
    settings.DATABASES["default"].setdefault("TEST", {})["NAME"] = f"test_signalbox_{os.getpid()}"
