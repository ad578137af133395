import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.services import ROOT

PATIENCE_S = 100
OWN_SERVERS = ("DATABASE_URL", "CELERY_BROKER_URL")
NOWHERE = "127.0.0.1:9"  # The port of the discard service, which no machine has any more.

Start = Callable[..., "Up"]

pytestmark = pytest.mark.long


class Up:
    """`make up`, without make, for one state folder."""

    def __init__(self, state_dir: Path, port: int, **environment: str) -> None:
        inherited = {name: value for name, value in os.environ.items() if name not in OWN_SERVERS}
        self.state_dir = state_dir
        self.port = port
        self.output = ""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "routerproject.embedded.up", "--port", str(port), "--workers", "1"],
            cwd=ROOT,
            env=inherited | {"SIGNALBOX_STATE_DIR": str(state_dir), "SANDBOX_SPEED": "100"} | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def wait_until_ready(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.output += line
            if "Ctrl-C stops everything" in line:
                return
        pytest.fail(f"make up ended: {self.output}")

    def refusal(self) -> str:
        """What it says when it does not start, which must be an error."""
        output, _ = self.process.communicate(timeout=PATIENCE_S)
        assert self.process.returncode == 1, output
        return output

    def end(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        self.output += self.process.communicate(timeout=PATIENCE_S)[0]
        return self.process.returncode

    def demo(self) -> dict[str, str]:
        return json.loads((self.state_dir / "demo.json").read_text())

    def ask(self) -> int:
        """Send a chat completion with the demo key; the status of the answer."""
        demo = self.demo()
        body = {"model": "auto", "messages": [{"role": "user", "content": "What is the capital of France?"}]}
        request = urllib.request.Request(
            f"{demo['base_url']}/v1/chat/completions",
            data=json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {demo['api_key']}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def processes_of(state_dir: Path) -> list[str]:
    """The command lines of everything that belongs to an installation: it has the folder in its environment, or works in it."""
    mark = f"SIGNALBOX_STATE_DIR={state_dir}\0".encode()
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            belongs = mark in (process / "environ").read_bytes() + b"\0"
            belongs |= (process / "cwd").readlink().is_relative_to(state_dir)
            if belongs and (command := (process / "cmdline").read_bytes()):
                found.append(command.replace(b"\0", b" ").decode())
        except OSError:
            continue
    return found


@pytest.fixture
def start(state_dir: Path) -> Iterator[Start]:
    started: list[Up] = []

    def start(port: int, **environment: str) -> Up:
        started.append(Up(state_dir, port, **environment))
        return started[-1]

    yield start
    for up in started:
        if up.process.poll() is None:
            up.end(signal.SIGTERM)


@pytest.mark.processes
@pytest.mark.timeout(300)
def test_up_serves_survives_a_kill_keeps_its_data_and_leaves_nothing_running(
    start: Start, state_dir: Path
) -> None:
    port = free_port()
    killed = start(port)
    killed.wait_until_ready()
    access = killed.demo()
    assert killed.ask() == 200
    assert (state_dir / "demo.json").stat().st_mode & 0o777 == 0o600
    assert access["base_url"] == f"http://127.0.0.1:{port}"
    for told in ("base_url", "api_key", "admin_user", "admin_password", "finance_user", "finance_password"):
        assert access[told] in killed.output

    assert "already running" in start(free_port()).refusal()

    killed.end(signal.SIGKILL)
    recovered = start(port)
    recovered.wait_until_ready()
    assert recovered.demo() == access
    assert recovered.ask() == 200

    assert len(processes_of(state_dir)) > 6
    assert recovered.end(signal.SIGINT) == 0
    assert processes_of(state_dir) == []
    for noise in ("Traceback", "INFO"):
        assert noise not in killed.output + recovered.output


@pytest.mark.processes
def test_up_stops_and_names_a_service_that_dies_at_the_start(start: Start, state_dir: Path) -> None:
    port = free_port()

    refusal = start(port, SANDBOX_SPEED="none").refusal()

    assert refusal.splitlines()[-1] == "sandbox ended with exit code 1 at the start."
    assert processes_of(state_dir) == []


def test_an_occupied_port_is_named_with_a_way_out(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as occupier:
        port = occupier.getsockname()[1]

        refusal = start(port).refusal()

    assert refusal.startswith(f"Port {port} is in use. Choose another: make up PORT=")
    assert refusal.count("\n") == 1


@pytest.mark.parametrize(
    ("variable", "address", "reason"),
    [
        (
            "DATABASE_URL",
            f"postgres://signalbox@{NOWHERE}/signalbox",
            "The database of DATABASE_URL does not answer: ",
        ),
        ("DATABASE_URL", "mysql://127.0.0.1/signalbox", "DATABASE_URL must begin with postgres://"),
        ("CELERY_BROKER_URL", f"redis://{NOWHERE}/0", "The broker of CELERY_BROKER_URL does not answer: "),
        ("CELERY_BROKER_URL", "carrier-pigeon://loft", "The broker of CELERY_BROKER_URL does not answer: "),
    ],
)
def test_a_server_that_is_away_is_said_in_one_line(
    start: Start, variable: str, address: str, reason: str
) -> None:
    refusal = start(free_port(), **{variable: address}).refusal()

    assert refusal.startswith(reason)
    assert refusal.count("\n") == 1
