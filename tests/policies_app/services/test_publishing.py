import threading

import pytest
from django.db import IntegrityError, InternalError, connection, transaction

from policies_app.models import AuditEntry, PolicyVersion
from policies_app.routing.codes import BudgetScope, Capability, FindingCode, Strategy
from policies_app.routing.conditions import BudgetUsed, TagsMatch, TaskIs
from policies_app.routing.document import load
from policies_app.services.publishing import (
    DraftNotReadableError,
    NothingToPublishError,
    PolicyNotPublishableError,
    VersionOfAnotherPolicyError,
    draft_document,
    live_document,
    publish_policy,
    roll_back_policy,
)
from tests.factories import make_fleet, make_model, make_policy, make_published_policy, make_rule, make_tenant

pytestmark = pytest.mark.django_db


@pytest.fixture
def fleet():
    return make_fleet()


def test_a_draft_becomes_a_document_with_the_default_rule_last(fleet):
    policy = make_policy("auto", models=[fleet.mid], baseline_model=fleet.frontier)
    policy.rules.update(position=0)
    make_rule(policy, "second", models=[fleet.small], position=20)
    make_rule(policy, "first", models=[fleet.small], position=10)
    make_rule(policy, "off", models=[fleet.small], position=5, enabled=False)

    document = draft_document(policy)

    assert [rule.name for rule in document.rules] == ["first", "second", "default"]
    assert document.baseline_model == "frontier"


def test_every_column_of_a_rule_becomes_a_condition(fleet):
    policy = make_policy("auto", models=[fleet.mid])
    make_rule(
        policy,
        "all",
        models=[fleet.small, fleet.mid],
        tasks=["code", "math"],
        tenants=[make_tenant("acme")],
        end_users=["mia"],
        tags=["plan=gold", "plan=silver", "eu=yes"],
        input_tokens_min=10,
        output_tokens_max=20,
        needs=[Capability.TOOLS],
        budget_scope=BudgetScope.TENANT,
        budget_used_pct_min=80,
        strategy=Strategy.FAILOVER,
    )

    rule = draft_document(policy).rules[0]

    assert [condition.kind for condition in rule.conditions] == [
        "task",
        "tenant",
        "end_user",
        "tags",
        "input_tokens",
        "output_tokens",
        "needs",
        "budget_used",
    ]
    assert TaskIs(tasks=("code", "math")) in rule.conditions
    assert TagsMatch(tags={"plan": ("gold", "silver"), "eu": ("yes",)}) in rule.conditions
    assert BudgetUsed(scope=BudgetScope.TENANT, used_pct_min=80) in rule.conditions
    assert [step.model for step in rule.route.steps] == ["small", "mid"]


def test_publishing_makes_the_draft_live_and_numbers_it(fleet):
    policy = make_policy("auto", models=[fleet.small])

    first = publish_policy(policy=policy, author_name="mia", note="first")
    make_rule(policy, "code", models=[fleet.mid], tasks=["code"])
    second = publish_policy(policy=policy, author_name="max", note="second")

    policy.refresh_from_db()
    assert policy.live_version == second
    assert [first.number, second.number] == [1, 2]
    assert load(second.document) == draft_document(policy)
    assert (second.author_name, second.note) == ("max", "second")


def test_a_draft_that_does_not_verify_is_refused_with_what_is_wrong(fleet):
    policy = make_published_policy("auto", models=[fleet.small])
    make_rule(policy, "unpriced", models=[make_model("gratis", input_nanos=None)], tasks=["x"])

    with pytest.raises(PolicyNotPublishableError) as refused:
        publish_policy(policy=policy, author_name="mia")

    assert [(finding.rule, finding.code) for finding in refused.value.findings] == [
        ("unpriced", FindingCode.NO_PRICE)
    ]
    assert "gratis" in str(refused.value)
    policy.refresh_from_db()
    assert policy.live_version.number == 1


def test_a_policy_without_a_default_rule_is_refused(fleet):
    policy = make_policy("auto")
    make_rule(policy, "only", models=[fleet.small], tasks=["x"])

    with pytest.raises(PolicyNotPublishableError):
        publish_policy(policy=policy, author_name="mia")


def test_a_tag_without_a_value_is_refused_in_words(fleet):
    policy = make_policy("auto", models=[fleet.small])
    make_rule(policy, "odd", models=[fleet.small], tags=["gold"])

    with pytest.raises(DraftNotReadableError, match=r"rule odd.*key=value"):
        publish_policy(policy=policy, author_name="mia")


def test_publishing_what_is_live_already_makes_no_version(fleet):
    policy = make_published_policy("auto", models=[fleet.small])

    with pytest.raises(NothingToPublishError, match="Version 1"):
        publish_policy(policy=policy, author_name="mia")

    assert policy.versions.count() == 1


def test_rolling_back_publishes_the_old_document_under_a_new_number(fleet):
    policy = make_published_policy("auto", models=[fleet.small])
    first = policy.live_version
    make_rule(policy, "code", models=[fleet.mid], tasks=["code"])
    publish_policy(policy=policy, author_name="mia")
    draft = draft_document(policy)

    version = roll_back_policy(policy=policy, to=first, author_name="max")

    policy.refresh_from_db()
    assert policy.live_version == version
    assert (version.number, version.rolled_back_to) == (3, first)
    assert live_document(policy) == load(first.document)
    assert version.note == "Rolled back to version 1."
    assert draft_document(policy) == draft


def test_rolling_back_to_what_is_live_is_refused(fleet):
    policy = make_published_policy("auto", models=[fleet.small])

    with pytest.raises(NothingToPublishError):
        roll_back_policy(policy=policy, to=policy.live_version, author_name="max")


def test_a_policy_takes_no_version_of_another(fleet):
    policy = make_published_policy("auto", models=[fleet.small])
    other = make_published_policy("other", models=[fleet.mid])

    with pytest.raises(VersionOfAnotherPolicyError):
        roll_back_policy(policy=policy, to=other.live_version, author_name="max")


def test_an_old_version_whose_model_is_gone_is_not_brought_back(fleet):
    policy = make_published_policy("auto", models=[fleet.small])
    first = policy.live_version
    policy.rules.get().steps.update(model=fleet.mid)
    publish_policy(policy=policy, author_name="mia")
    fleet.small.prices.all().delete()
    fleet.small.delete()

    with pytest.raises(PolicyNotPublishableError, match="small"):
        roll_back_policy(policy=policy, to=first, author_name="max")


def test_a_version_can_be_neither_changed_nor_deleted(fleet):
    version = make_published_policy("auto", models=[fleet.small]).live_version

    for change in (
        lambda: PolicyVersion.objects.filter(pk=version.pk).update(note="nicer"),
        lambda: PolicyVersion.objects.filter(pk=version.pk)._raw_delete("default"),
    ):
        with pytest.raises((InternalError, IntegrityError), match="immutable"), transaction.atomic():
            change()


def test_publishing_and_rolling_back_are_in_the_audit_trail(fleet):
    policy = make_published_policy("auto", models=[fleet.small])
    first = policy.live_version
    make_rule(policy, "code", models=[fleet.mid], tasks=["code"])
    publish_policy(policy=policy, author_name="mia", note="code")
    roll_back_policy(policy=policy, to=first, author_name="max", note="too dear")

    trail = [
        (entry.author_name, entry.action, entry.after["version"], entry.reason)
        for entry in AuditEntry.objects.filter(subject_type="policy").order_by("pk")
    ]

    assert trail == [
        ("factory", "published", 1, "first"),
        ("mia", "published", 2, "code"),
        ("max", "rolled_back", 3, "too dear"),
    ]


@pytest.mark.django_db(transaction=True)
def test_two_who_publish_at_once_make_one_version_and_one_refusal(fleet):
    policy = make_policy("auto", models=[fleet.small])
    outcomes = []

    def publish():
        try:
            outcomes.append(publish_policy(policy=policy, author_name="mia").number)
        except NothingToPublishError:
            outcomes.append("nothing to publish")
        finally:
            connection.close()

    threads = [threading.Thread(target=publish) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(outcomes, key=str) == [1, *["nothing to publish"] * 3]
