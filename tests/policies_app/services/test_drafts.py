"""Drafts as rows say exactly what documents say."""

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings

from policies_app.models import Condition, Policy, Validator
from policies_app.routing.codes import LogprobMeasure, Strategy
from policies_app.routing.conditions import ApiKeyIs, TaskIs
from policies_app.routing.document import DocumentError, PolicyDocument, RouteDocument, RuleDocument
from policies_app.routing.validators import JudgedAtLeast, JudgeReference, LogprobAtLeast, NotRefused
from policies_app.services.drafts import draft_document, read_draft_fingerprints, replace_draft
from tests.factories import make_fleet, make_judge, make_model, make_policy, make_rule, make_tenant
from tests.policies_app.routing.strategies import documents

pytestmark = pytest.mark.django_db

SURE = LogprobAtLeast(measure=LogprobMeasure.MEAN, at_least=0.8)


@pytest.fixture
def fleet():
    return make_fleet()


@pytest.fixture
def world(fleet):
    """All that generated documents name."""
    for name in ("spare", "gone"):
        make_model(name, provider=fleet.provider)
    for name in ("acme", "globex"):
        make_tenant(name)
    for name in ("helpfulness", "accuracy"):
        make_judge(name, model=fleet.mid, versions=2)
    return fleet


def as_drafts_say(document: PolicyDocument) -> PolicyDocument:
    """With judges at their newest versions, and each rule's conditions in one order."""
    return replace(document, rules=tuple(_rule(rule) for rule in document.rules))


def _rule(rule: RuleDocument) -> RuleDocument:
    return replace(rule, conditions=tuple(sorted(rule.conditions, key=repr)), route=_route(rule.route))


def _route(route: RouteDocument) -> RouteDocument:
    steps = tuple(
        replace(step, validators=tuple(_newest(validator) for validator in step.validators))
        for step in route.steps
    )
    return replace(route, steps=steps, judge=route.judge and replace(route.judge, version=2))


def _newest(validator):
    is_judged = isinstance(validator, JudgedAtLeast)
    return replace(validator, judge=replace(validator.judge, version=2)) if is_judged else validator


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(document=documents())
def test_every_document_survives_the_way_through_rows(world, document) -> None:
    Policy.objects.filter(name=document.name).delete()
    policy = Policy.objects.create(name=document.name)

    replace_draft(policy=policy, document=document)

    assert as_drafts_say(draft_document(policy)) == as_drafts_say(document)


def test_two_conditions_of_one_kind_both_stand(fleet):
    policy = make_policy("auto", models=[fleet.small])
    document = draft_document(policy)
    both = (TaskIs(tasks=("code", "chat")), TaskIs(tasks=("chat", "mail")), ApiKeyIs(api_keys=("k1",)))
    rule = replace(document.rules[0], name="both", is_default=False, conditions=both)

    replace_draft(policy=policy, document=replace(document, rules=(rule, document.rules[0])))

    assert draft_document(policy).rules[0].conditions == both


def test_a_validator_without_a_step_is_every_steps(fleet):
    policy = make_policy("auto")
    rule = make_rule(policy, "default", models=[fleet.small, fleet.mid], strategy=Strategy.CASCADE)
    Validator.objects.create(rule=rule, kind="not_refused")
    Validator.objects.create(
        rule=rule, step=rule.steps.get(position=1), kind="logprob", measure="mean", at_least=0.8
    )

    steps = draft_document(policy).rules[0].route.steps

    assert [step.validators for step in steps] == [(NotRefused(), SURE), (NotRefused(),)]


def test_a_draft_takes_the_newest_version_of_its_judge(fleet):
    policy = make_policy("auto")
    rule = make_rule(policy, "default", models=[fleet.small, fleet.mid], strategy=Strategy.CASCADE)
    judge = make_judge("helpfulness", model=fleet.mid)
    Validator.objects.create(rule=rule, kind="judge", judge=judge, at_least=0.5)
    before, fingerprint = draft_document(policy), read_draft_fingerprints()[policy.pk]

    judge.versions.create(number=2, model=fleet.mid, rubric="Better?", author_name="mia")

    after = draft_document(Policy.objects.get(pk=policy.pk))
    (validator,) = after.rules[0].route.steps[0].validators
    assert validator == JudgedAtLeast(judge=JudgeReference(name="helpfulness", version=2), at_least=0.5)
    assert after != before
    assert read_draft_fingerprints()[policy.pk] != fingerprint


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (
            lambda rule: Condition(rule=rule, kind="latency", measure="total", percentile=95, above_ms=9),
            "model",
        ),
        (lambda rule: Condition(rule=rule, kind="share", name="x", percent=101), "percent: must be a number"),
        (lambda rule: Condition(rule=rule, kind="time", starts="9"), "weekdays: is missing"),
        (lambda rule: Condition(rule=rule, kind="tags", tags=["x"]), "not of the form key=value"),
        (lambda rule: Validator(rule=rule, kind="agreement", samples=3, at_least=2.5), "at_least: expected"),
        (lambda rule: Validator(rule=rule, kind="logprob", at_least=0.5), "measure: is missing"),
    ],
)
def test_a_row_that_states_nonsense_is_named_with_its_rule_and_field(fleet, make, complaint):
    policy = make_policy("auto", models=[fleet.small])
    make(policy.rules.get()).save()

    with pytest.raises(DocumentError, match=f"rule default: .*{complaint}"):
        draft_document(policy)
