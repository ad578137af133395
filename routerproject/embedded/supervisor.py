"""Runs the processes of the embedded default together: if one ends, or the supervisor does, all end."""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

STOP_PATIENCE_S = 30.0
PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One process of the installation."""

    name: str
    command: Sequence[str]


@dataclass(slots=True)
class Supervisor:
    """Starts services, prefixes their output with their name, and stops them in the reverse order."""

    environment: Mapping[str, str]
    working_directory: Path
    running: list[tuple[Service, subprocess.Popen[str]]] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)

    def start(self, service: Service) -> None:
        """Start one service in a process group of its own. It gets SIGTERM when this process dies, however it dies."""
        process = subprocess.Popen(  # noqa: S603 — the commands are our own
            service.command,
            cwd=self.working_directory,
            env=dict(self.environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
            preexec_fn=_die_with_parent,  # noqa: PLW1509 — one system call; no thread of ours holds a lock here
        )
        self.running.append((service, process))
        threading.Thread(target=_relay, args=(service.name, process), daemon=True).start()

    def ended(self) -> tuple[Service, int] | None:
        """The first service that is no longer running, with its exit code."""
        for service, process in self.running:
            if process.poll() is not None:
                return service, process.returncode
        return None

    def request_stop(self) -> None:
        """Make `wait` return; safe in a signal handler."""
        self._stop.set()

    def wait(self) -> tuple[Service, int] | None:
        """Wait until a stop is requested (None) or a service ends (which one, and its exit code)."""
        while not self._stop.wait(0.2):
            ended = self.ended()
            if ended is not None:
                return ended
        return None

    @property
    def is_stopping(self) -> bool:
        """Whether a stop was requested."""
        return self._stop.is_set()

    def stop(self) -> None:
        """Stop every service, the last started first; what does not end in time is killed with its whole group."""
        deadline = time.monotonic() + STOP_PATIENCE_S
        for _, process in reversed(self.running):
            _signal_group(process, signal.SIGTERM, leader_only=True)
        for _, process in reversed(self.running):
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=max(0.1, deadline - time.monotonic()))
            _signal_group(process, signal.SIGKILL, leader_only=False)
            process.wait()


def _die_with_parent() -> None:
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _signal_group(process: subprocess.Popen[str], number: signal.Signals, *, leader_only: bool) -> None:
    """Signal a service's process group, or only its leader, which stops its own children in order."""
    with contextlib.suppress(ProcessLookupError):
        if leader_only:
            os.kill(process.pid, number)
        else:
            os.killpg(process.pid, number)


def _relay(name: str, process: subprocess.Popen[str]) -> None:
    for line in process.stdout or ():
        sys.stderr.write(f"{name:>8} | {line}")
        sys.stderr.flush()
