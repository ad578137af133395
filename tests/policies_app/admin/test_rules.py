import pytest

from policies_app.admin.wording import conditions_of
from policies_app.models import AuditEntry, Rule
from policies_app.services.drafts import rule_document
from tests.factories import make_judge, make_policy, make_rule


@pytest.fixture
def rule(fleet) -> Rule:
    policy = make_policy("auto", models=[fleet.small])
    return make_rule(policy, "code", models=[fleet.frontier, fleet.mid], tasks=["code"])


def form_of(rule: Rule, **fields) -> dict[str, object]:
    """What the browser sends for a rule and its steps as they are, with some fields changed."""
    steps = list(rule.steps.order_by("position"))
    form = {
        "policy": rule.policy_id,
        "name": rule.name,
        "enabled": "on",
        "tasks": "\n".join(rule.tasks),
        "strategy": rule.strategy,
        "deadline_ms": rule.deadline_ms,
        "max_attempts": rule.max_attempts,
        "allow_dearer_fallback": "on",
        "when_none_passes": rule.when_none_passes,
        "pick": rule.pick,
        "steps-TOTAL_FORMS": len(steps),
        "steps-INITIAL_FORMS": len(steps),
        "conditions-TOTAL_FORMS": 0,
        "conditions-INITIAL_FORMS": 0,
        "validators-TOTAL_FORMS": 0,
        "validators-INITIAL_FORMS": 0,
    }
    for index, step in enumerate(steps):
        form |= {
            f"steps-{index}-id": step.pk,
            f"steps-{index}-rule": rule.pk,
            f"steps-{index}-position": step.position,
            f"steps-{index}-model": step.model_id,
            f"steps-{index}-weight": step.weight,
        }
    return form | {name.replace("__", "-"): value for name, value in fields.items()}


def save(client, rule, **fields):
    return client.post(f"/admin/policies_app/rule/{rule.pk}/change/", form_of(rule, **fields))


def models_of(rule) -> list[str]:
    return [step.model.name for step in rule.steps.order_by("position")]


def test_steps_change_places(ops, rule):
    answer = save(ops, rule, steps__0__position=2, steps__1__position=1)

    assert answer.status_code == 302
    assert models_of(rule) == ["mid", "frontier"]


def test_a_new_step_goes_last(ops, rule, fleet):
    answer = save(
        ops,
        rule,
        steps__TOTAL_FORMS=3,
        steps__2__rule=rule.pk,
        steps__2__position="",
        steps__2__weight="1",
        steps__2__model=fleet.small.pk,
    )

    assert answer.status_code == 302
    assert models_of(rule) == ["frontier", "mid", "small"]
    assert [step.position for step in rule.steps.order_by("position")] == [1, 2, 3]


def test_a_step_is_removed_and_the_others_close_up(ops, rule):
    save(ops, rule, steps__0__DELETE="on")

    assert [(step.position, step.model.name) for step in rule.steps.all()] == [(1, "mid")]


@pytest.mark.parametrize(
    ("fields", "wrong_field", "message"),
    [
        ({"tags": "plan"}, "tags", "“plan” is not of the form key=value."),
        (
            {"input_tokens_min": 10, "input_tokens_max": 9},
            "input_tokens_max",
            "The most (9) is below the least (10).",
        ),
        ({"output_tokens_min": 2, "output_tokens_max": 1}, "output_tokens_max", "below the least"),
        ({"tasks": "nul\0"}, "tasks", "Null characters are not allowed."),
        ({"budget_scope": "tenant"}, "budget_used_pct_min", "Say from which percentage on"),
        ({"budget_used_pct_min": 90}, "budget_scope", "Say which budget"),
        ({"is_default": "on"}, "tasks", "The default rule takes whatever is left, so it has no conditions."),
        ({"max_attempts": 99}, "max_attempts", "less than or equal to 10"),
        ({"name": "with space"}, "name", "valid “slug”"),
    ],
)
def test_a_wrong_field_is_named(ops, rule, errors_of, fields, wrong_field, message):  # noqa: PLR0917
    errors = errors_of(save(ops, rule, **fields))

    assert message in errors[wrong_field][0]


def test_a_strategy_that_takes_one_step_refuses_two(ops, rule):
    answer = save(ops, rule, strategy="single")

    [formset] = [
        inline for inline in answer.context["inline_admin_formsets"] if inline.formset.prefix == "steps"
    ]
    assert formset.formset.non_form_errors() == [
        "The strategy single takes one step; this rule has 2. Remove some, or choose failover."
    ]


def test_a_new_rule_goes_before_the_default(ops, rule, fleet):
    ops.post(
        "/admin/policies_app/rule/add/",
        form_of(rule, name="late", steps__INITIAL_FORMS=0, steps__TOTAL_FORMS=0),
    )

    rules = rule.policy.rules.order_by("position")
    assert [(row.position, row.name) for row in rules] == [(1, "code"), (2, "late"), (3, "default")]


def test_an_edit_stands_in_the_audit_trail(ops, rule):
    save(ops, rule, tasks="code\nreview")

    entry = AuditEntry.objects.get(subject_type="rule")
    assert (entry.before["tasks"], entry.after["tasks"]) == (["code"], ["code", "review"])


def test_the_list_shows_a_rule_in_words(ops, rule):
    page = ops.get("/admin/policies_app/rule/").content.decode()

    assert "when task is code" in page
    assert "failover over frontier, then mid" in page


def with_row(formset: str, **fields) -> dict[str, object]:
    """One new row of a formset, as the browser sends it: with the fields of every kind, most of them empty."""
    row = {f"{formset}__0__{name}": value for name, value in fields.items()}
    return {f"{formset}__TOTAL_FORMS": 1} | row


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (
            {"kind": "latency", "model": "MODEL", "measure": "total", "percentile": 95, "above_ms": 900},
            "p95 of the total time of small over 300 s is above 900 ms",
        ),
        ({"kind": "share", "name": "canary", "percent": "2.5"}, "the request is in the 2.5 % share canary"),
        (
            {"kind": "time", "weekdays": ["monday"], "starts": "09:00", "ends": "17:00", "zone": "UTC"},
            "it is 09:00 to 17:00 in UTC, monday",
        ),
        ({"kind": "health", "models": ["small", "mid"]}, "model one of mid, small is degraded"),
        ({"kind": "budget_forecast", "scope": "tenant"}, "on course to be used to at least 100 %"),
        ({"kind": "quality", "model": "MODEL", "score_min": "0.8"}, "the eval score of small"),
        ({"kind": "api_key", "api_keys": "k1\nk2"}, "API key is one of k1, k2"),
    ],
    ids=lambda value: value.get("kind") if isinstance(value, dict) else "",
)
def test_a_condition_of_any_kind_is_added_without_json(ops, rule, fleet, fields, words):
    fields = {name: fleet.small.pk if value == "MODEL" else value for name, value in fields.items()}

    answer = save(ops, rule, **with_row("conditions", **fields))

    assert answer.status_code == 302
    assert words in conditions_of(Rule.objects.get(pk=rule.pk))


@pytest.mark.parametrize(
    ("formset", "fields", "message"),
    [
        ("conditions", {"kind": "share", "name": "canary", "percent": "0"}, "Must be a number above 0"),
        ("conditions", {"kind": "latency", "measure": "total", "percentile": 95}, "Is missing."),
        ("conditions", {"kind": "health"}, "Give at least one model or provider."),
        (
            "conditions",
            {"kind": "time", "weekdays": ["monday"], "starts": "9", "ends": "17:00", "zone": "UTC"},
            "Must be a time of day as HH:MM.",
        ),
        (
            "validators",
            {"kind": "logprob", "measure": "mean", "at_least": "80"},
            "Must be a number from 0 to 1",
        ),
        ("validators", {"kind": "agreement", "samples": 9, "at_least": 2}, "At most 5."),
        ("validators", {"kind": "judge", "at_least": "0.5"}, "Is missing."),
        ("validators", {"kind": "json_schema", "schema": '{"type": 5}'}, "This is no JSON Schema"),
        ("validators", {"kind": "json_schema", "schema": '{"const": "\\u0000"}'}, "cannot be stored"),
    ],
)
def test_a_row_that_publishing_would_refuse_is_refused_at_its_field(ops, rule, formset, fields, message):
    answer = save(ops, rule, **with_row(formset, **fields))

    assert answer.status_code == 200
    assert message in answer.content.decode()
    assert not rule.conditions.exists()
    assert not rule.validators.exists()


def test_what_another_kind_left_in_the_form_is_not_kept(ops, rule):
    save(
        ops,
        rule,
        **with_row("conditions", kind="share", name="canary", percent="5", starts="09:00", tasks="x"),
    )

    (row,) = rule.conditions.all()
    assert (row.starts, row.tasks, row.percent) == ("", [], 5.0)


def test_a_cascade_with_validators_is_built_in_one_form(ops, rule, fleet):
    judge = make_judge("helpfulness", model=fleet.mid)
    answer = save(
        ops,
        rule,
        strategy="cascade",
        when_none_passes="fail",
        max_cost_nanos="0.05",
        validators__TOTAL_FORMS=2,
        validators__0__kind="logprob",
        validators__0__measure="mean",
        validators__0__at_least="0.8",
        validators__1__kind="judge",
        validators__1__judge=judge.pk,
        validators__1__at_least="0.7",
        validators__1__step=rule.steps.get(position=1).pk,
    )

    assert answer.status_code == 302
    route = rule_document(Rule.objects.get(pk=rule.pk)).route
    assert route.max_cost_nanos == 50_000_000
    assert [[validator.kind for validator in step.validators] for step in route.steps] == [
        ["logprob", "judge"],
        ["logprob"],
    ]


def test_the_default_rule_takes_no_condition(ops, rule):
    rule.policy.rules.filter(is_default=True).delete()

    share = with_row("conditions", kind="share", name="x", percent="5")
    answer = save(ops, rule, is_default="on", tasks="", **share)

    assert answer.status_code == 200
    assert "so it has no conditions" in answer.content.decode()
    assert not rule.conditions.exists()
