import pytest

from policies_app.models import AuditEntry, Rule
from tests.factories import make_policy, make_rule


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
        "steps-TOTAL_FORMS": len(steps),
        "steps-INITIAL_FORMS": len(steps),
    }
    for index, step in enumerate(steps):
        form |= {
            f"steps-{index}-id": step.pk,
            f"steps-{index}-rule": rule.pk,
            f"steps-{index}-position": step.position,
            f"steps-{index}-model": step.model_id,
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

    [formset] = answer.context["inline_admin_formsets"]
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
