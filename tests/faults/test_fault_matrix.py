"""Every fault of the table, in every strategy, plain and streamed, with another model at hand and without."""

from pathlib import Path

import pytest

from tests.faults.cells import Group, groups
from tests.faults.trial import put_to_the_test
from tests.running_servers import RunningGateway

pytestmark = pytest.mark.long


@pytest.mark.parametrize("group", groups(), ids=str)
def test_every_fault_ends_as_the_table_says(gateway: RunningGateway, tmp_path: Path, group: Group) -> None:
    verdict = put_to_the_test(gateway, group, folder=tmp_path)

    assert not verdict.found, "\n".join(verdict.found)
