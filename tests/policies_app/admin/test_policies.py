import pytest

from policies_app.models import Policy
from policies_app.services.publishing import publish_policy
from tests.factories import make_policy, make_rule


@pytest.fixture
def policy(fleet) -> Policy:
    return make_policy("auto", models=[fleet.small])


def page(client, policy, action="change"):
    return client.get(f"/admin/policies_app/policy/{policy.pk}/{action}/").content.decode()


def publish(client, policy, note=""):
    return client.post(f"/admin/policies_app/policy/{policy.pk}/publish/", {"note": note}, follow=True)


def test_a_policy_says_how_its_draft_stands_to_what_is_live(ops, policy, fleet):
    assert "never published" in page(ops, policy)

    publish(ops, policy)
    assert "as v1" in page(ops, policy)

    make_rule(policy, "extra", models=[fleet.mid], tasks=["code"], position=1)
    assert "differs from v1" in page(ops, policy)
    assert "differs from v1" in ops.get("/admin/policies_app/policy/").content.decode()


def test_publishing_shows_the_changes_and_takes_a_note(ops, policy, fleet):
    publish_policy(policy=policy, author_name="test")
    make_rule(policy, "code", models=[fleet.mid], tasks=["code"], position=1)

    assert "Rule code: added: when task is code, call mid." in page(ops, policy, "publish")
    publish(ops, policy, note="code goes to mid")

    version = Policy.objects.get(name="auto").live_version
    assert (version.number, version.note) == (2, "code goes to mid")
    assert version.author_name.startswith("ops-")


def test_a_draft_that_does_not_verify_is_not_published_and_the_page_says_which_rule_and_why(
    ops, policy, fleet
):
    make_rule(
        policy,
        "pricey",
        models=[fleet.small, fleet.frontier],
        tasks=["x"],
        position=1,
        allow_dearer_fallback=False,
    )

    confirmation = page(ops, policy, "publish")
    answer = publish(ops, policy)

    assert "cannot be published" in confirmation
    assert "“frontier” can cost more than “small”, the first step of rule “pricey”" in confirmation
    assert 'name="note"' not in confirmation
    assert "Not published." in answer.content.decode()
    assert Policy.objects.get(name="auto").live_version is None


def test_rolling_back_compares_before_it_acts(ops, policy, fleet):
    first = publish_policy(policy=policy, author_name="test")
    make_rule(policy, "code", models=[fleet.mid], tasks=["code"], position=1)
    publish_policy(policy=policy, author_name="test")
    address = f"/admin/policies_app/policy/{policy.pk}/roll-back/"

    comparison = ops.get(address, {"to": first.pk}).content.decode()
    ops.post(address, {"to": first.pk, "note": "code was bad"})

    assert "Rule code: removed" in comparison
    live = Policy.objects.get(name="auto").live_version
    assert (live.number, live.rolled_back_to, live.document) == (3, first, first.document)


def test_a_version_of_another_policy_is_no_choice(ops, policy, fleet):
    other = publish_policy(policy=make_policy("other", models=[fleet.mid]), author_name="test")
    address = f"/admin/policies_app/policy/{policy.pk}/roll-back/"

    ops.post(address, {"to": other.pk})

    assert Policy.objects.get(name="auto").live_version is None


def test_rules_are_dragged_into_order_and_the_default_stays_last(ops, policy, fleet):
    first = make_rule(policy, "first", models=[fleet.small], tasks=["a"], position=1)
    second = make_rule(policy, "second", models=[fleet.small], tasks=["b"], position=2)
    default = policy.rules.get(is_default=True)
    form = {"name": "auto", "enabled": "on", "rules-TOTAL_FORMS": 3, "rules-INITIAL_FORMS": 3}
    for index, (rule, position) in enumerate([(first, 9), (second, 5), (default, 0)]):
        form |= {
            f"rules-{index}-{name}": value
            for name, value in {
                "id": rule.pk,
                "policy": policy.pk,
                "position": position,
                "enabled": "on",
            }.items()
        }

    answer = ops.post(f"/admin/policies_app/policy/{policy.pk}/change/", form)

    assert answer.status_code == 302
    assert [rule.name for rule in policy.rules.order_by("position")] == ["second", "first", "default"]


def test_a_draft_leaves_as_yaml_and_comes_back(ops, policy, fleet):
    exported = ops.get(f"/admin/policies_app/policy/{policy.pk}/export/")
    text = exported.content.decode().replace("model: small", "model: mid")

    answer = ops.post("/admin/policies_app/policy/import/", {"text": text}, follow=True)

    assert exported["Content-Disposition"] == 'attachment; filename="auto.yaml"'
    assert "The draft of auto is what the file says." in answer.content.decode()
    assert policy.rules.get().steps.get().model == fleet.mid


@pytest.mark.parametrize("text", ["{", "name: auto", "a: &a [*a]", "\0"])
def test_a_file_that_is_no_policy_is_refused_in_words(ops, policy, text):
    answer = ops.post("/admin/policies_app/policy/import/", {"text": text})

    assert answer.status_code == 200
    assert answer.context["form"].errors["text"]


def test_a_version_shows_what_it_changed(ops, policy, fleet):
    publish_policy(policy=policy, author_name="test")
    make_rule(policy, "code", models=[fleet.mid], tasks=["code"], position=1)
    second = publish_policy(policy=policy, author_name="test", note="now with code")

    shown = ops.get(f"/admin/policies_app/policyversion/{second.pk}/change/").content.decode()

    assert "Rule code: added" in shown
    assert "now with code" in shown


def test_a_draft_that_contradicts_itself_still_has_a_page(ops, policy, fleet):
    rule = make_rule(policy, "odd", models=[fleet.small], position=1)
    type(rule).objects.filter(pk=rule.pk).update(tags=["no equals sign"])

    assert "not of the form key=value" in page(ops, policy)
    assert "not of the form key=value" in page(ops, policy, "publish")
    assert "not of the form key=value" in ops.get("/admin/policies_app/rule/").content.decode()


def test_the_page_shows_what_each_rule_can_take_at_most(ops, fleet):
    policy = make_policy("auto", models=[fleet.small])
    make_rule(
        policy,
        "racing",
        models=[fleet.small, fleet.mid],
        strategy="parallel",
        deadline_ms=7_500,
        max_cost_nanos=50_000_000,
    )

    answer = ops.get(f"/admin/policies_app/policy/{policy.pk}/change/")

    by_rule = {worst["rule"]: worst for worst in answer.context["worst_cases"]}
    assert by_rule["racing"] == {"rule": "racing", "attempts": 2, "seconds": "7.5", "cost": "$0.05"}
    assert "7.5" in answer.content.decode()


def test_the_name_of_what_is_no_policy_is_reserved(ops, errors_of):
    errors = errors_of(ops.post("/admin/policies_app/policy/add/", {"name": "direct", "enabled": "on"}))

    assert "reserved" in errors["name"][0]
