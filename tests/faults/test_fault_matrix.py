"""Every fault of the table, in every strategy, plain and streamed, with another model at hand and without."""

from pathlib import Path

import pytest

from tests.faults.cells import Group, groups
from tests.faults.check import deviations
from tests.faults.play import play
from tests.running_servers import RunningGateway


@pytest.mark.parametrize("group", groups(), ids=str)
def test_every_fault_ends_as_the_table_says(gateway: RunningGateway, tmp_path: Path, group: Group) -> None:
    played = play(gateway, list(group.cells()), folder=tmp_path)

    assert not (found := deviations(played)), "\n".join(found)
