import pytest

from policies_app.models import AuditEntry, Policy
from tests.factories import make_policy, make_tenant


def default_rule(*models, **fields):
    return {"name": "default", "is_default": True, "steps": [{"model": name} for name in models]} | fields


def create(client, *, rules, **fields):
    return client.post("/api/v1/policies/", {"name": "auto", "rules": rules} | fields, format="json")


def test_a_policy_is_written_with_its_rules_and_steps_in_order(ops, fleet):
    make_tenant("acme")
    gold = {
        "name": "gold",
        "tenants": ["acme"],
        "tags": ["plan=gold"],
        "needs": ["tools"],
        "allow_dearer_fallback": True,
        "steps": [{"model": "mid", "timeout_ms": 5000}, {"model": "frontier"}],
    }

    created = create(ops, rules=[default_rule("small"), gold])

    assert created.status_code == 201
    rules = ops.get("/api/v1/policies/auto/").json()["rules"]
    assert [rule["name"] for rule in rules] == [
        "gold",
        "default",
    ]  # the default stands last, wherever it was sent
    assert [step["model"] for step in rules[0]["steps"]] == ["mid", "frontier"]
    assert rules[0]["tenants"] == ["acme"]
    assert created.json()["live_version"] is None


def test_sending_rules_replaces_the_draft_and_leaves_what_is_live(ops, fleet):
    create(ops, rules=[default_rule("small")])
    ops.post("/api/v1/policies/auto/publish/", {"note": "first"}, format="json")

    ops.patch("/api/v1/policies/auto/", {"rules": [default_rule("mid")]}, format="json")

    policy = Policy.objects.get(name="auto")
    assert policy.rules.get().steps.get().model == fleet.mid
    assert policy.live_version.document["rules"][0]["route"]["steps"][0]["model"] == "small"
    changes = ops.get("/api/v1/policies/auto/diff/").json()["changes"]
    assert [change["rule"] for change in changes] == ["default"]
    assert "mid" in changes[0]["text"]
    assert "small" in changes[0]["text"]


def test_a_new_draft_leaves_what_it_was_in_the_audit_trail(ops, fleet):
    create(ops, rules=[default_rule("small")])

    ops.patch("/api/v1/policies/auto/", {"rules": [default_rule("mid")]}, format="json")

    entry = AuditEntry.objects.filter(subject_type="policy", action="changed").get()
    assert entry.before["rules"][0]["steps"][0]["model"] == "small"
    assert entry.after["rules"][0]["steps"][0]["model"] == "mid"


def test_leaving_rules_out_of_an_update_leaves_them_alone(ops, fleet):
    create(ops, rules=[default_rule("small")])

    ops.patch("/api/v1/policies/auto/", {"description": "for all"}, format="json")

    assert Policy.objects.get(name="auto").rules.count() == 1


def test_publishing_answers_the_new_version(ops, fleet):
    create(ops, rules=[default_rule("small")])

    answer = ops.post("/api/v1/policies/auto/publish/", {"note": "first"}, format="json")

    assert answer.status_code == 201
    assert (answer.json()["number"], answer.json()["note"]) == (1, "first")
    assert ops.get("/api/v1/policies/auto/").json()["live_version"] == 1


def test_a_draft_that_does_not_verify_is_not_published_and_the_answer_names_the_rule(ops, fleet):
    create(ops, rules=[default_rule("small", "frontier")])

    answer = ops.post("/api/v1/policies/auto/publish/", format="json")

    assert answer.status_code == 409
    finding = answer.json()["findings"][0]
    assert (finding["severity"], finding["code"], finding["rule"]) == ("error", "dearer_fallback", "default")
    assert "frontier" in answer.json()["detail"]
    assert Policy.objects.get(name="auto").live_version is None


def test_verify_tells_findings_and_worst_cases(ops, fleet):
    create(ops, rules=[{"name": "lonely", "steps": [{"model": "small"}]}])

    verdict = ops.get("/api/v1/policies/auto/verify/").json()

    assert not verdict["is_publishable"]
    assert [finding["code"] for finding in verdict["findings"]] == ["no_default"]
    assert verdict["worst_cases"][0]["rule"] == "lonely"
    assert verdict["worst_cases"][0]["cost_nanos"] > 0


def test_publishing_what_is_live_already_is_a_conflict(ops, fleet):
    create(ops, rules=[default_rule("small")])
    ops.post("/api/v1/policies/auto/publish/", format="json")

    assert ops.post("/api/v1/policies/auto/publish/", format="json").status_code == 409


def test_rolling_back_publishes_the_old_document_under_a_new_number(ops, fleet):
    create(ops, rules=[default_rule("small")])
    ops.post("/api/v1/policies/auto/publish/", format="json")
    ops.patch("/api/v1/policies/auto/", {"rules": [default_rule("mid")]}, format="json")
    ops.post("/api/v1/policies/auto/publish/", format="json")

    answer = ops.post("/api/v1/policies/auto/roll-back/", {"to": 1, "note": "mid was bad"}, format="json")

    assert answer.status_code == 201
    assert (answer.json()["number"], answer.json()["rolled_back_to"]) == (3, 1)
    versions = ops.get("/api/v1/policies/auto/versions/").json()["results"]
    assert [version["number"] for version in versions] == [3, 2, 1]
    assert versions[0]["document"] == versions[2]["document"]


def test_rolling_back_to_a_version_that_there_is_not_is_refused_at_its_field(ops, fleet):
    create(ops, rules=[default_rule("small")])

    answer = ops.post("/api/v1/policies/auto/roll-back/", {"to": 7}, format="json")

    assert (answer.status_code, list(answer.json())) == (400, ["to"])


@pytest.mark.parametrize(
    ("rule", "wrong_field"),
    [
        ({"tags": ["plan"]}, "tags"),
        ({"input_tokens_min": 10, "input_tokens_max": 9}, "input_tokens_max"),
        ({"input_tokens_min": -1}, "input_tokens_min"),
        ({"input_tokens_max": 10**12}, "input_tokens_max"),
        ({"budget_scope": "tenant"}, "budget_used_pct_min"),
        ({"budget_used_pct_min": 90}, "budget_scope"),
        ({"strategy": "single", "steps": [{"model": "small"}, {"model": "mid"}]}, "steps"),
        ({"strategy": "guess"}, "strategy"),
        ({"steps": [{"model": "no-such"}]}, "steps"),
        ({"steps": [{"model": "small", "timeout_ms": 0}]}, "steps"),
        ({"steps": "small"}, "steps"),
        ({"is_default": True, "tasks": ["code"]}, "tasks"),
        ({"needs": ["telepathy"]}, "needs"),
        ({"tasks": ["nul\0"]}, "tasks"),
        ({"max_attempts": 11}, "max_attempts"),
        ({"unknown": 1}, "unknown"),
    ],
)
def test_a_wrong_rule_is_refused_at_its_field(ops, fleet, rule, wrong_field):
    answer = create(ops, rules=[{"name": "odd", "steps": [{"model": "small"}]} | rule])

    assert answer.status_code == 400
    assert wrong_field in answer.json()["rules"]["0"]
    assert not Policy.objects.exists()


@pytest.mark.parametrize(
    "rules",
    [
        [default_rule("small"), default_rule("mid") | {"name": "other"}],  # two defaults
        [{"name": "twin", "steps": []}, {"name": "twin", "steps": []}],  # one name twice
        {"name": "no list"},
        ["no rule"],
    ],
)
def test_wrong_rules_are_refused_as_a_whole(ops, fleet, rules):
    answer = create(ops, rules=rules)

    assert (answer.status_code, list(answer.json())) == (400, ["rules"])


def test_finance_may_look_at_a_policy_and_neither_change_nor_publish_it(finance, fleet):
    make_policy("auto", models=[fleet.small])

    assert finance.get("/api/v1/policies/auto/verify/").status_code == 200
    assert finance.patch("/api/v1/policies/auto/", {"enabled": False}, format="json").status_code == 403
    assert finance.post("/api/v1/policies/auto/publish/", format="json").status_code == 403
    assert finance.post("/api/v1/policies/auto/roll-back/", {"to": 1}, format="json").status_code == 403


def test_reading_policies_takes_as_many_queries_for_ten_as_for_one(ops, fleet, django_assert_max_num_queries):
    for _ in range(10):
        make_policy(models=[fleet.small, fleet.mid])

    with django_assert_max_num_queries(12):
        answer = ops.get("/api/v1/policies/")

    assert len(answer.json()["results"]) == 10


def test_a_draft_that_contradicts_itself_is_a_conflict_that_names_the_rule(ops, fleet):
    create(ops, rules=[default_rule("small"), {"name": "odd", "steps": [{"model": "small"}]}])
    Policy.objects.get(name="auto").rules.filter(name="odd").update(tags=["no equals sign"])

    for action in (ops.get("/api/v1/policies/auto/diff/"), ops.post("/api/v1/policies/auto/publish/")):
        assert action.status_code == 409
        assert "odd" in action.json()["detail"]


def test_the_name_of_what_is_no_policy_is_reserved(ops, fleet):
    answer = create(ops, name="direct", rules=[default_rule("small")])

    assert (answer.status_code, list(answer.json())) == (400, ["name"])
