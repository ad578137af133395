"""`make mutants`: plants every fault of the list into a copy of the tree, and sees whether the suite notices.

The copy lies under var/mutants and goes away afterwards; the working tree is never touched. Names, or parts of them, may
be given to plant only those.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

from bench.report import Bar, Report
from tests.mutants.planted import MUTANTS, Mutant

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "var" / "bench"
SCRATCH = ROOT / "var" / "mutants"
PATIENCE_S = 300
TESTS_FAILED = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one mutant. `caught_by` is the first test that failed; empty if none did."""

    mutant: Mutant
    caught_by: str
    seconds: float
    trouble: str = ""


class Copies:
    """Copies of the tree, one for each mutant that is tried at a time."""

    def __init__(self, folder: Path, *, count: int) -> None:
        self._free: SimpleQueue[Path] = SimpleQueue()
        for number in range(count):
            self._free.put(_copy_tree(folder / str(number)))

    def try_out(self, mutant: Mutant) -> Outcome:
        """Plant a mutant, run its tests, and take it out again."""
        tree = self._free.get()
        path = tree / mutant.path
        original = path.read_text(encoding="utf-8")
        try:
            if original.count(mutant.search) != 1:
                return Outcome(mutant=mutant, caught_by="", seconds=0, trouble="its place is not there")
            path.write_text(original.replace(mutant.search, mutant.replace), encoding="utf-8")
            return _run_tests(mutant, tree)
        finally:
            path.write_text(original, encoding="utf-8")
            self._free.put(tree)


def main(names: Sequence[str]) -> int:
    """Try all of them and report; the exit code is 1 when one survived."""
    wanted = [mutant for mutant in MUTANTS if not names or any(name in mutant.name for name in names)]
    report = Report(name="mutants")
    SCRATCH.mkdir(parents=True, exist_ok=True)
    jobs = min(len(wanted), int(os.environ.get("JOBS", "2")))
    with tempfile.TemporaryDirectory(dir=SCRATCH) as folder, ThreadPoolExecutor(jobs) as pool:
        copies = Copies(Path(folder), count=jobs)
        outcomes = []
        for outcome in pool.map(copies.try_out, wanted):
            _show(outcome)
            outcomes.append(outcome)
    survivors = [outcome for outcome in outcomes if not outcome.caught_by]
    report.figures = [_figures(outcome) for outcome in outcomes]
    report.add_figures(caught=len(outcomes) - len(survivors), total=len(outcomes))
    report.bars += [Bar(name="mutants that survive", figure=len(survivors), at_most=0, unit="mutants")]
    return report.finish(RESULTS)


def _copy_tree(to: Path) -> Path:
    """Everything that is in the tree, or is about to be: what the version control knows, and what it does not ignore."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    for name in listed.stdout.decode().split("\0"):
        source, target = ROOT / name, to / name
        if name and source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
    return to


def _run_tests(mutant: Mutant, tree: Path) -> Outcome:
    started_at = time.monotonic()
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-x",
        "-q",
        "--no-header",
        "-p",
        "no:cacheprovider",
        *mutant.tests,
    ]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    try:
        run = subprocess.run(
            command,
            cwd=tree,
            env=environment,
            capture_output=True,
            timeout=PATIENCE_S,
            check=False,
            text=True,
        )
    except subprocess.TimeoutExpired:
        return Outcome(mutant=mutant, caught_by="its tests never end", seconds=PATIENCE_S)
    seconds = time.monotonic() - started_at
    failed = [line for line in run.stdout.splitlines() if line.startswith(("FAILED tests/", "ERROR tests/"))]
    if run.returncode == TESTS_FAILED and failed:
        return Outcome(mutant=mutant, caught_by=failed[0].partition(" ")[2], seconds=seconds)
    trouble = "" if run.returncode == 0 else (run.stdout + run.stderr)[-600:]
    return Outcome(mutant=mutant, caught_by="", seconds=seconds, trouble=trouble)


def _show(outcome: Outcome) -> None:
    verdict = "caught" if outcome.caught_by else "SURVIVES"
    print(
        f"{verdict:>8}  {outcome.mutant.name}  ({outcome.seconds:.0f} s)  {outcome.caught_by[:110]}",
        flush=True,
    )
    if outcome.trouble:
        print(outcome.trouble, file=sys.stderr, flush=True)


def _figures(outcome: Outcome) -> dict[str, object]:
    return {
        "mutant": outcome.mutant.name,
        "path": outcome.mutant.path,
        "caught_by": outcome.caught_by,
        "seconds": round(outcome.seconds, 1),
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
