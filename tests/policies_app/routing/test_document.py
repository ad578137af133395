import copy
import json
from typing import Any

import pytest
from hypothesis import given, settings

from policies_app.routing.codes import BudgetScope, Capability
from policies_app.routing.conditions import (
    BudgetUsed,
    EndUserIs,
    InputTokensBetween,
    NeedsAll,
    TagsMatch,
    TaskIs,
)
from policies_app.routing.document import (
    DocumentError,
    PolicyDocument,
    StepDocument,
    canonical_json,
    content_hash,
    dump,
    load,
)
from tests.policies_app.routing.builders import a_default, a_policy, a_route, a_rule
from tests.policies_app.routing.strategies import documents

DOCUMENT = a_policy(
    a_rule(
        "support",
        TaskIs(tasks=("support", "chat")),
        TagsMatch(tags={"plan": ("pro", "team"), "area": ("eu",)}),
        InputTokensBetween(minimum=10),
        NeedsAll(capabilities=(Capability.VISION,)),
        BudgetUsed(scope=BudgetScope.TENANT, used_pct_min=80),
        route=a_route(StepDocument(model="small", timeout_ms=500, max_output_tokens=64), "mid"),
    ),
    baseline_model="frontier",
)


def test_a_document_survives_json() -> None:
    assert load(json.loads(json.dumps(dump(DOCUMENT)))) == DOCUMENT


def test_the_canonical_form_is_one_compact_line_with_sorted_keys() -> None:
    text = canonical_json(a_policy()).decode()

    assert text == json.dumps(json.loads(text), sort_keys=True, separators=(",", ":"))


def test_the_hash_ignores_the_order_of_keys_and_of_values_that_mean_a_set() -> None:
    shuffled = a_policy(
        a_rule("r", TagsMatch(tags={"b": ("2",), "a": ("1", "0")}), TaskIs(tasks=("y", "x", "x")))
    )
    ordered = a_policy(a_rule("r", TagsMatch(tags={"a": ("0", "1"), "b": ("2",)}), TaskIs(tasks=("x", "y"))))

    assert content_hash(shuffled) == content_hash(ordered)


def test_the_hash_changes_with_the_order_of_steps() -> None:
    one, other = (a_policy(a_default(a_route(*models))) for models in (("small", "mid"), ("mid", "small")))

    assert content_hash(one) != content_hash(other)


def test_what_a_document_leaves_out_has_its_default() -> None:
    document = load(
        {
            "schema_version": 1,
            "name": "auto",
            "rules": [
                {
                    "name": "default",
                    "is_default": True,
                    "route": {"strategy": "single", "steps": [{"model": "m"}]},
                }
            ],
        }
    )

    assert document.baseline_model is None
    assert (document.rules[0].route.deadline_ms, document.rules[0].route.max_attempts) == (60_000, 3)
    assert document.rules[0].route.steps == (StepDocument(model="m"),)


OF_VERSION_1 = {
    "route": {"strategy", "steps", "deadline_ms", "max_attempts", "allow_dearer_fallback"},
    "step": {"model", "timeout_ms", "max_output_tokens"},
    "condition": {
        "task",
        "tenant",
        "api_key",
        "end_user",
        "tags",
        "input_tokens",
        "output_tokens",
        "needs",
        "budget_used",
    },
}


@settings(max_examples=50, deadline=None)
@given(documents())
def test_a_document_of_the_first_schema_loads_and_means_the_same(document: PolicyDocument) -> None:
    written: Any = dump(document) | {"schema_version": 1}
    for rule in written["rules"]:
        rule["conditions"] = [
            stated for stated in rule["conditions"] if stated["kind"] in OF_VERSION_1["condition"]
        ]
        rule["route"] = _only(rule["route"], OF_VERSION_1["route"])
        rule["route"]["steps"] = [_only(step, OF_VERSION_1["step"]) for step in rule["route"]["steps"]]

    read = load(written)

    again: Any = dump(read)
    assert again["schema_version"] == 2
    assert load(again) == read
    for rule, first in zip(again["rules"], written["rules"], strict=True):
        assert rule["conditions"] == first["conditions"]
        assert _only(rule["route"], OF_VERSION_1["route"] - {"steps"}) == _only(
            first["route"], OF_VERSION_1["route"] - {"steps"}
        )
        added = _only(rule["route"], set(rule["route"]) - OF_VERSION_1["route"])
        assert added == {
            "max_cost_nanos": None,
            "fall_back_on_long_context": False,
            "continue_broken_streams": False,
            "drain_ms": None,
            "when_none_passes": "return_last",
            "pick": "first_valid",
            "judge": None,
            "patience_ms": None,
            "hedge_delay_ms": None,
        }
        for step, first_step in zip(rule["route"]["steps"], first["route"]["steps"], strict=True):
            assert step == first_step | {"weight": 1, "validators": []}


def _only(mapping: Any, keys: set[str]) -> Any:
    return {key: value for key, value in mapping.items() if key in keys}


def _set(*path: Any, to: Any) -> Any:
    def change(mapping: Any) -> None:
        *parents, last = path
        for key in parents:
            mapping = mapping[key]
        mapping[last] = to

    return change


RULE = ("rules", 0)
CONDITION = (*RULE, "conditions")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (_set("schema_version", to=3), "schema_version: must be one of 1, 2"),
        (_set("schema_version", to=True), "schema_version: must be one of 1, 2"),
        (_set("rules", to={}), "rules: must be a list"),
        (_set("name", to=3), "name: expected str, got int"),
        (_set("name", to=" "), "name: must be a text of 1 to 300 characters"),
        (_set("name", to="a\0b"), "name: must not contain NUL or a lone surrogate"),
        (_set("name", to="a\ud800b"), "name: must not contain NUL or a lone surrogate"),
        (_set("colour", to="red"), "colour: is not known; known are name, baseline_model, rules"),
        (_set(*RULE, to=[]), "rules[0]: must be a mapping"),
        (_set(*RULE, "name", to="default"), "rules: the name “default” stands on 2 rules"),
        (_set(*CONDITION, 0, "kind", to="weather"), "rules[0].conditions[0].kind: must be one of task, tenant"),
        (_set(*CONDITION, 0, "kind", to=[]), "rules[0].conditions[0].kind: must be one of task"),
        (_set(*CONDITION, 0, "tasks", to=["a", 1]), "rules[0].conditions[0].tasks[1]: expected str, got int"),
        (_set(*CONDITION, 0, "tasks", to=[]), "rules[0].conditions[0].tasks: give at least one value"),
        (_set(*CONDITION, 0, "tasks", to="a"), "rules[0].conditions[0].tasks: must be a list"),
        (_set(*CONDITION, 0, "tenants", to=["a"]), "rules[0].conditions[0].tenants: is not known; known are tasks"),
        (_set(*CONDITION, 1, "tags", to={"plan": [1]}), "rules[0].conditions[1].tags: expected str, got int"),
        (_set(*CONDITION, 1, "tags", to={"plan": []}), "rules[0].conditions[1].tags.plan: give at least one value"),
        (_set(*CONDITION, 2, "minimum", to=-1), "rules[0].conditions[2].minimum: must be an integer from 0 to"),
        (_set(*CONDITION, 2, "maximum", to=3), "rules[0].conditions[2].minimum: 10 exceeds the maximum of 3"),
        (_set(*CONDITION, 2, "minimum", to=True), "rules[0].conditions[2].minimum: expected int | null, got bool"),
        (_set(*CONDITION, 3, "capabilities", to=["smell"]), "capabilities[0]: must be one of tools, json_schema"),
        (_set(*CONDITION, 4, "used_pct_min", to=0), "rules[0].conditions[4].used_pct_min: must be an integer from 1"),
        (_set(*RULE, "route", "strategy", to="prayer"), "rules[0].route.strategy: must be one of single, failover"),
        (_set(*RULE, "route", "deadline_ms", to=0), "rules[0].route.deadline_ms: must be an integer from 1"),
        (_set(*RULE, "route", "max_attempts", to=2**31), "rules[0].route.max_attempts: must be an integer from 1"),
        (_set(*RULE, "route", "allow_dearer_fallback", to=1), "allow_dearer_fallback: expected bool, got int"),
        (_set(*RULE, "route", "steps", 0, "timeout_ms", to=1.5), "rules[0].route.steps[0].timeout_ms: expected int"),
        (lambda document: document.pop("name"), "name: is missing"),
        (lambda document: document["rules"][0].pop("route"), "rules[0].route: is missing"),
        (lambda document: document["rules"].pop(), "rules: exactly one rule must be the default"),
        (lambda document: document["rules"].reverse(), "rules: exactly one rule must be the default, and it must be"),
        (_set("rules", 1, "conditions", to=[{"kind": "task", "tasks": ["a"]}]), "rules[1].conditions: the default rule"),
    ],
)  # fmt: skip
def test_a_broken_document_is_refused_by_place_and_problem(change: Any, complaint: str) -> None:
    broken = copy.deepcopy(dump(DOCUMENT))
    change(broken)

    with pytest.raises(DocumentError) as refused:
        load(broken)

    assert complaint in str(refused.value)


@pytest.mark.parametrize("value", [None, [], "auto", 3])
def test_what_is_no_mapping_is_no_document(value: Any) -> None:
    with pytest.raises(DocumentError, match="must be a mapping"):
        load(value)


def test_an_unfinished_draft_can_be_built_and_dumped_but_not_loaded() -> None:
    draft = PolicyDocument(name="draft", rules=(a_rule("only", EndUserIs(end_users=("ann",))),))

    with pytest.raises(DocumentError, match="default"):
        load(dump(draft))
