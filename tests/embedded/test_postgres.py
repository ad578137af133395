import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import environ
import psycopg
import pytest
from django.db.backends.postgresql.base import DatabaseWrapper

from routerproject.embedded import postgres
from routerproject.embedded.errors import NotStartedError
from routerproject.embedded.postgres import start_postgres
from routerproject.embedded.supervisor import Supervisor
from tests.services import ROOT

STARTS_AND_IS_KILLED = """
import os, sys
from pathlib import Path
from routerproject.embedded.postgres import start_postgres
from routerproject.embedded.supervisor import Supervisor
address = start_postgres(Supervisor(environment=os.environ, working_directory=Path.cwd()), Path(sys.argv[1]))
print(address, flush=True)
sys.stdin.read()
"""


def postmaster(folder: Path) -> int:
    return int((folder / "postmaster.pid").read_text().split()[0])


def test_what_was_committed_survives_a_kill_of_the_server(supervisor: Supervisor, state_dir: Path) -> None:
    address = start_postgres(supervisor, state_dir / "postgres")
    with psycopg.connect(address) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    os.kill(postmaster(state_dir / "postgres"), signal.SIGKILL)
    supervisor.wait()
    supervisor.stop()

    address = start_postgres(supervisor, state_dir / "postgres")

    with psycopg.connect(address) as connection:
        assert connection.execute("SELECT answer FROM kept").fetchall() == [(42,)]


def test_the_server_of_a_killed_run_ends_by_itself(state_dir: Path) -> None:
    folder = state_dir / "postgres"
    with subprocess.Popen(
        [sys.executable, "-c", STARTS_AND_IS_KILLED, str(folder)],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as run:  # fmt: skip
        assert run.stdout is not None
        assert run.stdout.readline().startswith("postgres://")
        assert list(postgres._processes_in(folder))
        run.kill()

    deadline = time.monotonic() + 30
    while list(postgres._processes_in(folder)):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_server_that_was_left_running_gives_way(supervisor: Supervisor, state_dir: Path) -> None:
    address = start_postgres(supervisor, state_dir / "postgres")
    left_running = postmaster(state_dir / "postgres")
    successor = Supervisor(environment=os.environ, working_directory=ROOT)

    try:
        assert start_postgres(successor, state_dir / "postgres") == address
        with psycopg.connect(address):
            assert postmaster(state_dir / "postgres") != left_running
    finally:
        successor.stop()


def test_a_lock_file_that_names_another_living_process_is_no_obstacle(
    supervisor: Supervisor, state_dir: Path
) -> None:
    folder = state_dir / "postgres"
    start_postgres(supervisor, folder)
    supervisor.stop()
    (folder / "postmaster.pid").write_text(f"{os.getpid()}\n{folder}\n0\n5432\n{folder}\n\n0 0\nready\n")

    with psycopg.connect(start_postgres(supervisor, folder)) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_a_server_that_was_killed_and_is_not_reaped_yet_is_no_obstacle(
    supervisor: Supervisor, state_dir: Path
) -> None:
    folder = state_dir / "postgres"
    start_postgres(supervisor, folder)
    killed = postmaster(folder)
    for process in list(postgres._processes_in(folder)):
        with contextlib.suppress(ProcessLookupError):  # The others end with the first of them.
            os.kill(process, signal.SIGKILL)
    while "State:\tZ" not in Path(f"/proc/{killed}/status").read_text():
        time.sleep(0.01)
    successor = Supervisor(environment=os.environ, working_directory=ROOT)

    try:
        with psycopg.connect(start_postgres(successor, folder)) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
    finally:
        successor.stop()


def test_an_interrupted_creation_is_begun_again(supervisor: Supervisor, state_dir: Path) -> None:
    half_made = state_dir / "postgres.new"
    half_made.mkdir()
    (half_made / "PG_VERSION").write_text("18\n")

    with psycopg.connect(start_postgres(supervisor, state_dir / "postgres")):
        assert not half_made.exists()


def test_a_server_that_cannot_start_says_where_its_log_is(supervisor: Supervisor, state_dir: Path) -> None:
    start_postgres(supervisor, state_dir / "postgres")
    supervisor.stop()
    (state_dir / "postgres" / "global" / "pg_control").unlink()

    with pytest.raises(
        NotStartedError, match=r"^postgres ended with .* at the start\. See .*postgres\.log\.$"
    ):
        start_postgres(supervisor, state_dir / "postgres")


def test_commits_are_durable_and_nobody_connects_over_the_network(db: None) -> None:
    if os.environ["DATABASE_URL"].find("?host=") < 0:
        pytest.skip("DATABASE_URL names a server of one's own")

    with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
        shown = {
            name: connection.execute("SELECT current_setting(%s)", (name,)).fetchone()
            for name in ("fsync", "synchronous_commit", "full_page_writes", "listen_addresses")
        }

    assert shown == {
        "fsync": ("on",),
        "synchronous_commit": ("on",),
        "full_page_writes": ("on",),
        "listen_addresses": ("",),
    }


def test_django_and_psycopg_read_the_address_alike(supervisor: Supervisor, state_dir: Path) -> None:
    address = start_postgres(supervisor, state_dir / "postgres")

    parameters = DatabaseWrapper(
        environ.Env.db_url_config(address) | {"TIME_ZONE": None}
    ).get_connection_params()

    with psycopg.connect(address) as direct:
        assert (parameters["dbname"], parameters["user"], parameters["host"]) == (
            direct.info.dbname,
            direct.info.user,
            direct.info.host,
        )
