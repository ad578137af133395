import json
import shutil
import stat
from collections.abc import Iterator
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path

import pytest
from django.contrib.auth import authenticate
from django.core.management import call_command
from django.db import connection
from django.utils import timezone
from pytest_django import DjangoDbBlocker

from dispatch_app.demo.traffic import DAYS
from dispatch_app.snapshot.loader import load_snapshot
from dispatch_app.snapshot.types import Snapshot
from policies_app.api_key_format import parse_key
from policies_app.demo.fleet import FLEET
from policies_app.models import ApiKey, Budget, BudgetRaise, Model, Policy, PolicyVersion, Provider
from policies_app.routing.codes import BudgetScope
from policies_app.services.publishing import draft_document, live_document
from sandbox import fleet as vendor
from tests.emptying import Emptying

pytestmark = pytest.mark.django_db

SANDBOX_URL = "http://127.0.0.1:9100"


def run(output: Path, *, sandbox_url: str = SANDBOX_URL) -> dict[str, str]:
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


@pytest.fixture(scope="module")
def first_run(
    django_db_setup: Emptying, django_db_blocker: DjangoDbBlocker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """The file of a run on an empty database. What the tests change afterwards, they roll back."""
    output = tmp_path_factory.mktemp("seeded") / "demo.json"
    with django_db_blocker.unblock():
        run(output)
    yield output
    with django_db_blocker.unblock():
        django_db_setup.restore()


@pytest.fixture(scope="module")
def snapshot(first_run: Path, django_db_blocker: DjangoDbBlocker) -> Snapshot:
    """What is served after the first run, loaded in a transaction of its own."""
    with django_db_blocker.unblock():
        return load_snapshot()


@pytest.fixture
def output(first_run: Path, db: None, tmp_path: Path) -> Path:
    """The test's own copy of the file."""
    return Path(shutil.copy(first_run, tmp_path))


@pytest.fixture
def access(output: Path) -> dict[str, str]:
    return json.loads(output.read_text())


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


def test_the_file_opens_the_demo_and_nobody_else_reads_it(first_run, access):
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
    assert stat.S_IMODE(first_run.stat().st_mode) == 0o600


def test_a_second_run_keeps_everything_and_follows_the_sandbox_to_its_port(access, output):
    Policy.objects.filter(name="auto").update(description="edited")
    before = rows("SELECT count(*), sum(cost_nanos) FROM dispatch"), PolicyVersion.objects.count()

    second = run(output, sandbox_url="http://127.0.0.1:9200")

    assert second == access
    assert works(second)
    assert (rows("SELECT count(*), sum(cost_nanos) FROM dispatch"), PolicyVersion.objects.count()) == before
    assert Policy.objects.get(name="auto").description == "edited"
    assert Provider.objects.get().base_url == "http://127.0.0.1:9200/v1"


def test_a_lost_or_spoilt_file_is_written_anew_with_what_works(access, output):
    output.write_text("{")

    second = run(output)

    assert works(second)
    assert second["api_key"] != access["api_key"]
    assert second["admin_password"] != access["admin_password"]


def test_a_key_that_was_disabled_is_replaced(access, output):
    ApiKey.objects.filter(public_id=parse_key(access["api_key"]).public_id).update(enabled=False)

    second = run(output)

    assert second["api_key"] != access["api_key"]
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


def test_the_policies_are_live_and_their_drafts_say_the_same(snapshot):
    assert set(snapshot.policies) == {"auto", "support-bot", "thrifty", "best-answer", "quick", "embed"}
    for policy in Policy.objects.all():
        assert live_document(policy) == draft_document(policy)
    assert snapshot.policies["auto"].compiled.version == 2
    assert all(model.price_at(timezone.now()) for model in snapshot.catalogue.values())
    assert Model.objects.count() == 4


def test_the_traffic_lies_in_past_hours_and_every_attempt_is_settled(first_run):
    ((count, first, last),) = rows("SELECT count(*), min(created_at), max(finished_at) FROM dispatch")
    now = datetime.now(UTC)
    assert count > 500
    assert (now - first).days >= DAYS - 1
    assert last < now
    assert rows("SELECT DISTINCT state FROM attempt") == [("settled",)]
    assert rows("SELECT DISTINCT status FROM dispatch") == [("succeeded",)]


def test_the_budgets_show_what_budgets_can_do(output):
    run(output)

    shown = Budget.objects.with_limit_at(timezone.now())
    assert set(BudgetScope) - {budget.scope for budget in shown} == {BudgetScope.API_KEY}
    assert any(budget.mid_from_pct is not None and budget.small_from_pct is not None for budget in shown)
    assert any(budget.shrink_to_tokens and budget.month_begins_on != 1 for budget in shown)
    (raised,) = BudgetRaise.objects.all()
    assert [budget for budget in shown if budget.limit_at_nanos > budget.limit_nanos] == [raised.budget]


def test_log_budgets_and_rollups_of_the_traffic_agree(first_run):
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
