"""`python -m routerproject.embedded.run STATE_DIR COMMAND …`: runs a command with PostgreSQL and Redis at hand.

Starts the embedded services in the state folder, unless `DATABASE_URL` and `CELERY_BROKER_URL` name others, and stops them with
the last command that uses that folder. Answers the command's exit code.
"""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from routerproject.embedded.postgres import PostgresNotStartedError, database_url, start_postgres
from routerproject.embedded.redis import broker_url, redis_command, wait_for_redis
from routerproject.embedded.state import FolderInUseError, FolderLock, ensure_secrets


def main(arguments: Sequence[str]) -> int:
    """Run the command and answer its exit code; 1 with a line on standard error when the services do not start."""
    state_dir = Path(arguments[0]).resolve()
    state_dir.mkdir(parents=True, exist_ok=True)
    environment = os.environ | {"SIGNALBOX_STATE_DIR": str(state_dir)}
    try:
        with embedded_postgres(state_dir, environment), embedded_redis(environment):
            return _run(arguments[1:], environment)
    except PostgresNotStartedError as error:
        sys.stderr.write(f"{error}\n")
        return 1


@contextmanager
def embedded_postgres(state_dir: Path, environment: dict[str, str]) -> Iterator[None]:
    """PostgreSQL for as long as anybody uses `state_dir`; its address goes into `environment` unless one is there."""
    lock = FolderLock(state_dir / "services.lock")
    lock.take(wait=True)
    ensure_secrets(state_dir)
    if environment.get("DATABASE_URL"):
        lock.release()
        yield
        return
    server = start_postgres(state_dir / "postgres")
    environment["DATABASE_URL"] = database_url(server)
    lock.share()
    try:
        yield
    finally:
        try:
            lock.take()
            server.stop()
        except FolderInUseError:
            pass  # Another command still uses it, and will stop it.
        lock.release()


@contextmanager
def embedded_redis(environment: dict[str, str]) -> Iterator[None]:
    """A Redis of this command's own; its address goes into `environment` unless one is there."""
    if environment.get("CELERY_BROKER_URL"):
        yield
        return
    with tempfile.TemporaryDirectory(prefix="signalbox-") as name:
        folder = Path(name)
        listen_on = folder / "redis.sock"
        process = subprocess.Popen(redis_command(folder, listen_on), stdout=subprocess.DEVNULL)  # noqa: S603
        try:
            wait_for_redis(listen_on)
            environment["CELERY_BROKER_URL"] = broker_url(listen_on)
            yield
        finally:
            process.terminate()
            process.wait()


def _run(command: Sequence[str], environment: dict[str, str]) -> int:
    process = subprocess.Popen(command, env=environment)  # noqa: S603
    # The command shares the terminal and gets its own Ctrl-C; a SIGTERM is passed on.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    return process.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
