"""`make up`: the whole installation on one machine, with data that stays."""

import argparse
import errno
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from routerproject.embedded.errors import FolderInUseError, NotStartedError
from routerproject.embedded.reachable import check_broker, check_database
from routerproject.embedded.services import ROOT, embedded_services
from routerproject.embedded.state import FolderLock, addresses_path, write_addresses
from routerproject.embedded.supervisor import Service, Supervisor

READY_PATIENCE_S = 90.0
KILLED_PATIENCE_S = 40.0
INTERRUPTS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """Where everything is."""

    state_dir: Path
    port: int
    workers: int

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def demo(self) -> Path:
        """What a newcomer needs to know, written by `seed_demo`."""
        return self.state_dir / "demo.json"


def main(arguments: Sequence[str] | None = None) -> int:
    """Start everything, serve until Ctrl-C or SIGTERM, stop everything; 1 with one line when it cannot start."""
    installation = _parse(arguments)
    for number in INTERRUPTS:
        signal.signal(number, _interrupt)
    lock = FolderLock(installation.state_dir / "up.lock")
    try:
        lock.take()
        _run(installation)
    except FolderInUseError:
        return _complain(f"Signalbox is already running in {installation.state_dir}, or still stopping.")
    except NotStartedError as error:
        return _complain(str(error))
    except KeyboardInterrupt:
        return 0
    finally:
        lock.release()
    return 0


def _parse(arguments: Sequence[str] | None) -> Installation:
    parser = argparse.ArgumentParser(prog="make up", description=__doc__)
    parser.add_argument("--port", type=_port, default=8000)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args(arguments)
    state_dir = Path(os.environ.get("SIGNALBOX_STATE_DIR") or ROOT / "var").resolve()
    return Installation(state_dir=state_dir, port=options.port, workers=options.workers)


def _port(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise argparse.ArgumentTypeError(f"{text} is no port; choose one from 1 to 65535")
    return int(text)


def _run(installation: Installation) -> None:
    killed_before = addresses_path(installation.state_dir).exists()
    _await_port(installation.port, patience_s=KILLED_PATIENCE_S if killed_before else 0)
    # A terminal is told what goes wrong; LOG_LEVEL=INFO tells more.
    environment = {"LOG_LEVEL": "WARNING"} | os.environ | {"PYTHONUNBUFFERED": "1"}
    if environment.get("DATABASE_URL"):
        check_database(environment["DATABASE_URL"])
    if environment.get("CELERY_BROKER_URL"):
        check_broker(environment["CELERY_BROKER_URL"])
    try:
        with embedded_services(installation.state_dir, environment) as supervisor:
            _serve(installation, supervisor, environment)
    finally:
        addresses_path(installation.state_dir).unlink(missing_ok=True)


def _serve(installation: Installation, supervisor: Supervisor, environment: Mapping[str, str]) -> None:
    addresses = {name: environment[name] for name in ("DATABASE_URL", "CELERY_BROKER_URL")}
    write_addresses(installation.state_dir, addresses)
    sandbox_port = _start_sandbox(installation, supervisor)
    _manage(environment, "migrate", "--verbosity", "0")
    _manage(
        environment, "seed_demo", "--base-url", installation.base_url,
        "--sandbox-url", f"http://127.0.0.1:{sandbox_port}", "--output", str(installation.demo),
    )  # fmt: skip
    for service in _services(installation):
        supervisor.start(service)
    supervisor.wait_until(
        lambda: _answers(installation.port, "/readyz"), what="The web server", patience_s=READY_PATIENCE_S
    )
    print(_banner(installation), flush=True)  # noqa: T201 — this is the command's answer
    for number in INTERRUPTS:
        signal.signal(number, lambda *_: supervisor.request_stop())
    ended = supervisor.wait()
    if ended is not None:
        raise NotStartedError(f"{ended}; everything was stopped.")
    sys.stderr.write("\nStopping.\n")


def _manage(environment: Mapping[str, str], *command: str) -> None:
    """Run a management command to its end.

    :raises NotStartedError: with the reason in one line, if it failed.
    """
    done = subprocess.run(  # noqa: S603
        [sys.executable, "manage.py", *command],
        cwd=ROOT,
        env=environment,
        check=False,
        capture_output=True,
        text=True,
        errors="replace",
    )
    if done.returncode:
        raise NotStartedError(f"manage.py {command[0]} failed: {_reason(done)}")


def _reason(done: subprocess.CompletedProcess[str]) -> str:
    """The line that says why: the last one that is neither indented nor an excerpt of SQL."""
    said = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
    reasons = [line for line in said if not line.startswith((" ", "LINE "))]
    return reasons[-1] if reasons else f"exit code {done.returncode}"


def _start_sandbox(installation: Installation, supervisor: Supervisor) -> int:
    """Start the demo's upstream; answer its port."""
    port = _sandbox_port(installation.state_dir)
    supervisor.start(Service(name="sandbox", command=[sys.executable, "-m", "sandbox", "--port", str(port)]))
    supervisor.wait_until(
        lambda: _answers(port, "/healthz"), what="The sandbox vendor", patience_s=READY_PATIENCE_S
    )
    return port


def _services(installation: Installation) -> list[Service]:
    python = sys.executable
    # Its warning that it runs as root is about pickled messages, which are not accepted.
    celery = [python, "-W", "ignore:::celery.platforms", "-m", "celery", "-A", "routerproject", "--quiet"]
    return [
        Service(
            name="web",
            command=[
                python, "-m", "uvicorn", "routerproject.asgi:application", "--host", "127.0.0.1",
                "--port", str(installation.port), "--workers", str(installation.workers), "--loop", "uvloop",
                "--http", "routerproject.connections:Connection", "--no-access-log", "--log-level", "warning",
                "--timeout-graceful-shutdown", "14",
            ],
        ),
        Service(
            name="worker",
            # Housekeeping is short and mostly waits for the database: threads spare a second process.
            command=[*celery, "worker", "--pool", "threads", "--concurrency", "2", "--loglevel", "warning"],
        ),
        Service(
            name="beat",
            command=[
                *celery, "beat", "--schedule", str(installation.state_dir / "beat-schedule"), "--pidfile=",
                "--loglevel", "warning",
            ],
        ),
    ]  # fmt: skip


def _answers(port: int, path: str) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _banner(installation: Installation) -> str:
    demo = json.loads(installation.demo.read_text(encoding="utf-8"))
    base = demo["base_url"]
    body = '{"model":"auto","messages":[{"role":"user","content":"What is the capital of France?"}]}'
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

The same is in {installation.demo}. Ctrl-C stops everything; the data stays.
"""


def _sandbox_port(state_dir: Path) -> int:
    """The sandbox's port of last time, so that the demo provider's address stays true; another if it is taken."""
    path = state_dir / "sandbox.port"
    if path.exists() and _refusal(int(path.read_text())) is None:
        return int(path.read_text())
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    path.write_text(f"{port}\n")
    return port


def _await_port(port: int, *, patience_s: float) -> None:
    """Make sure that the port is free; processes of a run that was killed may hold it for a little while."""
    deadline = time.monotonic() + patience_s
    while (refusal := _refusal(port)) is not None:
        if time.monotonic() >= deadline:
            raise NotStartedError(f"Port {port} {refusal}. Choose another: make up PORT={_next_port(port)}")
        time.sleep(0.2)


def _next_port(port: int) -> int:
    """The first port above, and above those of the system, that is free now."""
    above = range(max(port + 1, 1024), 65536)
    return next((other for other in above if _refusal(other) is None), 8000)


def _refusal(port: int) -> str | None:
    """Why the port cannot be listened on; None if it can."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            taken = error.errno == errno.EADDRINUSE
            return "is in use" if taken else f"cannot be used ({os.strerror(error.errno or 0)})"
    return None


def _complain(line: str) -> int:
    sys.stderr.write(f"{line}\n")
    return 1


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
