"""PostgreSQL and Redis for those who have none of their own."""

import os
import shutil
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager, suppress
from pathlib import Path

from routerproject.embedded.errors import FolderInUseError
from routerproject.embedded.postgres import start_postgres
from routerproject.embedded.redis import start_redis
from routerproject.embedded.state import FolderLock, ensure_secrets, remove_socket_folder
from routerproject.embedded.supervisor import Supervisor

ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def embedded_services(state_dir: Path, environment: MutableMapping[str, str]) -> Iterator[Supervisor]:
    """Secrets, PostgreSQL and Redis of `state_dir`, for as long as the block lasts.

    Their addresses go into `environment`; what `DATABASE_URL` or `CELERY_BROKER_URL` names there already is not started. Answers
    the supervisor, for whoever has more to start: all of it stops with the block.

    :raises NotStartedError: if one does not come up.
    """
    ensure_secrets(state_dir)
    (ROOT / "staticfiles").mkdir(exist_ok=True)  # WhiteNoise warns where nothing was collected yet.
    environment["SIGNALBOX_STATE_DIR"] = str(state_dir)
    supervisor = Supervisor(environment=environment, working_directory=ROOT)
    try:
        if not environment.get("DATABASE_URL"):
            environment["DATABASE_URL"] = start_postgres(supervisor, state_dir / "postgres")
        if not environment.get("CELERY_BROKER_URL"):
            environment["CELERY_BROKER_URL"] = start_redis(supervisor, state_dir / "redis")
        yield supervisor
    finally:
        supervisor.stop()
        for name in ("postgres", "redis"):
            remove_socket_folder(state_dir / name)


@contextmanager
def temporary_services(parent: Path, environment: MutableMapping[str, str]) -> Iterator[Supervisor]:
    """Services of one run, in a folder of its own below `parent` that goes with it, so that any number of runs share a checkout."""
    folder = parent.resolve() / f"run-{os.getpid()}"
    making = FolderLock(parent / "runs.lock")
    making.take(wait=True)
    _remove_leftovers(parent)
    folder.mkdir()
    ours = FolderLock(folder / "run.lock")
    ours.take()
    making.release()
    try:
        with embedded_services(folder, environment) as supervisor:
            yield supervisor
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        ours.release()


def _remove_leftovers(parent: Path) -> None:
    """Remove the folders of runs that were killed."""
    for folder in parent.glob("run-*"):
        lock = FolderLock(folder / "run.lock")
        with suppress(FolderInUseError):
            lock.take()
            shutil.rmtree(folder, ignore_errors=True)
        lock.release()
