"""Starts PostgreSQL and Redis for a run of the suite, unless `DATABASE_URL` and `CELERY_BROKER_URL` name others.

Loaded by `-p` before every other plugin, because the settings, and so pytest-django, need a database's address. Each worker of
pytest-xdist starts its own: tests of two workers would find each other's tasks in one broker.
"""

import os
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from routerproject.embedded.errors import NotStartedError
from routerproject.embedded.services import temporary_services

ROOT = Path(__file__).resolve().parents[1]
ADDRESSES = ("DATABASE_URL", "CELERY_BROKER_URL")
OURS = "SIGNALBOX_TESTS_OWN"
"""Names, for workers, the addresses that are those of the services of the run that started them."""


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    _compile_once()
    if "PYTEST_XDIST_WORKER" in os.environ:
        for name in os.environ.get(OURS, "").split():
            del os.environ[name]
    os.environ[OURS] = " ".join(name for name in ADDRESSES if not os.environ.get(name))
    services = ExitStack()
    early_config.add_cleanup(services.close)
    try:
        services.enter_context(temporary_services(ROOT / "var" / "test", os.environ))
    except NotStartedError as error:
        raise pytest.UsageError(str(error)) from error


def _compile_once() -> None:
    """Let modules keep their bytecode, though the environment says otherwise: the suite starts hundreds of processes."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False
