"""The gateway under load: the real server on a database of its own, with a zero-delay upstream."""

import contextlib
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
START_PATIENCE_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningGateway:
    """Where it listens, and which processes to measure."""

    base_url: str
    web_pid: int


@contextlib.contextmanager
def fast_upstream() -> Iterator[str]:
    """A sandbox vendor that answers at once; yields its base URL."""
    with _process("-m", "sandbox", "--fast", "--port", "0", stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        line = process.stdout.readline().decode()
        found = re.search(r"http://\S+", line)
        if found is None:
            raise RuntimeError(f"The sandbox did not start: {line!r}")
        yield found.group().rstrip("/") + "/v1"


@contextlib.contextmanager
def gateway() -> Iterator[RunningGateway]:
    """One web worker of the real server, ready to serve."""
    port = _free_port()
    with _process(
        "-m", "uvicorn", "routerproject.asgi:application", "--port", str(port), "--loop", "uvloop", "--http", "routerproject.connections:Connection",
        "--no-access-log", "--log-level", "warning",
    ) as process:  # fmt: skip
        base_url = f"http://127.0.0.1:{port}"
        _wait_until_ready(f"{base_url}/readyz", process)
        yield RunningGateway(base_url=base_url, web_pid=process.pid)


@contextlib.contextmanager
def _process(*arguments: str, stdout: int | None = None) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, *arguments], cwd=ROOT, stdout=stdout, env=os.environ.copy())
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_ready(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_PATIENCE_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"The gateway ended with exit code {process.returncode}.")
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=2):
            return
        time.sleep(0.1)
    raise RuntimeError("The gateway was not ready in time.")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
