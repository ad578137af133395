"""Where chaos happens: a PostgreSQL and a Redis that may be frozen and killed, web processes, a Celery worker, one vendor.

Everything is a real process on a state folder of its own. What is killed comes back on the same addresses.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import psycopg
from psycopg.rows import dict_row

from routerproject.embedded.postgres import _processes_in, start_postgres
from routerproject.embedded.redis import start_redis
from routerproject.embedded.state import ensure_secrets, remove_socket_folder
from routerproject.embedded.supervisor import Supervisor

ROOT = Path(__file__).resolve().parents[2]
Answer = TypeVar("Answer")


@dataclass(slots=True, kw_only=True)
class Ground:
    """The services. They are started by one thread that lives as long as they do: the kernel ends them with it."""

    folder: Path
    starter: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "ground"))
    _postgres: Supervisor | None = None
    _redis: Supervisor | None = None
    _celery: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start_postgres(self) -> str:
        """Start it, after a crash too; answer its address once it takes connections."""
        return self._starting(self._start_postgres)

    def start_redis(self) -> str:
        """Start it; answer its address."""
        return self._starting(self._start_redis)

    def freeze_postgres(self) -> None:
        """Stop every process of the server in its tracks: connections stay, nothing answers."""
        self._signal_postgres(signal.SIGSTOP)

    def thaw_postgres(self) -> None:
        self._signal_postgres(signal.SIGCONT)

    def kill_postgres(self) -> None:
        """Kill all of it at once, as a machine that loses its power would, but for what the disk was told."""
        self._signal_postgres(signal.SIGSTOP)  # nobody restarts a child, or ends in good order
        self._signal_postgres(signal.SIGKILL)
        while any(_processes_in(self.folder / "postgres")):
            time.sleep(0.01)

    def kill_redis(self) -> None:
        if self._redis is not None:
            for _, process in self._redis._running:
                process.kill()
                process.wait()

    def start_celery(self) -> None:
        """A worker and the clock that gives it work, unless they run."""
        if self._celery:
            return
        for role in (
            ("worker", "--pool", "threads", "--concurrency", "2"),
            ("beat", "--schedule", str(self.folder / "beat"), "--pidfile="),
        ):
            command = [
                sys.executable,
                "-W",
                "ignore:::celery.platforms",
                "-m",
                "celery",
                "-A",
                "routerproject",
                "--quiet",
            ]
            self._celery.append(
                subprocess.Popen([*command, *role, "--loglevel", "critical"], cwd=ROOT, env=os.environ.copy())
            )  # fmt: skip

    def kill_celery(self) -> None:
        """Both, without warning."""
        while self._celery:
            process = self._celery.pop()
            process.kill()
            process.wait()

    def stop(self) -> None:
        """End everything, frozen or not."""
        self.thaw_postgres()
        self.kill_celery()
        for supervisor in (self._redis, self._postgres):
            if supervisor is not None:
                supervisor.stop()
        self.starter.shutdown()
        for name in ("postgres", "redis"):
            remove_socket_folder(self.folder / name)

    def _starting(self, start: Callable[[], Answer]) -> Answer:
        return self.starter.submit(start).result()

    def _start_postgres(self) -> str:
        self._postgres = Supervisor(environment=os.environ, working_directory=ROOT)
        return start_postgres(self._postgres, self.folder / "postgres")

    def _start_redis(self) -> str:
        self._redis = Supervisor(environment=os.environ, working_directory=ROOT)
        return start_redis(self._redis, self.folder / "redis")

    def _signal_postgres(self, number: signal.Signals) -> None:
        for process_id in _processes_in(self.folder / "postgres"):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process_id, number)


@contextlib.contextmanager
def chaos_ground(folder: Path) -> Iterator[Ground]:
    """Start both services in `folder`, and let the environment name them."""
    folder.mkdir(parents=True, exist_ok=True)
    ensure_secrets(folder)
    os.environ["SIGNALBOX_STATE_DIR"] = str(folder)
    ground = Ground(folder=folder)
    try:
        os.environ["DATABASE_URL"] = ground.start_postgres()
        os.environ["CELERY_BROKER_URL"] = ground.start_redis()
        yield ground
    finally:
        ground.stop()


def rows(query: str, *values: Any) -> list[dict[str, Any]]:
    """What the database answers, over a connection of its own: the last one may be gone."""
    with psycopg.connect(os.environ["DATABASE_URL"], row_factory=dict_row, autocommit=True) as connection:
        return connection.execute(query, values).fetchall()


def await_nothing_open(*, patience_s: float, tenant_id: int | None = None) -> int:
    """Wait until the surviving processes have settled what they can; answer how many attempts are left open.

    Those of a tenant, if one is given: what a killed process began of another's stays open until it expires.
    """
    give_up_at = time.monotonic() + patience_s
    while True:
        (row,) = rows(
            "SELECT count(*) AS number FROM attempt WHERE state = 'open' AND tenant_id = coalesce(%s, tenant_id)",
            tenant_id,
        )
        if row["number"] == 0 or time.monotonic() > give_up_at:
            return int(row["number"])
        time.sleep(0.1)
