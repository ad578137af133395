"""The short form of `make chaos`: the same parts on a PostgreSQL that may be killed, a few seconds each."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 110


def run_part(name: str, folder: Path) -> dict[str, Any]:
    """Run one part in a process of its own; answer the bars by name."""
    done = subprocess.run(
        [
            sys.executable, "-W", "ignore", "-m", "tests.chaos", "--short", "--only", name,
            "--results", str(folder), "--name", name,
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )  # fmt: skip
    report = folder / f"{name}.json"
    assert report.exists(), done.stderr[-4_000:]
    document: dict[str, Any] = json.loads(report.read_text(encoding="utf-8"))
    return {bar["name"]: bar for bar in document["bars"]}


def missed(bars: dict[str, Any], *, timed: tuple[str, ...] = ()) -> dict[str, float]:
    """The bars that do not hold; what is `timed` may take ten times as long on a machine that is busy."""
    return {
        name: bar["figure"]
        for name, bar in bars.items()
        if bar["figure"] > bar["at_most"] * (10 if name.startswith(timed) else 1)
    }


@pytest.mark.processes
def test_budgets_hold_to_the_nano_dollar_while_processes_are_killed(tmp_path: Path) -> None:
    bars = run_part("budgets", tmp_path)

    assert len(bars) == 7
    assert missed(bars) == {}


@pytest.mark.processes
def test_nothing_acknowledged_is_lost_when_web_postgres_celery_and_redis_are_killed(tmp_path: Path) -> None:
    bars = run_part("acknowledged", tmp_path)

    assert len(bars) == 4
    assert missed(bars) == {}


@pytest.mark.processes
def test_nothing_is_admitted_after_the_save_of_a_kill_switch_under_load(tmp_path: Path) -> None:
    bars = run_part("kills", tmp_path)

    assert len(bars) >= 3
    assert missed(bars, timed=("last stream cut",)) == {}


@pytest.mark.processes
def test_a_database_that_is_away_makes_refusals_and_no_unlogged_calls(tmp_path: Path) -> None:
    bars = run_part("away", tmp_path)

    assert len(bars) == 12
    assert missed(bars, timed=("refusals, p99", "last refusal after")) == {}
