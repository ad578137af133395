import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from routerproject.embedded import supervisor as module
from routerproject.embedded.errors import NotStartedError
from routerproject.embedded.supervisor import Service, Supervisor
from tests.services import ROOT

WAITS = "import time; print('up', flush=True); time.sleep(60)"
NOTES_ITS_END = """
import signal, sys, time
def end(*_):
    with open({log!r}, "a") as log: log.write({name!r} + "\\n")
    sys.exit()
signal.signal(signal.SIGTERM, end)
open({ready!r}, "w").close()
time.sleep(60)
"""
STUBBORN = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork():
    with open({ready!r} + ".new", "w") as file: file.write(str(os.getpid()))
    os.rename({ready!r} + ".new", {ready!r})
time.sleep(60)
"""
SUPERVISES = """
import os, sys, time
from pathlib import Path
from routerproject.embedded.supervisor import Service, Supervisor
supervisor = Supervisor(environment=os.environ, working_directory=Path.cwd())
supervisor.start(Service(name="child", command=[sys.executable, "-c", "import os, time; print(os.getpid(), flush=True); time.sleep(60)"]))
time.sleep(60)
"""


def python(name: str, program: str) -> Service:
    return Service(name=name, command=[sys.executable, "-c", program])


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def is_running(process_id: int) -> bool:
    stat = Path(f"/proc/{process_id}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


def test_services_stop_in_the_reverse_order(supervisor: Supervisor, tmp_path: Path) -> None:
    log = tmp_path / "log"
    for name in ("first", "second", "third"):
        ready = tmp_path / name
        supervisor.start(python(name, NOTES_ITS_END.format(log=str(log), name=name, ready=str(ready))))
        wait_for(ready.exists)

    supervisor.stop()

    assert log.read_text().split() == ["third", "second", "first"]


def test_a_service_that_does_not_stop_is_killed_with_its_children(
    supervisor: Supervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "STOP_PATIENCE_S", 0.2)
    ready = tmp_path / "ready"
    supervisor.start(python("stubborn", STUBBORN.format(ready=str(ready))))
    wait_for(ready.exists)
    group = int(ready.read_text())

    supervisor.stop()

    wait_for(lambda: not any(is_running(member) for member in members_of(group)))


def members_of(group: int) -> list[int]:
    stats = [path.read_text().rpartition(")")[2].split() for path in Path("/proc").glob("[0-9]*/stat")]
    names = [int(path.parent.name) for path in Path("/proc").glob("[0-9]*/stat")]
    return [name for name, fields in zip(names, stats, strict=True) if int(fields[2]) == group]


def test_children_of_a_killed_supervisor_end() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SUPERVISES], cwd=ROOT, stderr=subprocess.PIPE, text=True
    ) as killed:
        assert killed.stderr is not None
        child = int(killed.stderr.readline().split("|")[1])
        killed.kill()

    wait_for(lambda: not is_running(child))


def test_a_service_that_ends_by_itself_is_named_with_its_exit_code(supervisor: Supervisor) -> None:
    supervisor.start(python("steady", WAITS))
    supervisor.start(python("fleeting", "raise SystemExit(3)"))

    assert str(supervisor.wait()) == "fleeting ended with exit code 3"


def test_a_service_that_is_killed_is_named_with_the_signal(supervisor: Supervisor) -> None:
    supervisor.start(python("victim", f"import os; os.kill(os.getpid(), {signal.SIGKILL:d})"))

    assert str(supervisor.wait()) == "victim was killed by SIGKILL"


def test_waiting_for_a_service_ends_when_another_one_dies(supervisor: Supervisor) -> None:
    supervisor.start(python("fleeting", "raise SystemExit(3)"))

    with pytest.raises(NotStartedError, match=r"^fleeting ended with exit code 3 at the start\.$"):
        supervisor.wait_until(lambda: False, what="The other", patience_s=20)


def test_a_service_that_never_answers_is_named(supervisor: Supervisor) -> None:
    supervisor.start(python("steady", WAITS))

    with pytest.raises(NotStartedError, match=r"^Steady did not answer within 0 seconds\.$"):
        supervisor.wait_until(lambda: False, what="Steady", patience_s=0.1)


def test_a_stop_is_heard_whenever_the_signal_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    # Without sleep, a timer of processor time goes off between any two steps of Python, and leaves pytest's own timer alone.
    monkeypatch.setattr(module, "WATCH_S", 0)
    monkeypatch.setattr(time, "sleep", lambda _seconds: None)
    before = signal.getsignal(signal.SIGPROF)

    for _ in range(200):
        supervisor = Supervisor(environment={}, working_directory=ROOT)
        signal.signal(signal.SIGPROF, lambda *_, to=supervisor: to.request_stop())
        signal.setitimer(signal.ITIMER_PROF, 0.001)

        assert supervisor.wait() is None

    signal.signal(signal.SIGPROF, before)


def test_the_output_of_services_bears_their_names(
    supervisor: Supervisor, capfd: pytest.CaptureFixture[str]
) -> None:
    supervisor.start(python("steady", WAITS))
    said: list[str] = []

    def has_spoken() -> bool:
        said.append(capfd.readouterr().err)
        return "  steady | up\n" in "".join(said)

    wait_for(has_spoken)
