"""Two thousand worlds in which much goes wrong, and in none of them what must never happen."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation.many import replay_command, run_many
from tests.simulation.mutants import MUTANTS, seeds_until_found
from tests.simulation.simulation import simulate

pytestmark = pytest.mark.long

ROOT = Path(__file__).resolve().parents[2]
SEEDS = 2_000
FIRST_SEED = int(os.environ.get("SIMULATION_FIRST_SEED", "0"))


@pytest.mark.timeout(240)
def test_whatever_goes_wrong_nothing_happens_that_must_not() -> None:
    *_, tally = run_many(FIRST_SEED, SEEDS)

    assert tally.seeds == SEEDS
    assert not tally.unfaithful
    shown = [f"{problem}\n  {replay_command(seed)}" for seed, problem in sorted(tally.problems.items())]
    assert not shown, "\n".join(shown)
    for strategy in ("single", "failover", "cascade", "parallel", "hedged"):
        assert tally.counts[strategy] > SEEDS / 2
    assert tally.counts["answers"] > SEEDS


def test_a_seed_replays_the_same_whatever_the_hash_seed() -> None:
    digests = [_digests(hash_seed) for hash_seed in ("1", "2")]

    assert digests[0] == digests[1]
    assert digests[0] == [f"{seed} {simulate(seed).digest}" for seed in range(12)]
    assert len(set(digests[0])) == 12


@pytest.mark.parametrize("name", MUTANTS)
def test_a_planted_bug_is_found(name: str) -> None:
    assert seeds_until_found(name) is not None


def test_a_seed_that_breaks_something_shows_itself(capsys: pytest.CaptureFixture[str]) -> None:
    from tests.simulation.__main__ import replay

    with MUTANTS["losers are free"]():
        seed = next(number for number in range(200) if simulate(number).problem)
        assert replay(seed) == 1

    said = capsys.readouterr().out
    assert "PROBLEM" in said
    assert f"seed {seed}: nonce-" in said
    assert replay_command(7).endswith("--replay 7")


def _digests(hash_seed: str) -> list[str]:
    command = [sys.executable, "-m", "tests.simulation", "--digests", "12"]
    environment = os.environ | {"PYTHONHASHSEED": hash_seed}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()
