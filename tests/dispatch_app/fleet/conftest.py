import psycopg
import pytest
from django.db import connection


@pytest.fixture
def conninfo(transactional_db: None) -> str:
    """Where the test database is, for connections of its own."""
    parameters = connection.get_connection_params()
    names = {"dbname", "user", "password", "host", "port"}
    return psycopg.conninfo.make_conninfo(**{name: parameters[name] for name in names & set(parameters)})
