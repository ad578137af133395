"""Every strategy, condition and validator by the API, and judges by versions."""

import json

import pytest

from policies_app.models import Judge, Policy
from policies_app.services.drafts import draft_document
from tests.factories import make_judge

LATENCY = {"kind": "latency", "model": "small", "measure": "total", "percentile": 95, "above_ms": 900}
SHARE = {"kind": "share", "name": "canary", "percent": 5}
RATED = {"kind": "judge", "judge": {"name": "helpfulness", "version": 1}, "at_least": 0.7}
SURE = {"kind": "logprob", "measure": "mean", "at_least": 0.8}


def cascade(**changes):
    return {
        "name": "canary",
        "conditions": [LATENCY, SHARE],
        "strategy": "cascade",
        "when_none_passes": "fail",
        "max_cost_nanos": 5_000_000,
        "steps": [{"model": "small", "validators": [SURE, RATED]}, {"model": "mid", "weight": 3}],
    } | changes


def create(client, *rules):
    default = {"name": "default", "is_default": True, "steps": [{"model": "small"}]}
    form = {"name": "auto", "rules": [*rules, default]}
    return client.post("/api/v1/policies/", form, format="json")


def test_a_rule_says_in_the_api_what_its_document_says(ops, fleet):
    make_judge("helpfulness", model=fleet.mid)

    created = create(ops, cascade())

    assert created.status_code == 201
    rule = ops.get("/api/v1/policies/auto/").json()["rules"][0]
    document = draft_document(Policy.objects.get()).rules[0]
    assert [condition["kind"] for condition in rule["conditions"]] == ["latency", "share"]
    assert rule["conditions"][0]["window_s"] == 300
    assert rule["steps"][0]["validators"] == [SURE, RATED]
    assert (rule["when_none_passes"], rule["max_cost_nanos"]) == ("fail", 5_000_000)
    assert document.route.steps[1].weight == 3
    assert len(document.conditions) == 2


def test_what_was_read_can_be_sent_back(ops, fleet):
    make_judge("helpfulness", model=fleet.mid)
    create(ops, cascade())
    before = ops.get("/api/v1/policies/auto/").json()["rules"]

    answer = ops.patch("/api/v1/policies/auto/", {"rules": before}, format="json")

    assert answer.status_code == 200
    assert ops.get("/api/v1/policies/auto/").json()["rules"] == before


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"conditions": [SHARE | {"percent": 0}]}, "percent: must be a number above 0"),
        ({"conditions": [{"kind": "prompt"}]}, "kind: must be one of"),
        ({"conditions": [LATENCY | {"model": "nimbus"}]}, "There is no model called nimbus."),
        (
            {"steps": [{"model": "small", "validators": [SURE | {"at_least": 2}]}]},
            "at_least: must be a number",
        ),
        ({"steps": [{"model": "small", "validators": [RATED]}]}, "There is no judge called helpfulness."),
        ({"strategy": "guess"}, "is not a valid choice"),
        ({"is_default": True}, "so it has no conditions"),
    ],
)
def test_what_no_document_can_say_is_refused(ops, fleet, changes, complaint):
    answer = create(ops, cascade(**changes))

    assert answer.status_code in {400, 409, 422}
    assert complaint in answer.content.decode()
    assert not Policy.objects.exists()


@pytest.mark.parametrize(
    ("schema", "complaint"),
    [
        ({"type": "anything"}, "This is no JSON Schema"),
        ({"const": "nul \0"}, "cannot be stored"),
        ({"const": "half a pair \ud800"}, "cannot be stored"),
    ],
)
def test_a_schema_that_no_answer_could_satisfy_is_refused(ops, fleet, schema, complaint):
    rule = cascade(steps=[{"model": "small", "validators": [{"kind": "json_schema", "schema": schema}]}])
    body = json.dumps({"name": "auto", "rules": [rule]})

    answer = ops.generic("POST", "/api/v1/policies/", body, content_type="application/json")

    assert answer.status_code == 400
    assert complaint in answer.content.decode()
    assert not Policy.objects.exists()


def test_a_judge_is_made_and_changed_by_versions(ops, fleet):
    ops.post("/api/v1/judges/", {"name": "helpfulness"}, format="json")
    first = {"model": "mid", "rubric": "Is it right?", "note": "first"}

    answers = [
        ops.post("/api/v1/judges/helpfulness/versions/", body, format="json")
        for body in (first, first, first | {"rubric": "Is it kind?"})
    ]

    assert [answer.status_code for answer in answers] == [201, 200, 201]
    assert [answer.json()["number"] for answer in answers] == [1, 1, 2]
    judge = ops.get("/api/v1/judges/helpfulness/").json()
    assert judge["newest_version"]["rubric"] == "Is it kind?"
    versions = ops.get("/api/v1/judges/helpfulness/versions/").json()["results"]
    assert [version["number"] for version in versions] == [2, 1]


def test_a_scale_that_makes_no_sense_is_refused(ops, fleet):
    ops.post("/api/v1/judges/", {"name": "helpfulness"}, format="json")
    body = {"model": "mid", "rubric": "?", "verdicts": ["good=9"]}

    answer = ops.post("/api/v1/judges/helpfulness/versions/", body, format="json")

    assert answer.status_code == 400
    assert not Judge.objects.get().versions.exists()


def test_a_quality_score_is_written_and_taken_back(ops, fleet):
    created = ops.post(
        "/api/v1/quality-scores/", {"model": "mid", "task": "code", "score": 0.8}, format="json"
    )

    assert created.status_code == 201
    (row,) = ops.get("/api/v1/quality-scores/?model=mid").json()["results"]
    assert ops.delete(f"/api/v1/quality-scores/{row['id']}/").status_code == 204


def test_finance_reads_and_changes_nothing(finance, fleet):
    make_judge("helpfulness", model=fleet.mid)

    assert finance.get("/api/v1/judges/helpfulness/").status_code == 200
    answer = finance.post(
        "/api/v1/judges/helpfulness/versions/", {"model": "mid", "rubric": "?"}, format="json"
    )
    assert answer.status_code == 403
