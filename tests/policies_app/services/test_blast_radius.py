"""What somebody is told before a switch is thrown."""

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from policies_app.models import KillSwitch
from policies_app.routing.codes import KillScope
from policies_app.services.blast_radius import RuleLoss, measure_blast_radius
from policies_app.services.kill_switches import throw_kill_switch
from tests.factories import Fleet, make_fleet, make_key, make_published_policy, make_rule, make_tenant

pytestmark = pytest.mark.django_db


def log(
    model: Any, *, tenant: int = 10**9, cost_nanos: int = 100, age: timedelta = timedelta(), **fields: Any
) -> None:
    """One dispatch of one attempt, as the ledger leaves it behind."""
    dispatch_id, at = uuid4(), timezone.now() - age
    values = {"policy_id": None, "rule": "", "end_user": "", "api_key_id": 10**9} | fields
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO dispatch (id, created_at, tenant_id, api_key_id, end_user, policy_id, rule, requested_model,"
            " cost_nanos) VALUES (%s, %s, %s, %s, %s, %s, %s, 'auto', %s)",
            [dispatch_id, at, tenant, values["api_key_id"], values["end_user"], values["policy_id"], values["rule"],
             cost_nanos],
        )  # fmt: skip
        cursor.execute(
            "INSERT INTO attempt (id, created_at, dispatch_id, dispatch_created_at, tenant_id, position, role, model_id,"
            " provider_id, price_id, reserved_nanos, expires_at, cost_nanos)"
            " VALUES (%s, %s, %s, %s, %s, 0, 'primary', %s, %s, 1, 0, %s, %s)",
            [uuid4(), at, dispatch_id, at, tenant, model.pk, model.provider_id, at, cost_nanos],
        )


def shares(**fields: Any) -> tuple[int, int, float, float]:
    radius = measure_blast_radius(KillSwitch(reason="drill", author_name="ops", **fields))
    return radius.dispatches, radius.of_dispatches, radius.dispatch_share_pct, radius.cost_share_pct


@pytest.fixture
def fleet() -> Fleet:
    return make_fleet()


def test_each_scope_is_measured_by_the_last_hour_s_log(fleet: Fleet) -> None:
    policy = make_published_policy("auto", models=[fleet.small])
    tenant = make_tenant()
    key = make_key(tenant).row
    log(fleet.small, tenant=tenant.pk, api_key_id=key.pk, end_user="mia", cost_nanos=300)
    log(fleet.mid, tenant=tenant.pk, policy_id=policy.pk, rule="default")
    log(fleet.mid, policy_id=policy.pk, rule="support")
    log(fleet.frontier, end_user="mia", cost_nanos=500)
    log(fleet.small, tenant=tenant.pk, age=timedelta(minutes=61))

    assert shares(scope=KillScope.EVERYTHING) == (4, 4, 100.0, 100.0)
    assert shares(scope=KillScope.PROVIDER, provider=fleet.provider) == (4, 4, 100.0, 100.0)
    assert shares(scope=KillScope.MODEL, model=fleet.small) == (1, 4, 25.0, 30.0)
    assert shares(scope=KillScope.POLICY, policy=policy) == (2, 4, 50.0, 20.0)
    assert shares(scope=KillScope.RULE, policy=policy, rule_name="support") == (1, 4, 25.0, 10.0)
    assert shares(scope=KillScope.TENANT, tenant=tenant) == (2, 4, 50.0, 40.0)
    assert shares(scope=KillScope.API_KEY, api_key=key) == (1, 4, 25.0, 30.0)
    assert shares(scope=KillScope.END_USER, tenant=tenant, end_user="mia") == (1, 4, 25.0, 30.0)


def test_without_traffic_nothing_is_concerned(fleet: Fleet) -> None:
    assert shares(scope=KillScope.MODEL, model=fleet.small) == (0, 0, 0.0, 0.0)


def losses(**fields: Any) -> list[tuple[str, str, tuple[str, ...], tuple[str, ...]]]:
    radius = measure_blast_radius(KillSwitch(reason="drill", author_name="ops", **fields))
    return [(loss.policy, loss.rule, loss.lost, loss.left) for loss in radius.rules]


def test_published_rules_lose_targets_and_some_are_left_with_none(fleet: Fleet) -> None:
    make_published_policy("auto", models=[fleet.small, fleet.mid])
    lone = make_published_policy("lone", models=[fleet.small])
    make_published_policy("other", models=[fleet.frontier])

    radius = measure_blast_radius(KillSwitch(scope=KillScope.MODEL, model=fleet.small))

    assert radius.rules == (
        RuleLoss(policy="auto", rule="default", lost=("small",), left=("mid",)),
        RuleLoss(policy="lone", rule="default", lost=("small",), left=()),
    )
    assert [loss.policy for loss in radius.emptied] == ["lone"]
    assert losses(scope=KillScope.POLICY, policy=lone) == [("lone", "default", ("small",), ())]
    assert losses(scope=KillScope.RULE, policy=lone, rule_name="no-such") == []
    assert len(losses(scope=KillScope.EVERYTHING)) == 3
    assert losses(scope=KillScope.TENANT, tenant=make_tenant()) == []


def test_targets_that_are_gone_already_are_neither_lost_nor_left(fleet: Fleet) -> None:
    make_published_policy("auto", models=[fleet.small, fleet.mid, fleet.frontier])
    throw_kill_switch(scope=KillScope.MODEL, model=fleet.mid, reason="drill", author_name="ops")
    fleet.frontier.enabled = False
    fleet.frontier.save()

    assert losses(scope=KillScope.MODEL, model=fleet.small) == [("auto", "default", ("small",), ())]
    assert losses(scope=KillScope.MODEL, model=fleet.mid) == []


def test_a_draft_does_not_count(fleet: Fleet) -> None:
    policy = make_published_policy("auto", models=[fleet.small])
    make_rule(policy, "not-yet", models=[fleet.mid])

    assert losses(scope=KillScope.MODEL, model=fleet.mid) == []


def test_however_many_policies_there_are_it_takes_five_queries(
    fleet: Fleet, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    for number in range(10):
        make_published_policy(f"policy-{number}", models=[fleet.small, fleet.mid])
    switch = KillSwitch(scope=KillScope.MODEL, model=fleet.small)

    with django_assert_num_queries(5):
        measure_blast_radius(switch)
