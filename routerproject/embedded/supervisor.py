"""Runs the processes of the embedded default together: when the supervisor ends, however it ends, all of them end."""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from routerproject.embedded.errors import NotStartedError

STOP_PATIENCE_S = 30.0
POLL_S = 0.05
WATCH_S = 0.2
PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One process of the installation."""

    name: str
    command: Sequence[str]
    account: str | None = None  # The system account that it runs as; None: the caller's.
    stop_signal: signal.Signals = signal.SIGTERM
    log: Path | None = None  # None: its lines go to standard error, under its name.


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A service that ended by itself."""

    name: str
    exit_code: int

    def __str__(self) -> str:
        if self.exit_code < 0:
            return f"{self.name} was killed by {signal.Signals(-self.exit_code).name}"
        return f"{self.name} ended with exit code {self.exit_code}"


@dataclass(slots=True, kw_only=True)
class Supervisor:
    """Starts services in process groups of their own, notices when one ends, stops them in the reverse order.

    `environment` is read at each start. Start services from the main thread: the kernel ends them with the thread that
    started them.
    """

    environment: Mapping[str, str]
    working_directory: Path
    _running: list[tuple[Service, subprocess.Popen[str]]] = field(default_factory=list)
    _stop_requested: bool = False

    def start(self, service: Service) -> None:
        """Start one service. It gets its stop signal when this process dies, however it dies."""
        with contextlib.ExitStack() as stack:
            output = subprocess.PIPE if service.log is None else stack.enter_context(service.log.open("a"))
            process = subprocess.Popen(  # noqa: S603 — the commands are our own
                service.command,
                cwd=self.working_directory,
                env=dict(self.environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                start_new_session=True,
                # One system call; no thread of ours holds a lock here. It runs after the change of account, which would undo it.
                preexec_fn=lambda: _libc.prctl(PR_SET_PDEATHSIG, service.stop_signal),  # noqa: PLW1509
                user=service.account,
                group=service.account,
                extra_groups=None if service.account is None else (),
            )
        self._running.append((service, process))
        if service.log is None:
            threading.Thread(target=_relay, args=(service.name, process), daemon=True).start()

    def wait_until(self, is_ready: Callable[[], bool], *, what: str, patience_s: float) -> None:
        """Wait for a service to answer.

        :raises NotStartedError: if it does not in time, or any service ends.
        """
        deadline = time.monotonic() + patience_s
        while not is_ready():
            ended = self.ended()
            if ended is not None:
                raise NotStartedError(f"{ended} at the start.")
            if time.monotonic() > deadline:
                raise NotStartedError(f"{what} did not answer within {patience_s:.0f} seconds.")
            time.sleep(POLL_S)

    def ended(self) -> Ended | None:
        """The first service that is no longer running."""
        for service, process in self._running:
            if process.poll() is not None:
                return Ended(name=service.name, exit_code=process.returncode)
        return None

    def request_stop(self) -> None:
        """Make `wait` return. For signal handlers: an event would deadlock, for the handler may interrupt the wait on its lock."""
        self._stop_requested = True

    def wait(self) -> Ended | None:
        """Wait until a stop is requested (None) or a service ends by itself."""
        while not self._stop_requested:
            ended = self.ended()
            if ended is not None:
                return ended
            time.sleep(WATCH_S)
        return None

    def stop(self) -> None:
        """Stop every service, the last started first, each when the one before is gone."""
        while self._running:
            service, process = self._running[-1]
            _end(process, service.stop_signal)
            self._running.pop()


def _end(process: subprocess.Popen[str], stop_signal: signal.Signals) -> None:
    """Ask the leader, which ends its own children in order; then kill what is left of its group."""
    process.send_signal(stop_signal)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=STOP_PATIENCE_S)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _relay(name: str, process: subprocess.Popen[str]) -> None:
    with process.stdout or contextlib.nullcontext(()) as lines:
        for line in lines:
            sys.stderr.write(f"{name:>8} | {line}")
            sys.stderr.flush()
