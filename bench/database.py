"""A database of the bench's own on the server that the settings name, empty at the start and dropped at the end."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from urllib.parse import urlsplit

from django.conf import settings
from django.core.management import call_command
from django.db import connection


@contextlib.contextmanager
def empty_database(name: str = "signalbox_bench") -> Iterator[None]:
    """Create and migrate `name`; this process and its children use it until the end."""
    address = os.environ["DATABASE_URL"]
    _recreate(name)
    served_by = connection.settings_dict["NAME"]
    _use(name, urlsplit(address)._replace(path=f"/{name}").geturl())
    try:
        call_command("migrate", verbosity=0)
        yield
    finally:
        _use(served_by, address)
        _drop(name)


def postgres_pid() -> int:
    """The postmaster, whose children do the work."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_read_file('postmaster.pid')")
        return int(cursor.fetchone()[0].splitlines()[0])


def logged_dispatches(ids: Sequence[str]) -> int:
    """How many of `ids` have a row that ended, with every attempt of it settled."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM dispatch WHERE id = ANY (%s::uuid[]) AND status = 'succeeded'"
            " AND NOT EXISTS (SELECT FROM attempt WHERE attempt.dispatch_id = dispatch.id AND attempt.state = 'open')",
            [list(ids)],
        )
        return int(cursor.fetchone()[0])


def _use(name: str, address: str) -> None:
    connection.close()
    settings.DATABASES["default"]["NAME"] = name
    connection.settings_dict["NAME"] = name
    os.environ["DATABASE_URL"] = address


def _recreate(name: str) -> None:
    _drop(name)
    with connection.cursor() as cursor:
        cursor.execute(f'CREATE DATABASE "{name}"')


def _drop(name: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
