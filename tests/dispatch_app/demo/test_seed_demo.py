import json
import stat
from datetime import UTC, datetime
from io import StringIO

import pytest
from django.contrib.auth import authenticate
from django.core.management import call_command
from django.db import connection
from django.utils import timezone

from dispatch_app.demo.traffic import DAYS
from dispatch_app.snapshot.loader import load_snapshot
from policies_app.api_key_format import parse_key
from policies_app.demo.fleet import FLEET
from policies_app.models import ApiKey, Budget, BudgetRaise, Model, Policy, PolicyVersion, Provider
from policies_app.routing.codes import BudgetScope
from policies_app.services.publishing import draft_document, live_document
from sandbox import fleet as vendor

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def seed(tmp_path):
    output = tmp_path / "demo.json"

    def run(sandbox_url="http://127.0.0.1:9100"):
        printed = StringIO()
        call_command(
            "seed_demo",
            base_url="http://127.0.0.1:8000",
            sandbox_url=sandbox_url,
            output=output,
            stdout=printed,
        )
        assert printed.getvalue() == ""
        return json.loads(output.read_text())

    run.output = output
    return run


def rows(statement):
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchall()


def works(access):
    admin = authenticate(username=access["admin_user"], password=access["admin_password"])
    finance = authenticate(username=access["finance_user"], password=access["finance_password"])
    key = ApiKey.objects.get(public_id=parse_key(access["api_key"]).public_id)
    return (
        admin.is_superuser
        and not finance.is_superuser
        and finance.has_perm("policies_app.change_budget_limit")
        and not finance.has_perm("policies_app.publish_policy")
        and key.enabled
        and key.tenant.name == access["tenant"]
    )


def test_the_file_opens_the_demo_and_nobody_else_reads_it(seed):
    access = seed()

    assert list(access) == [
        "base_url",
        "api_key",
        "tenant",
        "admin_user",
        "admin_password",
        "finance_user",
        "finance_password",
    ]
    assert works(access)
    assert stat.S_IMODE(seed.output.stat().st_mode) == 0o600


def test_a_second_run_keeps_everything_and_follows_the_sandbox_to_its_port(seed):
    first = seed()
    Policy.objects.filter(name="auto").update(description="edited")
    before = rows("SELECT count(*), sum(cost_nanos) FROM dispatch"), PolicyVersion.objects.count()

    second = seed(sandbox_url="http://127.0.0.1:9200")

    assert second == first
    assert works(second)
    assert (rows("SELECT count(*), sum(cost_nanos) FROM dispatch"), PolicyVersion.objects.count()) == before
    assert Policy.objects.get(name="auto").description == "edited"
    assert Provider.objects.get().base_url == "http://127.0.0.1:9200/v1"


def test_a_lost_or_spoilt_file_is_written_anew_with_what_works(seed):
    first = seed()
    seed.output.write_text("{")

    second = seed()

    assert works(second)
    assert second["api_key"] != first["api_key"]
    assert second["admin_password"] != first["admin_password"]


def test_a_key_that_was_disabled_is_replaced(seed):
    first = seed()
    ApiKey.objects.filter(public_id=parse_key(first["api_key"]).public_id).update(enabled=False)

    second = seed()

    assert second["api_key"] != first["api_key"]
    assert works(second)


def test_the_fleet_is_priced_and_limited_as_the_sandbox_is():
    assert {model.name for model in FLEET} == vendor.MODELS.keys() - {vendor.REASONER.name}
    for model in FLEET:
        theirs = vendor.MODELS[model.name]
        assert (model.input_nanos, model.cached_input_nanos, model.output_nanos) == (
            theirs.price.input_nanos,
            theirs.price.cached_input_nanos,
            theirs.price.output_nanos,
        )
        assert model.context_window_tokens == theirs.context_limit_tokens
        assert model.max_output_tokens == theirs.output_limit_tokens


def test_the_policies_are_live_and_their_drafts_say_the_same(seed):
    seed()

    snapshot = load_snapshot()

    assert set(snapshot.policies) == {"auto", "support-bot", "thrifty", "best-answer", "quick", "embed"}
    for policy in Policy.objects.all():
        assert live_document(policy) == draft_document(policy)
    assert snapshot.policies["auto"].compiled.version == 2
    assert all(model.price_at(timezone.now()) for model in snapshot.catalogue.values())
    assert Model.objects.count() == 4


def test_the_traffic_lies_in_past_hours_and_every_attempt_is_settled(seed):
    seed()

    ((count, first, last),) = rows("SELECT count(*), min(created_at), max(finished_at) FROM dispatch")
    now = datetime.now(UTC)
    assert count > 500
    assert (now - first).days >= DAYS - 1
    assert last < now
    assert rows("SELECT DISTINCT state FROM attempt") == [("settled",)]
    assert rows("SELECT DISTINCT status FROM dispatch") == [("succeeded",)]


def test_the_budgets_show_what_budgets_can_do(seed):
    seed()
    seed()

    shown = Budget.objects.with_limit_at(timezone.now())
    assert set(BudgetScope) - {budget.scope for budget in shown} == {BudgetScope.API_KEY}
    assert any(budget.mid_from_pct is not None and budget.small_from_pct is not None for budget in shown)
    assert any(budget.shrink_to_tokens and budget.month_begins_on != 1 for budget in shown)
    (raised,) = BudgetRaise.objects.all()
    assert [budget for budget in shown if budget.limit_at_nanos > budget.limit_nanos] == [raised.budget]


def test_log_budgets_and_rollups_of_the_traffic_agree(seed):
    seed()

    ((by_dispatch,),) = rows("SELECT sum(cost_nanos) FROM dispatch")
    ((by_attempt,),) = rows("SELECT sum(cost_nanos) FROM attempt")
    ((by_rollup, dispatches),) = rows("SELECT sum(cost_nanos), sum(dispatches) FROM rollup_delta")
    assert by_dispatch == by_attempt == by_rollup
    assert rows("SELECT count(*) FROM dispatch") == [(dispatches,)]
    # Every balance holds exactly what the attempts that carry it cost.
    assert (
        rows("""
        SELECT balance.id FROM budget_balance AS balance
         WHERE reserved_nanos <> 0 OR overage_nanos <> 0 OR settled_nanos <>
               (SELECT sum(cost_nanos) FROM attempt WHERE balance.id = ANY (balance_ids))
    """)
        == []
    )
