"""Starts PostgreSQL and Redis for a run of the suite, unless `DATABASE_URL` and `CELERY_BROKER_URL` name others.

Loaded by `-p` before every other plugin, because the settings, and so pytest-django, need a database's address.
"""

import os
from contextlib import ExitStack
from pathlib import Path

import pytest

from routerproject.embedded.errors import NotStartedError
from routerproject.embedded.services import temporary_services

ROOT = Path(__file__).resolve().parents[1]


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    services = ExitStack()
    early_config.add_cleanup(services.close)
    try:
        services.enter_context(temporary_services(ROOT / "var" / "test", os.environ))
    except NotStartedError as error:
        raise pytest.UsageError(str(error)) from error
