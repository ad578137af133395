"""Where the database is, for what opens connections of its own."""

import psycopg
from django.db import connection


def database_conninfo() -> str:
    """The address of Django's database, as psycopg takes it."""
    parameters = connection.get_connection_params()
    return psycopg.conninfo.make_conninfo(
        **{name: str(value) for name, value in parameters.items() if isinstance(value, str | int)}
    )
