"""Each part of `make chaos`: how much of it, its figures, and its bars."""

import argparse
from collections.abc import Callable

from bench.report import Bar, Report
from tests.chaos.acknowledged import run_acknowledged
from tests.chaos.budgets import run_budgets, run_fill
from tests.chaos.database_away import run_away
from tests.chaos.disconnects import run_disconnects
from tests.chaos.idempotency import run_once
from tests.chaos.kills import lift_all, run_cut, run_kill
from tests.chaos.town import Town


def measure_budgets(report: Report, town: Town, options: argparse.Namespace) -> None:
    """One budget filled to the brim, and seeded trials, every other one with processes killed."""
    fill = run_fill(
        town, reservations=options.fill, callers=min(options.callers, 64), processes=options.processes
    )
    report.add_figures(
        fill_calls=fill.calls, unused_share=fill.unused_share, groundless=fill.groundless_refusals
    )
    trials = []
    for seed in range(options.seed, options.seed + options.trials):
        kills = seed % 2 * (1 + seed % 4 // 2)
        figures = run_budgets(
            town,
            seed=seed,
            callers=options.callers,
            processes=options.processes,
            kills=min(kills, options.processes - 1),
        )
        trials.append(figures)
        report.add_figures(
            trial=seed, kills=figures.kills, admitted=figures.admitted, refused=figures.refused,
            left_open=figures.left_open, excess_nanos=figures.excess_nanos, booked_excess_nanos=figures.booked_excess_nanos,
            left_reserved_nanos=figures.left_reserved_nanos, below_truth_nanos=figures.below_truth_nanos,
        )  # fmt: skip
    _bar(report, "vendor's bill above a limit", max(0, *(t.excess_nanos for t in trials)), "nano-dollars")
    _bar(report, "booked above a limit", max(0, *(t.booked_excess_nanos for t in trials)), "nano-dollars")
    _bar(report, "reserved once all is quiet", max(t.left_reserved_nanos for t in trials), "nano-dollars")
    _bar(report, "booked below the vendor's bill", max(t.below_truth_nanos for t in trials), "nano-dollars")
    _bar(
        report,
        "trials in which no budget bit",
        sum(t.refused == 0 or t.admitted == 0 for t in trials),
        "trials",
    )
    _bar(
        report,
        "left of a budget at the first refusal",
        100 * fill.unused_share,
        "%",
        at_most=100 / options.fill,
    )
    _bar(report, "refusals that the rest would have covered", fill.groundless_refusals, "refusals")


def measure_acknowledged(report: Report, town: Town, options: argparse.Namespace) -> None:
    """Load while web, PostgreSQL, Celery and Redis are killed in turn."""
    figures = run_acknowledged(
        town, seed=options.seed, wanted=options.dispatches, callers=min(options.callers, 96),
        processes=min(options.processes, 4), round_s=options.round, victims=4,
    )  # fmt: skip
    report.add_figures(
        acknowledged=figures.acknowledged, streams=figures.streams, pending=figures.pending,
        kills=dict(figures.kills), seconds=round(figures.seconds, 1),
    )  # fmt: skip
    _bar(report, "acknowledged dispatches missing in the log", figures.missing, "rows")
    _bar(report, "acknowledged dispatches with another cost", figures.other_cost, "rows")
    _bar(report, "calls of the vendor without a row, everything killed", figures.unlogged, "calls")
    _bar(report, "callers left hanging by a kill", figures.hung, "callers")


def measure_kills(report: Report, town: Town, options: argparse.Namespace) -> None:
    """A switch at full load; then a hard one, which cuts streams."""
    processes = min(options.processes, 4)
    try:
        figures = run_kill(
            town, seed=options.seed, callers=options.callers, processes=processes, seconds=options.kill
        )
        report.add_figures(
            admitted_before=figures.admitted_before, admitted_after=figures.admitted_after,
            arrived_after=figures.arrived_after, answered_after=figures.answered_after,
        )  # fmt: skip
        lift_all()
        _bar(report, "admitted after the save of a kill switch", figures.admitted_after, "attempts")
        _bar(report, "arrived at the vendor after it", figures.arrived_after, "calls")
        _bar(
            report,
            "kills under no load",
            int(figures.admitted_before == 0 or figures.answered_after == 0),
            "kills",
        )
        cuts = run_cut(town, streams=min(options.callers, 64), processes=processes)
        report.add_figures(cut_streams=len(cuts), last_cut_s=max(cuts))
        _bar(report, "last stream cut after a hard kill", max(cuts), "s", at_most=1.0)
        _bar(report, "streams over before the hard kill", sum(cut < 0 for cut in cuts), "streams")
    finally:
        lift_all()


def measure_away(report: Report, town: Town, options: argparse.Namespace) -> None:
    """PostgreSQL frozen, then killed."""
    for way in ("frozen", "killed"):
        figures = run_away(
            town,
            way,
            callers=min(options.callers, 64),
            processes=min(options.processes, 2),
            seconds=options.away,
        )
        report.add_figures(
            away=way, refused=figures.refused, p50_ms=figures.refusal_p50_ms, p99_ms=figures.refusal_p99_ms,
            onset_max_ms=figures.onset_max_ms, hung=figures.hung, unlogged=figures.unlogged, unwell_s=figures.unwell_s,
            served_after=figures.served_after, left_open=figures.left_open,
        )  # fmt: skip
        _bar(report, f"refusals, p99, database {way}", figures.refusal_p99_ms, "ms", at_most=100)
        _bar(report, f"callers left hanging, database {way}", figures.hung, "callers")
        _bar(report, f"served without a database, database {way}", figures.served_while_away, "calls")
        _bar(report, f"calls of the vendor without a row, database {way}", figures.unlogged, "calls")
        _bar(report, f"last refusal after its return, database {way}", figures.unwell_s, "s", at_most=2.0)
        _bar(report, f"attempts left open, database {way}", figures.left_open, "attempts")
        _bar(
            report,
            f"nobody refused or served, database {way}",
            int(0 in {figures.refused, figures.served_after}),
            "runs",
        )


def measure_once(report: Report, town: Town, options: argparse.Namespace) -> None:
    """A hundred callers a key, and a process killed under each."""
    trials = []
    for seed in range(options.seed, options.seed + options.keys):
        figures = run_once(town, seed=seed, callers=100, processes=min(options.processes, 3))
        trials.append(figures)
        report.add_figures(
            key=seed, vendor_calls=figures.vendor_calls, answered=figures.answered, conflicts=figures.conflicts,
            cut_off=figures.cut_off,
        )  # fmt: skip
    _bar(
        report,
        "calls of the vendor under one idempotency key",
        max(t.vendor_calls for t in trials),
        "calls",
        at_most=1,
    )
    _bar(
        report,
        "dispatches that answered under one idempotency key",
        max(t.answering for t in trials),
        "dispatches",
        at_most=1,
    )
    _bar(
        report,
        "idempotency keys under which nobody was told anything",
        sum(t.answered + t.conflicts == 0 for t in trials),
        "keys",
    )


def measure_disconnects(report: Report, town: Town, options: argparse.Namespace) -> None:
    """Callers that hang up at any byte."""
    figures = run_disconnects(
        town,
        seed=options.seed,
        wanted=options.disconnects,
        callers=min(options.callers, 32),
        processes=min(options.processes, 2),
    )
    report.add_figures(
        left=figures.left, by_manner=dict(figures.by_manner), never_admitted=figures.unadmitted, cut=figures.cut,
        closed_p50_ms=_share(figures.closed_ms, 0.5), closed_p99_ms=_share(figures.closed_ms, 0.99),
        terminal_p50_ms=_share(figures.terminal_ms, 0.5), terminal_p99_ms=_share(figures.terminal_ms, 0.99),
        zeros=figures.zeros, drained=figures.drained, below_truth_rows=figures.below_truth, seconds=round(figures.seconds, 1),
    )  # fmt: skip
    _bar(report, "stream of the vendor closed after a hang-up", max(figures.closed_ms), "ms", at_most=250)
    _bar(
        report,
        "longer read on than allowed after a hang-up",
        max(0.0, *figures.overdue_ms),
        "ms",
        at_most=250,
    )
    _bar(
        report,
        "read to the end and not charged the vendor's truth after a hang-up",
        figures.not_truth + (figures.drained == 0),
        "rows",
    )
    _bar(report, "row terminal after a hang-up", max(figures.terminal_ms) / 1000, "s", at_most=2.0)
    _bar(
        report,
        "streams and rows that never end after a hang-up",
        figures.never_closed + figures.never_terminal,
        "of both",
    )
    _bar(
        report, "charged below the vendor's truth after a hang-up", figures.below_truth_nanos, "nano-dollars"
    )
    _bar(report, "explicit zeros charged after a hang-up", figures.zeros_charged, "rows")
    _bar(report, "calls of the vendor without a row after a hang-up", figures.unlogged, "calls")
    _bar(
        report,
        "left open or held back after a hang-up",
        figures.left_open + figures.left_reserved_nanos,
        "of both",
    )


def _share(figures: list[float], share: float) -> float:
    """The figure that so much of all of them do not exceed."""
    return sorted(figures)[min(len(figures) - 1, int(share * len(figures)))]


def _bar(report: Report, name: str, figure: float, unit: str, *, at_most: float = 0) -> None:
    report.bars.append(Bar(name=name, figure=figure, at_most=at_most, unit=unit))


MEASURES: dict[str, Callable[[Report, Town, argparse.Namespace], None]] = {
    "budgets": measure_budgets,
    "acknowledged": measure_acknowledged,
    "kills": measure_kills,
    "away": measure_away,
    "once": measure_once,
    "disconnects": measure_disconnects,
}
