"""The list of mutants is about the code as it is."""

from collections import Counter
from pathlib import Path

import pytest

from tests.mutants.planted import MUTANTS, Mutant

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_what_a_mutant_replaces_is_there_once(mutant: Mutant) -> None:
    assert (ROOT / mutant.path).read_text(encoding="utf-8").count(mutant.search) == 1
    assert mutant.search != mutant.replace


def test_mutants_are_told_apart_by_name() -> None:
    assert max(Counter(mutant.name for mutant in MUTANTS).values()) == 1
