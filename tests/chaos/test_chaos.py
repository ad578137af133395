"""The short form of `make chaos`: the same parts on a PostgreSQL that may be killed, a few seconds each."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 280
"""It takes 40 seconds on an idle machine."""
Bars = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def bars(tmp_path_factory: pytest.TempPathFactory) -> Bars:
    """Every bar of one run of all parts, by its name."""
    folder = tmp_path_factory.mktemp("chaos")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.chaos", "--short", "--results", str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    report = folder / "chaos.json"
    assert report.exists(), done.stderr[-4_000:]
    document = json.loads(report.read_text(encoding="utf-8"))
    return {bar["name"]: bar for bar in document["bars"]}


def missed(bars: Bars, *, names: tuple[str, ...], count: int) -> dict[str, float]:
    """Those of the bars that do not hold; what counts milliseconds or seconds may take ten times as long on a busy machine."""
    concerned = {name: bar for name, bar in bars.items() if any(part in name for part in names)}
    assert len(concerned) == count
    return {
        name: bar["figure"]
        for name, bar in concerned.items()
        if bar["figure"] > bar["at_most"] * (10 if bar["unit"] in {"ms", "s"} else 1)
    }


@pytest.mark.processes
@pytest.mark.timeout(300)
def test_budgets_hold_to_the_nano_dollar_while_processes_are_killed(bars: Bars) -> None:
    names = ("limit", "reserved", "booked", "budget", "refusals that")

    assert missed(bars, names=names, count=7) == {}


@pytest.mark.processes
@pytest.mark.timeout(300)
def test_nothing_acknowledged_is_lost_when_web_postgres_celery_and_redis_are_killed(bars: Bars) -> None:
    names = ("acknowledged", "vendor without a row, everything", "hanging by")

    assert missed(bars, names=names, count=4) == {}


@pytest.mark.processes
@pytest.mark.timeout(300)
def test_nothing_is_admitted_after_the_save_of_a_kill_switch_under_load(bars: Bars) -> None:
    assert missed(bars, names=("after the save", "arrived", "kills under"), count=3) == {}


@pytest.mark.processes
@pytest.mark.timeout(300)
def test_a_database_that_is_away_makes_refusals_and_no_unlogged_calls(bars: Bars) -> None:
    assert missed(bars, names=("database frozen", "database killed"), count=14) == {}
