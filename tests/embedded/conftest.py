import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from routerproject.embedded.supervisor import Supervisor
from tests.services import ROOT


@pytest.fixture
def state_dir() -> Iterator[Path]:
    """A state folder in the run's own: PostgreSQL's account can reach it there, unlike pytest's folders."""
    folder = Path(os.environ["SIGNALBOX_STATE_DIR"]) / "installation"
    folder.mkdir()
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def supervisor() -> Iterator[Supervisor]:
    supervisor = Supervisor(environment=os.environ, working_directory=ROOT)
    yield supervisor
    supervisor.stop()
