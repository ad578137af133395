"""The short form of `make chaos`: the same parts on a PostgreSQL that may be killed, a few seconds each."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 500
"""It takes half a minute where nothing else runs."""
SLOWNESS = 10
"""How much longer than promised a busy machine may take for what counts milliseconds or seconds."""

Bars = dict[str, dict[str, Any]]

pytestmark = [pytest.mark.long, pytest.mark.processes, pytest.mark.timeout(PATIENCE_S + 60)]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Bars, str]:
    """Every bar of one run of all parts by its name, and how its output ended."""
    folder = tmp_path_factory.mktemp("chaos")
    output = folder / "output"
    with output.open("wb") as said:
        subprocess.run(
            [sys.executable, "-W", "ignore", "-m", "tests.chaos", "--short", "--results", str(folder)],
            cwd=ROOT,
            stdout=said,
            stderr=subprocess.STDOUT,
            timeout=PATIENCE_S,
            check=False,
        )
    tail = output.read_text(encoding="utf-8", errors="replace")[-4_000:]
    report = folder / "chaos.json"
    assert report.exists(), tail
    document = json.loads(report.read_text(encoding="utf-8"))
    return {bar["name"]: bar for bar in document["bars"]}, tail


def assert_held(run: tuple[Bars, str], *, names: tuple[str, ...], count: int) -> None:
    bars, tail = run
    concerned = {name: bar for name, bar in bars.items() if any(part in name for part in names)}
    missed = {
        name: bar["figure"]
        for name, bar in concerned.items()
        if bar["figure"] > bar["at_most"] * (SLOWNESS if bar["unit"] in {"ms", "s"} else 1)
    }
    assert (len(concerned), missed) == (count, {}), tail


def test_budgets_hold_to_the_nano_dollar_while_processes_are_killed(run: tuple[Bars, str]) -> None:
    assert_held(run, names=("limit", "reserved", "booked", "budget", "refusals that"), count=7)


def test_nothing_acknowledged_is_lost_when_web_postgres_celery_and_redis_are_killed(
    run: tuple[Bars, str],
) -> None:
    assert_held(run, names=("acknowledged", "vendor without a row, everything", "hanging by"), count=4)


def test_nothing_is_admitted_after_the_save_of_a_kill_switch_under_load(run: tuple[Bars, str]) -> None:
    assert_held(run, names=("after the save", "arrived", "kills under"), count=3)


def test_a_hard_kill_cuts_the_streams_in_flight(run: tuple[Bars, str]) -> None:
    assert_held(run, names=("stream cut", "streams over"), count=2)


def test_a_database_that_is_away_makes_refusals_and_no_unlogged_calls(run: tuple[Bars, str]) -> None:
    assert_held(run, names=("database frozen", "database killed"), count=14)


def test_one_idempotency_key_is_one_call_of_the_vendor_though_a_process_is_killed(
    run: tuple[Bars, str],
) -> None:
    assert_held(run, names=("idempotency key",), count=3)


def test_a_hang_up_at_any_byte_closes_the_vendors_stream_and_books_no_less_than_the_vendor_bills(
    run: tuple[Bars, str],
) -> None:
    assert_held(run, names=("after a hang-up",), count=9)
