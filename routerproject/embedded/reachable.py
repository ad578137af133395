"""Whether the servers that the environment names answer, said in one line when they do not."""

import psycopg
from kombu import Connection
from kombu.exceptions import OperationalError

from routerproject.embedded.errors import NotStartedError

OLDEST_POSTGRES = 15
PATIENCE_S = 5
POSTGRES_SCHEMES = {"postgres", "postgresql", "psql", "pgsql"}


def check_database(url: str) -> None:
    """Connect to the database of `DATABASE_URL`.

    :raises NotStartedError: if that is not a PostgreSQL of 15 or newer that answers.
    """
    scheme, _, rest = url.partition("://")
    if scheme not in POSTGRES_SCHEMES:
        raise NotStartedError("DATABASE_URL must begin with postgres://: PostgreSQL is the only database.")
    try:
        with psycopg.connect(f"postgresql://{rest}", connect_timeout=PATIENCE_S) as connection:
            version = connection.info.server_version // 10_000
    except psycopg.Error as error:
        reason = str(error).strip().splitlines()[0]
        raise NotStartedError(f"The database of DATABASE_URL does not answer: {reason}") from error
    if version < OLDEST_POSTGRES:
        raise NotStartedError(f"The database of DATABASE_URL is PostgreSQL {version}; 15 or newer is needed.")


def check_broker(url: str) -> None:
    """Connect to the broker of `CELERY_BROKER_URL`.

    :raises NotStartedError: if it does not answer.
    """
    try:
        with Connection(url, connect_timeout=PATIENCE_S) as connection:
            connection.ensure_connection(max_retries=1, timeout=PATIENCE_S, reraise_as_library_errors=True)
    except (OperationalError, KeyError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise NotStartedError(f"The broker of CELERY_BROKER_URL does not answer: {reason}") from error
