"""A vendor in trouble is not given more of it, and is used again as soon as it is well."""

from collections.abc import Sequence

import pytest

from policies_app.routing.codes import Strategy
from tests.faults.retry_storm import run_storm
from tests.faults.storms import STORMS


@pytest.mark.parametrize(("strategy", "models"), STORMS)
def test_an_outage_is_not_made_worse_and_is_over_when_it_is_over(
    strategy: Strategy, models: Sequence[str]
) -> None:
    figures = run_storm(strategy=strategy, models=models)

    assert figures.amplification <= 1.10
    assert figures.most_attempts <= 3
    assert figures.failed_in_recovery <= 0.01
    assert (figures.failed_before, figures.refused_in_outage) == (0, 0)
