"""Callers that leave early take nothing along and leave nothing behind."""

from tests.faults.cancellations import run_cancellations


async def test_callers_that_leave_early_leave_nothing_behind() -> None:
    figures = await run_cancellations(2_000)

    assert figures.cancelled >= 2_000
    assert (figures.acquired, figures.left_open, figures.mixed, figures.errors) == (0, 0, 0, {})
    assert figures.descriptors <= 5
    assert figures.failed_afterwards == 0
