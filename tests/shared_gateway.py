"""The web process that a worker's tests share: what `gateway` gives.

Starting one costs seconds, so it serves every module that asks for it, one after the other: `tests.order` has them come
together. It ends before a module that has no use for it, whose tests find nothing in the database that they did not write.
"""

from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pytest_django import DjangoDbBlocker

from tests.emptying import Emptying
from tests.running_servers import RunningGateway, forget, start_web_processes


@dataclass(slots=True, kw_only=True)
class SharedGateway:
    """Starts the process when it is first asked for, and anew when it has ended."""

    users: frozenset[Path]
    emptying: Emptying
    blocker: DjangoDbBlocker
    _started: list[RunningGateway] = field(default_factory=list)

    def running(self) -> RunningGateway:
        """The process, alive."""
        if self._started and self._started[-1].process.poll() is not None:
            forget([self._started.pop()])
        if not self._started:
            self._started.extend(start_web_processes(1))
        return self._started[-1]

    def end(self) -> None:
        """Stop the process, if there is one, and remove what it wrote after the last test's end."""
        if self._started:
            running = self._started.pop()
            running.stop()
            with self.blocker.unblock():
                forget([running])
                self.emptying.restore()


_SHARED = pytest.StashKey[SharedGateway]()


@pytest.fixture(scope="session")
def shared_gateway(
    request: pytest.FixtureRequest, django_db_setup: Emptying, django_db_blocker: DjangoDbBlocker
) -> Iterator[SharedGateway]:
    items = request.session.items
    users = frozenset(item.path for item in items if "shared_gateway" in fixtures_of(item))
    shared = SharedGateway(users=users, emptying=django_db_setup, blocker=django_db_blocker)
    request.config.stash[_SHARED] = shared
    yield shared
    shared.end()


@pytest.fixture
def gateway(transactional_db: None, shared_gateway: SharedGateway) -> Iterator[RunningGateway]:
    """A web process on the test database. It has served other tests, and is to serve more."""
    running = shared_gateway.running()
    yield running
    running.close_clients()
    assert running.process.poll() is None, f"The gateway ended with exit code {running.process.returncode}."


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Generator[None, Any, Any]:
    """Once a test has been cleared away: end the process unless the next test's module uses it."""
    try:
        return (yield)
    finally:
        shared = item.config.stash.get(_SHARED, None)
        if shared is not None and (nextitem is None or nextitem.path not in shared.users):
            shared.end()


def fixtures_of(item: pytest.Item) -> list[str]:
    """The names of the fixtures that a test uses, by itself or through others."""
    return getattr(item, "fixturenames", [])
