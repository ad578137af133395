"""Many seeds on all processors."""

import gc
import os
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from multiprocessing import get_context

from tests.simulation.simulation import simulate

CHUNK = 100
SEEDS_A_COLLECTION = 25


@dataclass(slots=True, kw_only=True)
class Tally:
    """What a number of seeds came to. `problems` has the seeds that broke something, with what that was."""

    seeds: int = 0
    problems: dict[int, str] = field(default_factory=dict)
    unfaithful: list[int] = field(default_factory=list)
    """Seeds that did not replay the same."""
    counts: Counter[str] = field(default_factory=Counter)

    def add(self, other: "Tally") -> None:
        self.seeds += other.seeds
        self.problems |= other.problems
        self.unfaithful += other.unfaithful
        self.counts += other.counts


def replay_command(seed: int) -> str:
    """How to see what happened in a seed."""
    return f".venv/bin/python -m tests.simulation --replay {seed}"


def run_seeds(first: int, count: int) -> Tally:
    """Run seeds one after the other, in this process; the first of them twice."""
    gc.collect()
    gc.freeze()
    tally = Tally(seeds=count)
    for seed in range(first, first + count):
        outcome = simulate(seed)
        if outcome.problem:
            tally.problems[seed] = outcome.problem
        if seed == first and simulate(seed).digest != outcome.digest:
            tally.unfaithful.append(seed)
        tally.counts.update(outcome.strategies)
        tally.counts.update(
            steps=outcome.steps,
            events=outcome.events,
            requests=outcome.visitors,
            answers=outcome.successes,
            calls=outcome.calls,
        )
        if seed % SEEDS_A_COLLECTION == 0:
            gc.collect()
    return tally


def run_many(first: int, count: int, *, workers: int | None = None) -> Iterator[Tally]:
    """Run seeds in as many processes as there are processors; yields what has come together so far."""
    total = Tally()
    chunks = [(start, min(CHUNK, first + count - start)) for start in range(first, first + count, CHUNK)]
    workers = workers or os.cpu_count() or 1
    with ProcessPoolExecutor(max_workers=workers, mp_context=get_context("spawn")) as pool:
        for done in as_completed([pool.submit(run_seeds, *chunk) for chunk in chunks]):
            total.add(done.result())
            yield total
