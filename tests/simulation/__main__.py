"""`make simulate`: many seeds in all processors, and the bugs that are planted to be found.

``--replay SEED`` shows what happened in one seed, event by event.
"""

import argparse
import sys
import time
from pathlib import Path

from bench.report import Bar, Report
from tests.simulation.many import Tally, replay_command, run_many
from tests.simulation.mutants import MOST_SEEDS, MUTANTS, seeds_until_found
from tests.simulation.simulation import simulate

RESULTS = Path(__file__).resolve().parents[2] / "var" / "bench"
PROGRESS_S = 10.0
MOST_SHOWN = 5
"""How many broken seeds of one batch are printed."""


def main() -> int:
    """Run what the arguments say; the exit code is 1 when something broke."""
    arguments = _arguments()
    if arguments.replay is not None:
        return replay(arguments.replay)
    if arguments.digests is not None:
        return print_digests(arguments.first, arguments.digests)
    return run(arguments.first, arguments.seeds)


def replay(seed: int) -> int:
    """Print every event of one seed, and what broke, if anything did."""
    outcome = simulate(seed, keeps_lines=True)
    print("\n".join(outcome.lines))
    print(f"seed {seed}: {outcome.problem or 'everything held'} (trace {outcome.digest})")
    return 1 if outcome.problem else 0


def print_digests(first: int, count: int) -> int:
    """Print the trace's hash of each seed, for comparing runs."""
    for seed in range(first, first + count):
        print(seed, simulate(seed).digest)
    return 0


def run(first: int, count: int) -> int:
    """Run seeds and planted bugs, and report."""
    report = Report(name="simulate")
    started_at = time.monotonic()
    tally = _run_seeds(first, count, started_at)
    report.add_figures(seeds=tally.seeds, minutes=(time.monotonic() - started_at) / 60)
    report.add_figures(**dict(sorted(tally.counts.items())))
    missed = _missed_mutants(report)
    report.bars += [
        Bar(name="seeds that broke an invariant", figure=len(tally.problems), at_most=0, unit="seeds"),
        Bar(name="seeds that replayed differently", figure=len(tally.unfaithful), at_most=0, unit="seeds"),
        Bar(name=f"planted bugs that {MOST_SEEDS} seeds did not find", figure=missed, at_most=0, unit="bugs"),
    ]
    return report.finish(RESULTS)


def _run_seeds(first: int, count: int, started_at: float) -> Tally:
    tally, shown, shown_at = Tally(), set[int](), started_at
    for tally in run_many(first, count):
        for seed in sorted(tally.problems.keys() - shown)[:MOST_SHOWN]:
            print(f"seed {seed}: {tally.problems[seed]}\n  {replay_command(seed)}", flush=True)
        shown |= tally.problems.keys()
        now = time.monotonic()
        if now - shown_at >= PROGRESS_S:
            shown_at = now
            rate = tally.seeds / (now - started_at)
            print(
                f"{tally.seeds} of {count} seeds, {rate:.0f} a second, {len(tally.problems)} broke something",
                flush=True,
            )
    return tally


def _missed_mutants(report: Report) -> int:
    missed = 0
    for name in MUTANTS:
        seeds = seeds_until_found(name)
        missed += seeds is None
        report.add_figures(planted=name, found_after_seeds=seeds)
    return missed


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=2_000)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--replay", type=int, metavar="SEED")
    parser.add_argument("--digests", type=int, metavar="COUNT", help="print the hashes of so many seeds")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
