"""docs/policies.md has everything that a policy can say, and its examples are read as they stand."""

import re
from enum import StrEnum
from itertools import chain
from pathlib import Path

import pytest
import yaml

from policies_app.routing.codes import (
    DropReason,
    FindingCode,
    LogprobMeasure,
    Pick,
    StickyBy,
    Strategy,
    WhenNonePasses,
)
from policies_app.routing.conditions import CONDITION_KINDS, Condition
from policies_app.routing.document import RouteDocument, load
from policies_app.routing.reading import read_value
from policies_app.routing.validators import VALIDATOR_KINDS, Validator

TEXT = (Path(__file__).parents[2] / "docs" / "policies.md").read_text()
EXAMPLES = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)]


def examples_of(key: str) -> list[object]:
    return [example[key] for example in EXAMPLES if key in example]


def test_every_condition_has_an_example_that_is_read():
    conditions = [read_value(stated, Condition, "") for stated in chain(*examples_of("conditions"))]

    assert {condition.kind for condition in conditions} == set(CONDITION_KINDS)


def test_every_validator_has_an_example_that_is_read():
    validators = [read_value(stated, Validator, "") for stated in chain(*examples_of("validators"))]

    assert {validator.kind for validator in validators} == set(VALIDATOR_KINDS)


def test_every_strategy_but_single_has_an_example_that_is_read():
    routes = [read_value(stated, RouteDocument, "") for stated in examples_of("route")]

    assert {route.strategy for route in routes} == set(Strategy) - {Strategy.SINGLE}


def test_the_whole_policy_is_read():
    (policy,) = (example for example in EXAMPLES if "schema_version" in example)

    assert load(policy).name == "auto"


@pytest.mark.parametrize(
    "codes",
    [
        Strategy,
        Pick,
        WhenNonePasses,
        LogprobMeasure,
        StickyBy,
        DropReason,
        FindingCode,
        CONDITION_KINDS,
        VALIDATOR_KINDS,
    ],
)
def test_every_word_of_a_vocabulary_is_there(codes: type[StrEnum]):
    assert [code for code in codes if f"`{code}`" not in TEXT] == []
