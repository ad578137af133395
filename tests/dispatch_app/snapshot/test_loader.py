import pytest
from django.db import connection

from dispatch_app.execution.ports import NO_CREDENTIAL
from dispatch_app.providers.adapter import adapter_of, embedder_of
from dispatch_app.snapshot.loader import SnapshotLoader, load_snapshot
from policies_app.models import (
    Credential,
    Judge,
    JudgeVersion,
    Model,
    Policy,
    PolicyVersion,
    QualityScore,
    Rule,
    Tenant,
)
from policies_app.routing.codes import BudgetScope, KillScope, Pick, Strategy, Tier, WireFormat
from policies_app.routing.validators import JudgeReference
from policies_app.services.credentials import set_provider_secret
from policies_app.services.kill_switches import current_epoch, lift_kill_switch, throw_kill_switch
from policies_app.services.publishing import publish_policy
from tests.factories import (
    make_budget,
    make_fleet,
    make_key,
    make_model,
    make_policy,
    make_provider,
    make_published_policy,
    make_rule,
    make_tenant,
)

pytestmark = pytest.mark.django_db(transaction=True)


def publish_rubbish(policy):
    version = PolicyVersion.objects.create(
        policy=policy,
        number=99,
        document={"schema_version": 1, "name": policy.name, "rules": "rubbish"},
        content_hash="x",
        schema_version=1,
        author_name="psql",
    )
    policy.live_version = version
    policy.save()


def test_the_published_version_is_served_and_the_draft_is_kept_apart():
    fleet = make_fleet()
    policy = make_published_policy("auto", models=[fleet.small])
    make_rule(policy, "code", models=[fleet.frontier], tasks=["code"])

    snapshot = load_snapshot()

    live, draft = snapshot.policies["auto"].compiled, snapshot.drafts["auto"].compiled
    assert ([rule.name for rule in live.rules], live.version) == (["default"], 1)
    assert [rule.name for rule in draft.rules] == ["code", "default"]


def test_neither_an_unpublished_nor_a_disabled_policy_is_served():
    fleet = make_fleet()
    make_policy("unpublished", models=[fleet.small])
    make_published_policy("off", models=[fleet.small], enabled=False)

    snapshot = load_snapshot()

    assert snapshot.policies == {}
    assert set(snapshot.drafts) == {"unpublished", "off"}


def test_a_snapshot_says_of_which_epoch_it_is():
    make_tenant()

    assert load_snapshot().epoch == current_epoch()


def test_a_version_that_cannot_be_read_leaves_the_last_good_one_and_the_other_policies(caplog):
    fleet = make_fleet()
    policy = make_published_policy("auto", models=[fleet.small])
    loader = SnapshotLoader()
    loader.load()
    publish_rubbish(policy)
    make_published_policy("other", models=[fleet.mid])

    snapshot = loader.load()

    assert snapshot.policies["auto"].compiled.version == 1
    assert "other" in snapshot.policies
    assert "version 1 stays" in caplog.text


def test_a_policy_whose_only_version_cannot_be_read_is_left_out(caplog):
    publish_rubbish(make_policy("auto"))
    make_published_policy("other", models=[make_fleet().mid])

    assert set(load_snapshot().policies) == {"other"}
    assert "not served" in caplog.text


def test_a_draft_that_no_document_can_state_is_left_out():
    fleet = make_fleet()
    policy = make_published_policy("auto", models=[fleet.small])
    make_rule(policy, "odd", models=[fleet.small], tags=["not a pair"])

    snapshot = load_snapshot()

    assert "auto" in snapshot.policies
    assert "auto" not in snapshot.drafts


@pytest.mark.parametrize(
    "edit",
    [
        lambda rule: Rule.objects.filter(pk=rule.pk).update(deadline_ms=1),
        lambda rule: Rule.objects.filter(pk=rule.pk).update(enabled=False),
        lambda rule: rule.delete(),
        lambda rule: rule.steps.first().delete(),
        lambda rule: rule.steps.update(max_output_tokens=5),
        lambda rule: rule.tenants.clear(),
        lambda rule: Tenant.objects.update(name="renamed"),
        lambda rule: Model.objects.filter(name="mid").update(name="renamed"),
        lambda rule: Model.objects.filter(name="frontier").update(name="renamed"),
        lambda rule: Policy.objects.update(baseline_model=None),
        lambda rule: Policy.objects.update(name="renamed"),
    ],
)
def test_every_edit_of_a_draft_is_seen_by_a_loader_that_has_read_it_before(edit):
    fleet = make_fleet()
    policy = make_policy("auto", models=[fleet.small], baseline_model=fleet.frontier)
    rule = make_rule(policy, "code", models=[fleet.mid, fleet.small], tenants=[make_tenant("acme")])
    loader = SnapshotLoader()
    loader.load()

    edit(rule)

    assert loader.load().drafts == load_snapshot().drafts


def test_what_was_not_edited_is_not_read_again(django_assert_max_num_queries):
    make_published_policy("auto", models=[make_fleet().small])
    loader = SnapshotLoader()
    loader.load()
    connection.ensure_connection()

    with django_assert_max_num_queries(20) as queries:
        loader.load()

    assert not any('FROM "policies_app_step"' in query["sql"] for query in queries.captured_queries)
    assert not any(
        '"policies_app_policyversion"."document"' in query["sql"] for query in queries.captured_queries
    )


def test_a_kept_version_follows_the_catalogue():
    fleet = make_fleet()
    make_published_policy("auto", models=[fleet.small, fleet.mid])
    loader = SnapshotLoader()
    loader.load()
    fleet.small.enabled = False
    fleet.small.save()

    (rule,) = loader.load().policies["auto"].compiled.rules

    assert [step.target and step.target.model.enabled for step in rule.steps] == [False, True]


def test_the_formats_of_all_providers_are_imported_before_a_request_needs_them():
    make_provider("bedrock", wire_format=WireFormat.BEDROCK_CONVERSE)
    make_provider("anthropic", wire_format=WireFormat.ANTHROPIC_MESSAGES)
    adapter_of.cache_clear()
    embedder_of.cache_clear()

    load_snapshot()

    imported = adapter_of.cache_info().currsize, embedder_of.cache_info().currsize
    for wire_format in (WireFormat.BEDROCK_CONVERSE, WireFormat.ANTHROPIC_MESSAGES):
        adapter_of(wire_format)
    embedder_of(WireFormat.BEDROCK_CONVERSE)
    assert imported == (adapter_of.cache_info().currsize, embedder_of.cache_info().currsize) == (2, 1)


def test_the_models_of_a_disabled_provider_are_disabled():
    model = make_model(provider=make_provider(enabled=False))

    assert not load_snapshot().catalogue[model.name].enabled


def test_a_key_comes_with_its_tenant_and_the_enabled_budgets():
    tenant = make_tenant("acme", time_zone="Europe/Berlin")
    budget = make_budget(tenant, scope=BudgetScope.END_USER, limit_nanos=5)
    make_budget(tenant, enabled=False)
    policy = make_policy()
    issued = make_key(tenant, policies=[policy])

    key = load_snapshot().keys[issued.row.public_id]

    assert key.tenant.zone.key == "Europe/Berlin"
    assert [served.id for served in key.tenant.budgets] == [budget.pk]
    assert key.policies == {policy.name}
    assert key.secret_hmac == bytes(issued.row.secret_hmac)


def test_a_budget_comes_with_its_tag_its_month_and_its_steps_down():
    tenant = make_tenant("acme")
    make_budget(
        tenant,
        scope=BudgetScope.TAG,
        tag="project=a=b",
        month_begins_on=15,
        mid_from_pct=70,
        small_from_pct=None,
        shrink_to_tokens=9,
    )

    key = make_key(tenant).row

    (served,) = load_snapshot().keys[key.public_id].tenant.budgets

    assert (served.tag, served.month_begins_on, served.shrink_to_tokens) == (("project", "a=b"), 15, 9)
    assert [(step.from_pct, step.highest_tier) for step in served.steps] == [(70, Tier.MID)]


def test_a_key_without_chosen_policies_may_use_all():
    issued = make_key()

    assert load_snapshot().keys[issued.row.public_id].policies is None


def test_a_tenant_with_an_unknown_zone_does_not_take_the_others_down(caplog):
    issued = make_key(make_tenant(time_zone="UTC"))
    Tenant.objects.update(time_zone="Mars/Olympus")

    assert load_snapshot().keys[issued.row.public_id].tenant.zone.key == "UTC"
    assert "Mars/Olympus" in caplog.text


def secrets_of(provider, snapshot):
    return [served.secret for served in snapshot.providers[provider.pk]]


def names_of(provider, snapshot):
    return [served.credential.name for served in snapshot.providers[provider.pk]]


def test_a_sealed_secret_is_opened_and_shows_in_no_repr():
    provider = make_provider()
    credential = Credential.objects.create(provider=provider, label="main")
    set_provider_secret(credential=credential, secret="sk-secret-1234", author_name="ops")

    snapshot = load_snapshot()

    assert secrets_of(provider, snapshot) == ["sk-secret-1234"]
    assert "sk-secret" not in repr(snapshot)


def test_a_secret_can_stay_in_the_environment(monkeypatch):
    provider = make_provider()
    Credential.objects.create(provider=provider, label="main", environment_variable="VENDOR_KEY")
    monkeypatch.setenv("VENDOR_KEY", "from-outside")

    assert secrets_of(provider, load_snapshot()) == ["from-outside"]
    assert names_of(provider, load_snapshot()) == ["main …side"]


def test_a_variable_that_is_not_set_takes_its_credential_out_of_service(caplog):
    provider = make_provider("vendor")
    Credential.objects.create(provider=provider, label="outside", environment_variable="NOT_SET_ANYWHERE")
    credential = Credential.objects.create(provider=provider, label="main")
    set_provider_secret(credential=credential, secret="sk-main-1234", author_name="ops")

    assert secrets_of(provider, load_snapshot()) == ["sk-main-1234"]
    assert "vendor/outside is out of service: the variable NOT_SET_ANYWHERE is not set" in caplog.text


@pytest.mark.parametrize("enabled", [True, False])
def test_a_provider_that_asks_for_a_secret_is_never_called_without(enabled):
    provider = make_provider()
    Credential.objects.create(
        provider=provider, label="outside", environment_variable="NOT_SET_ANYWHERE", enabled=enabled
    )

    [served] = load_snapshot().providers[provider.pk]

    assert (served.secret, served.lacks_secret) == (None, True)
    assert served.credential.name == (
        "outside (the variable NOT_SET_ANYWHERE is not set)" if enabled else "outside (disabled)"
    )


def test_a_credential_is_called_otherwise_when_its_secret_is_another():
    provider = make_provider("vendor")
    credential = Credential.objects.create(provider=provider, label="main")
    names = []
    for secret in ("sk-first-aaaa", "sk-other-bbbb"):
        set_provider_secret(credential=credential, secret=secret, author_name="ada")
        names += names_of(provider, load_snapshot())

    assert names == ["main …aaaa", "main …bbbb"]


def test_a_provider_without_credentials_is_called_without():
    provider = make_provider()

    [served] = load_snapshot().providers[provider.pk]

    assert (served.credential, served.secret, served.lacks_secret) == (NO_CREDENTIAL, None, False)


def test_a_model_says_how_it_goes_cold():
    make_model("warming", cold_after_s=300, cold_penalty_ms=4_000)
    make_model("ready")

    catalogue = load_snapshot().catalogue

    assert (catalogue["warming"].cold_after_s, catalogue["warming"].cold_penalty_ms) == (300, 4_000)
    assert catalogue["ready"].cold_after_s is None


def test_judges_are_served_in_every_version_that_can_be_read(caplog):
    judge = Judge.objects.create(name="helpfulness")
    model = make_model("rater")
    for number, verdicts in enumerate(([], ["good=1", "poor=0.25"], ["rubbish"]), start=1):
        JudgeVersion.objects.create(
            judge=judge, number=number, model=model, rubric="Rate it.", verdicts=verdicts, author_name="ada"
        )

    judges = load_snapshot().judges

    assert set(judges) == {("helpfulness", 1), ("helpfulness", 2)}
    assert judges["helpfulness", 1].model == "rater"
    assert judges["helpfulness", 2].verdicts == {"good": 1.0, "poor": 0.25}
    assert "Version 3 of judge helpfulness" in caplog.text


def test_a_policy_is_compiled_with_its_judges():
    fleet = make_fleet()
    judge = Judge.objects.create(name="helpfulness")
    JudgeVersion.objects.create(judge=judge, number=1, model=fleet.mid, rubric="Rate it.", author_name="ada")
    policy = make_policy("auto")
    make_rule(
        policy,
        "default",
        models=[fleet.small, fleet.frontier],
        is_default=True,
        strategy=Strategy.PARALLEL,
        pick=Pick.JUDGE,
        judge=judge,
    )

    (rule,) = load_snapshot().drafts["auto"].compiled.rules

    (compiled,) = rule.judges
    assert (compiled.reference, compiled.model.name) == (JudgeReference(name="helpfulness", version=1), "mid")


def test_quality_scores_are_served_by_model_and_task():
    model = make_model("small")
    QualityScore.objects.create(model=model, task="triage", score=0.8)

    assert load_snapshot().quality == {("small", "triage"): 0.8}


def test_a_provider_says_where_it_runs():
    provider = make_provider(region="eu-west")

    assert [served.region for served in load_snapshot().providers[provider.pk]] == ["eu-west"]


def test_every_enabled_credential_is_served_with_its_weight():
    provider = make_provider()
    for label, weight, enabled in (("off", 1, False), ("first", 1, True), ("second", 3, True)):
        credential = Credential.objects.create(provider=provider, label=label, weight=weight, enabled=enabled)
        set_provider_secret(credential=credential, secret=f"secret-{label}", author_name="ops")

    snapshot = load_snapshot()

    assert secrets_of(provider, snapshot) == ["secret-first", "secret-second"]
    assert [served.credential.weight for served in snapshot.providers[provider.pk]] == [1, 3]
    second = snapshot.find_provider(provider.pk, credential.pk)
    assert second is not None
    assert second.secret == "secret-second"
    assert snapshot.find_provider(provider.pk, 0) is None


def test_a_secret_that_does_not_open_costs_only_its_provider(caplog):
    provider, other = make_provider(), make_provider()
    Credential.objects.create(provider=provider, label="main", sealed_secret=b"\x01garbage")
    credential = Credential.objects.create(provider=other, label="main")
    set_provider_secret(credential=credential, secret="fine", author_name="ops")

    providers = load_snapshot().providers

    assert [served.lacks_secret for served in providers[provider.pk]] == [True]
    assert [served.secret for served in providers[other.pk]] == ["fine"]
    assert "cannot be opened" in caplog.text


def test_active_switches_only_are_served_by_the_names_that_routing_compares():
    fleet = make_fleet()
    policy = make_published_policy("auto", models=[fleet.small])
    lifted = throw_kill_switch(scope=KillScope.EVERYTHING, reason="drill", author_name="ops")
    lift_kill_switch(switch=lifted, author_name="ops")
    throw_kill_switch(
        scope=KillScope.RULE, policy=policy, rule_name="default", reason="wrong", author_name="ops"
    )

    (switch,) = load_snapshot().kill_switches

    assert (switch.scope, switch.policy, switch.rule) == (KillScope.RULE, "auto", "default")


def test_the_number_of_queries_does_not_grow_with_the_number_of_policies(django_assert_max_num_queries):
    fleet = make_fleet()
    for number in range(5):
        policy = make_policy(models=[fleet.small])
        make_rule(policy, f"rule-{number}", models=[fleet.mid, fleet.small], tenants=[make_tenant()])
        publish_policy(policy=policy, author_name="ops")
        make_key()
    connection.ensure_connection()

    with django_assert_max_num_queries(26):
        load_snapshot()
