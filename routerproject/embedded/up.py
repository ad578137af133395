"""`make up`: the whole installation on one machine, with data that stays."""

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from routerproject.embedded.postgres import PostgresNotStartedError
from routerproject.embedded.redis import broker_url, redis_command, socket_path, wait_for_redis
from routerproject.embedded.run import embedded_postgres
from routerproject.embedded.state import FolderInUseError, FolderLock, write_addresses
from routerproject.embedded.supervisor import Service, Supervisor

ROOT = Path(__file__).resolve().parents[2]
READY_PATIENCE_S = 60.0
SANDBOX_PORT_FILE = "sandbox.port"


class NotStartedError(Exception):
    """Why the installation is not up, in one line."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Start everything, serve until Ctrl-C or SIGTERM, stop everything; 1 with one line when it cannot start."""
    options = _parse(arguments)
    state_dir = Path(os.environ.get("SIGNALBOX_STATE_DIR", ROOT / "var")).resolve()
    state_dir.mkdir(parents=True, exist_ok=True)
    lock = FolderLock(state_dir / "up.lock")
    signal.signal(signal.SIGTERM, _raise_interrupt)
    try:
        lock.take()
        _check_port(options.port)
        environment = os.environ | {"SIGNALBOX_STATE_DIR": str(state_dir), "PYTHONUNBUFFERED": "1"}
        with embedded_postgres(state_dir, environment):
            _serve(options, state_dir, environment)
    except FolderInUseError:
        return _complain(f"Signalbox is already running in {state_dir}.")
    except (NotStartedError, PostgresNotStartedError) as error:
        return _complain(str(error))
    except KeyboardInterrupt:
        return 0
    finally:
        lock.release()
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make up")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--workers", type=int, default=2)
    return parser.parse_args(arguments)


def _serve(options: argparse.Namespace, state_dir: Path, environment: dict[str, str]) -> None:
    supervisor = Supervisor(environment=environment, working_directory=ROOT)
    try:
        if not environment.get("CELERY_BROKER_URL"):
            _start_redis(supervisor, state_dir, environment)
        written = {name: environment[name] for name in ("DATABASE_URL", "CELERY_BROKER_URL")}
        write_addresses(state_dir, written)
        sandbox_port = _sandbox_port(state_dir)
        _prepare(options.port, sandbox_port, state_dir, environment)
        for service in _services(options, sandbox_port, state_dir):
            supervisor.start(service)
        _announce_when_ready(supervisor, options.port, sandbox_port, state_dir)
        signal.signal(signal.SIGTERM, lambda *_: supervisor.request_stop())
        signal.signal(signal.SIGINT, lambda *_: supervisor.request_stop())
        ended = supervisor.wait()
        if ended is not None:
            raise NotStartedError(f"{ended[0].name} ended with exit code {ended[1]}; everything was stopped.")
        sys.stderr.write("\nStopping.\n")
    finally:
        supervisor.stop()


def _start_redis(supervisor: Supervisor, state_dir: Path, environment: dict[str, str]) -> None:
    listen_on = socket_path(state_dir)
    listen_on.unlink(missing_ok=True)
    supervisor.start(Service(name="redis", command=redis_command(state_dir / "redis", listen_on)))
    if not wait_for_redis(listen_on):
        raise NotStartedError("The embedded Redis did not start.")
    environment["CELERY_BROKER_URL"] = broker_url(listen_on)


def _prepare(port: int, sandbox_port: int, state_dir: Path, environment: dict[str, str]) -> None:
    """Bring the database up to date and fill in the demo data, keeping what is there."""
    _check_database(environment["DATABASE_URL"])
    seed = [
        "seed_demo", "--base-url", f"http://127.0.0.1:{port}", "--sandbox-url", f"http://127.0.0.1:{sandbox_port}",
        "--output", str(state_dir / "demo.json"),
    ]  # fmt: skip
    for command in (["migrate", "--verbosity", "0"], seed):
        done = subprocess.run(  # noqa: S603
            [sys.executable, "manage.py", *command],
            cwd=ROOT,
            env=environment,
            check=False,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            reason = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()[-1]
            raise NotStartedError(f"manage.py {command[0]} failed: {reason}")


def _check_database(url: str) -> None:
    import psycopg

    try:
        with psycopg.connect(url, connect_timeout=5):
            pass
    except psycopg.OperationalError as error:
        reason = str(error).strip().splitlines()[0]
        raise NotStartedError(f"The database of DATABASE_URL does not answer: {reason}") from error


def _services(options: argparse.Namespace, sandbox_port: int, state_dir: Path) -> list[Service]:
    python = sys.executable
    celery = [python, "-m", "celery", "-A", "routerproject"]
    return [
        Service(name="sandbox", command=[python, "-m", "sandbox", "--port", str(sandbox_port)]),
        Service(
            name="web",
            command=[
                python, "-m", "uvicorn", "routerproject.asgi:application", "--host", "127.0.0.1",
                "--port", str(options.port), "--workers", str(options.workers), "--loop", "uvloop",
                "--http", "httptools", "--no-access-log", "--log-level", "warning",
                "--timeout-graceful-shutdown", "25",
            ],
        ),
        Service(name="worker", command=[*celery, "worker", "--concurrency", "1", "--loglevel", "warning"]),
        Service(
            name="beat",
            command=[
                *celery, "beat", "--schedule", str(state_dir / "beat-schedule"), "--pidfile=", "--loglevel", "warning",
            ],
        ),
    ]  # fmt: skip


def _announce_when_ready(supervisor: Supervisor, port: int, sandbox_port: int, state_dir: Path) -> None:
    """Print where everything is, once it answers."""
    _wait_for(supervisor, f"http://127.0.0.1:{sandbox_port}/healthz", "The sandbox vendor")
    _wait_for(supervisor, f"http://127.0.0.1:{port}/readyz", "The web server")
    demo = json.loads((state_dir / "demo.json").read_text(encoding="utf-8"))
    print(_banner(demo), flush=True)  # noqa: T201 — this is the command's answer


def _wait_for(supervisor: Supervisor, url: str, what: str) -> None:
    deadline = time.monotonic() + READY_PATIENCE_S
    while time.monotonic() < deadline:
        ended = supervisor.ended()
        if ended is not None:
            raise NotStartedError(f"{ended[0].name} ended with exit code {ended[1]} at the start.")
        try:
            with urllib.request.urlopen(url, timeout=2):  # noqa: S310 — an address of our own
                return
        except OSError:
            time.sleep(0.2)
    raise NotStartedError(f"{what} did not answer at {url} within {READY_PATIENCE_S:.0f} seconds.")


def _banner(demo: dict[str, str]) -> str:
    base = demo["base_url"]
    body = '{"model":"auto","messages":[{"role":"user","content":"What is 17 + 25?"}]}'
    return f"""
Signalbox is ready at {base}

  Admin        {base}/admin/         {demo["admin_user"]} / {demo["admin_password"]}
  Cost pages   {base}/costs/         {demo["finance_user"]} / {demo["finance_password"]}
  API docs     {base}/api/docs/      (log in as {demo["admin_user"]})
  Demo key     {demo["api_key"]}     (tenant {demo["tenant"]})

Try it:

  curl -i {base}/v1/chat/completions -H 'Authorization: Bearer {demo["api_key"]}' \\
    -H 'Content-Type: application/json' -H 'X-Dispatch-Task: support' \\
    -d '{body}'

The same is in var/demo.json. Ctrl-C stops everything; the data stays in var/.
"""


def _sandbox_port(state_dir: Path) -> int:
    """The sandbox's port of last time, so that the demo provider's address stays true; another if it is taken."""
    path = state_dir / SANDBOX_PORT_FILE
    if path.exists() and _is_free(int(path.read_text())):
        return int(path.read_text())
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    path.write_text(f"{port}\n")
    return port


def _check_port(port: int) -> None:
    if not _is_free(port):
        raise NotStartedError(f"Port {port} is in use. Choose another: make up PORT={port + 1}")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _complain(line: str) -> int:
    sys.stderr.write(f"{line}\n")
    return 1


def _raise_interrupt(*_: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
