"""`make matrix`: every client against every vendor, feature by feature, and what many calls of all kinds cost.

Each cell passes, or is refused for a reason; each call costs what its vendor bills.
"""

import logging
import os
import sys
from pathlib import Path

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "routerproject.settings")
django.setup()

from bench.database import empty_database  # noqa: E402 — models need the set-up
from bench.report import Bar, Report  # noqa: E402
from tests.matrix.bills import Bill, settle_up  # noqa: E402
from tests.matrix.calls import generate  # noqa: E402
from tests.matrix.cells import Cell, Outcome, Verdict, judge, open_matrix  # noqa: E402
from tests.matrix.market import open_market  # noqa: E402
from tests.matrix.rows import OFFICIAL, OTHERS  # noqa: E402
from tests.matrix.table import table_of  # noqa: E402
from tests.running_servers import running_gateway  # noqa: E402

CALLS = 10_000
SEED = 2_026
MOST_TOLD = 10
"""How many differences are printed; all are counted."""
RESULTS = Path(__file__).resolve().parents[2] / "var" / "bench"


def main() -> int:
    """Try every cell and print the table; the exit code is 1 when a bar was missed."""
    logging.disable(logging.CRITICAL)
    os.environ["LOG_LEVEL"] = "CRITICAL"
    report = Report(name="matrix")
    with (
        empty_database("signalbox_matrix"),
        open_market() as market,
        running_gateway() as gateway,
        open_matrix(market, gateway, [*OFFICIAL, *OTHERS]) as matrix,
    ):
        _report_cells(report, [(cell, judge(cell, matrix.tap)) for cell in matrix.cells])
        calls = list(generate(market.vendors, count=CALLS, seed=SEED))
        _report_bill(report, settle_up(market, gateway, calls))
    return report.finish(RESULTS)


def _report_cells(report: Report, verdicts: list[tuple[Cell, Verdict]]) -> None:
    print(*table_of(verdicts), sep="\n")
    report.figures += [
        {
            "client": cell.client,
            "vendor": cell.vendor.wire_format.value,
            "feature": cell.feature,
            "outcome": f"{verdict.outcome}{': ' if verdict.words else ''}{verdict.words}",
        }
        for cell, verdict in verdicts
    ]
    outcomes = [verdict.outcome for _, verdict in verdicts]
    report.add_figures(
        cells=len(verdicts), passing=outcomes.count(Outcome.PASSES), refused=outcomes.count(Outcome.REFUSED)
    )
    unpaid = sum(not verdict.is_paid for _, verdict in verdicts)
    report.bars += [
        Bar(name="cells that fail", figure=outcomes.count(Outcome.FAILS), at_most=0, unit="cells"),
        Bar(name="cells with another cost than the vendor's bill", figure=unpaid, at_most=0, unit="cells"),
    ]


def _report_bill(report: Report, bill: Bill) -> None:
    for words in bill.differences[:MOST_TOLD]:
        print(f"  {words}")
    report.add_figures(
        calls=bill.calls,
        seconds=bill.seconds,
        calls_a_second=bill.calls / bill.seconds,
        cost_nanos=bill.cost_nanos,
        billed_nanos=bill.billed_nanos,
    )
    report.add_figures(**{f"{name}_tokens": count for name, count in bill.tokens.items()})
    report.bars.append(
        Bar(
            name="calls whose usage or cost is not the vendor's",
            figure=len(bill.differences),
            at_most=0,
            unit="calls",
        )
    )


if __name__ == "__main__":
    sys.exit(main())
