"""`make faults`: the whole fault matrix, the retry storm and 50,000 cancellations, held against their bars."""

import asyncio
import logging
import os
import sys
import tempfile
from pathlib import Path

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "routerproject.settings")
django.setup()

from bench.database import empty_database  # noqa: E402 — models need the set-up
from bench.report import Bar, Report  # noqa: E402
from tests.faults.cancellations import run_cancellations  # noqa: E402
from tests.faults.cells import Group, groups  # noqa: E402
from tests.faults.check import GRACE_S  # noqa: E402
from tests.faults.retry_storm import run_storm  # noqa: E402
from tests.faults.storms import STORMS  # noqa: E402
from tests.faults.trial import Verdict, put_to_the_test  # noqa: E402
from tests.running_servers import RunningGateway, running_gateway  # noqa: E402

RESULTS = Path(__file__).resolve().parents[2] / "var" / "bench"
CANCELLATIONS = 50_000


def main() -> int:
    """Run all of it and report; the exit code is 1 when a bar was missed."""
    logging.disable(logging.CRITICAL)
    # What goes wrong here is meant to: the gateway's complaints are no news.
    os.environ["LOG_LEVEL"] = "CRITICAL"
    report = Report(name="faults")
    with empty_database("signalbox_faults"), running_gateway() as gateway:
        measure_matrix(report, gateway)
    measure_storms(report)
    measure_cancellations(report)
    return report.finish(RESULTS)


def measure_matrix(report: Report, gateway: RunningGateway) -> None:
    """Play every cell, and say what deviates from the table."""
    cells = once = unjudged = deviating = 0
    latest_s = float("-inf")
    for group in groups():
        verdict = _try(gateway, group)
        report.add_figures(
            group=str(group), cells=verdict.cells, once=len(verdict.once), deviations=len(verdict.found)
        )
        for words in [*verdict.found, *(f"Only once: {words}" for words in verdict.once)]:
            print(words, file=sys.stderr, flush=True)
        cells, once = cells + verdict.cells, once + len(verdict.once)
        unjudged, deviating = unjudged + verdict.unjudged, deviating + len(verdict.found)
        latest_s = max(latest_s, verdict.latest_s)
    faults = len({cell.row.name for group in groups() for cell in group.cells()})
    report.add_figures(faults=faults, cells=cells, unjudged=unjudged)
    report.bars += [
        Bar(name="deviations from the fault table", figure=deviating, at_most=0, unit="deviations"),
        Bar(name="deviations that did not come again", figure=once, at_most=0, unit="deviations"),
        Bar(
            name="latest answer after its deadline", figure=latest_s * 1000, at_most=GRACE_S * 1000, unit="ms"
        ),
    ]


def _try(gateway: RunningGateway, group: Group) -> Verdict:
    with tempfile.TemporaryDirectory() as folder:
        return put_to_the_test(gateway, group, folder=Path(folder))


def measure_storms(report: Report) -> None:
    """Let each storm pass, and take the worst figure of all."""
    all_figures = []
    for strategy, models in STORMS:
        figures = run_storm(strategy=strategy, models=models)
        all_figures.append(figures)
        report.add_figures(
            storm=f"{strategy} over {len(models)}",
            requests=figures.requests,
            amplification=figures.amplification,
            most_attempts=figures.most_attempts,
            failed_in_recovery=figures.failed_in_recovery,
        )
    report.bars += [
        Bar(
            name="calls of the same target a request, vendor failing",
            figure=max(figures.amplification for figures in all_figures),
            at_most=1.10,
            unit="calls",
        ),
        Bar(
            name="attempts a request, vendor failing",
            figure=max(figures.most_attempts for figures in all_figures),
            at_most=3,
            unit="attempts",
        ),
        Bar(
            name="requests that failed in the 10 s after recovery",
            figure=100 * max(figures.failed_in_recovery for figures in all_figures),
            at_most=1,
            unit="%",
        ),
    ]


def measure_cancellations(report: Report) -> None:
    """Let callers leave, and look at what is left of them."""
    figures = asyncio.run(run_cancellations(CANCELLATIONS))
    report.add_figures(
        cancelled=figures.cancelled,
        completed=figures.completed,
        seconds=figures.seconds,
        errors=sum(figures.errors.values()),
    )
    report.bars += [
        Bar(name="connections in use afterwards", figure=figures.acquired, at_most=0, unit="connections"),
        Bar(name="descriptors more or fewer", figure=figures.descriptors, at_most=5, unit="descriptors"),
        Bar(
            name="of the next 1,000 calls, failed", figure=figures.failed_afterwards, at_most=0, unit="calls"
        ),
        Bar(name="answers that reached somebody else", figure=figures.mixed, at_most=0, unit="answers"),
        Bar(name="attempts never settled", figure=figures.left_open, at_most=0, unit="attempts"),
    ]


if __name__ == "__main__":
    sys.exit(main())
