"""Pings, as the task sends them: to the sandbox vendor, through the ledger, into the log."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection

from dispatch_app.fleet.account import KEEP_WARM
from dispatch_app.fleet.keep_warm import MOST_EARLY_S, keep_warm, rest_s
from dispatch_app.fleet.tasks import keep_warm as task
from policies_app.models import ApiKey, Budget, KillSwitch, Model, Tenant
from policies_app.routing.codes import Capability, KillScope
from sandbox.fleet import EMBEDDING
from sandbox.server import SandboxServer
from tests.factories import USD
from tests.running_servers import Shop, open_shop

COLD_AFTER_S = 300


@pytest.fixture
def shop(vendor: Any, transactional_db: None) -> Shop:
    """A fleet of which `small` goes cold after five minutes, and is to be kept warm."""
    shop = open_shop(vendor)
    Model.objects.filter(pk=shop.fleet.small.pk).update(
        cold_after_s=COLD_AFTER_S, cold_penalty_ms=4_000, keep_warm=True
    )
    return shop


def rows(query: str, *values: object) -> list[dict[str, Any]]:
    with connection.cursor() as cursor:
        cursor.execute(query, values)
        columns = [column.name for column in cursor.description or ()]
        return [dict(zip(columns, row, strict=True)) for row in cursor.fetchall()]


def dispatches() -> list[dict[str, Any]]:
    return rows("SELECT * FROM dispatch ORDER BY created_at")


def let_pass(seconds: int) -> None:
    """Let everything that is known of the models' use have happened earlier."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE fleet_warmth SET last_used_at = last_used_at - make_interval(secs => %(s)s),"
            " pinged_at = pinged_at - make_interval(secs => %(s)s)",
            {"s": seconds},
        )


def use(model: Model) -> None:
    """Somebody gets an answer of the model."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO fleet_warmth AS known (model_id, last_used_at) VALUES (%s, now())"
            " ON CONFLICT (model_id) DO UPDATE SET last_used_at = now()",
            [model.pk],
        )


def test_a_ping_is_a_dispatch_of_its_own_tenant_that_costs_and_warms(shop: Shop) -> None:
    assert keep_warm() == 1

    (dispatch,) = dispatches()
    assert dispatch["tenant_id"] == Tenant.objects.get(name=KEEP_WARM).pk
    assert dispatch["task"] == KEEP_WARM
    assert dispatch["status"] == "succeeded"
    assert dispatch["model_id"] == shop.fleet.small.pk
    assert dispatch["output_tokens"] == 1
    assert dispatch["cost_nanos"] > 0
    budget = Budget.objects.get(tenant__name=KEEP_WARM)
    (balance,) = rows("SELECT * FROM budget_balance WHERE budget_id = %s", budget.pk)
    assert (balance["settled_nanos"], balance["reserved_nanos"]) == (dispatch["cost_nanos"], 0)
    assert rows("SELECT 1 FROM rollup_delta WHERE task = %s", KEEP_WARM)
    (warmth,) = rows("SELECT last_used_at > now() - interval '1 minute' AS is_warm FROM fleet_warmth")
    assert warmth["is_warm"]


def test_the_log_says_whether_a_ping_met_a_cold_model(shop: Shop) -> None:
    keep_warm()
    let_pass(COLD_AFTER_S - 10)
    keep_warm()
    let_pass(COLD_AFTER_S + 10)
    keep_warm()

    assert [attempt["cold"] for attempt in rows("SELECT cold FROM attempt ORDER BY created_at")] == [
        True,
        False,
        True,
    ]


def test_pings_do_not_count_as_latency(shop: Shop) -> None:
    keep_warm()

    assert rows("SELECT * FROM fleet_latency") == []


def test_a_model_is_pinged_once_in_the_time_that_it_stays_warm(shop: Shop) -> None:
    assert keep_warm() == 1
    let_pass(rest_s(COLD_AFTER_S) - 5)
    assert keep_warm() == 0

    let_pass(10)
    assert keep_warm() == 1
    assert keep_warm() == 0


def test_a_model_that_callers_keep_warm_is_not_pinged(shop: Shop) -> None:
    use(shop.fleet.small)
    assert keep_warm() == 0

    let_pass(COLD_AFTER_S - MOST_EARLY_S + 5)
    use(shop.fleet.small)
    assert keep_warm() == 0
    assert dispatches() == []


def test_a_model_is_pinged_before_it_goes_cold(shop: Shop) -> None:
    use(shop.fleet.small)

    let_pass(COLD_AFTER_S - 30)

    assert keep_warm() == 1


@pytest.mark.parametrize(("cold_after_s", "expected_s"), [(300, 255), (90, 45), (60, 30), (1, 1)])
def test_a_model_rests_for_half_of_its_time_at_least(cold_after_s: int, expected_s: int) -> None:
    assert rest_s(cold_after_s) == expected_s


@pytest.mark.parametrize(
    "fields",
    [{"keep_warm": False}, {"cold_after_s": None}, {"enabled": False}],
    ids=["not to be kept warm", "never cold", "disabled"],
)
def test_no_other_model_is_pinged(shop: Shop, fields: dict[str, object]) -> None:
    Model.objects.filter(pk=shop.fleet.small.pk).update(**fields)

    assert keep_warm() == 0
    assert dispatches() == []


def test_a_ping_past_its_budget_is_refused_and_reaches_nobody(shop: Shop, vendor: Any) -> None:
    keep_warm()
    Budget.objects.filter(tenant__name=KEEP_WARM).update(limit_nanos=1)
    let_pass(COLD_AFTER_S)
    asked = len(vendor.ledger.entries)

    keep_warm()

    assert [dispatch["status"] for dispatch in dispatches()] == ["succeeded", "refused"]
    assert len(vendor.ledger.entries) == asked


@pytest.mark.parametrize("switched_off", [Budget.objects, Tenant.objects], ids=["budget", "tenant"])
def test_without_its_budget_or_its_tenant_nothing_is_pinged(shop: Shop, switched_off: Any) -> None:
    keep_warm()
    switched_off.filter(name=KEEP_WARM).update(enabled=False)
    let_pass(COLD_AFTER_S)

    keep_warm()

    assert len(dispatches()) == 1


def test_the_budget_is_made_with_the_amount_of_the_settings_and_then_left_alone(
    shop: Shop, settings: Any
) -> None:
    settings.KEEP_WARM_DAILY_CENTS = 7
    keep_warm()
    assert Budget.objects.get(tenant__name=KEEP_WARM).limit_nanos == 7 * USD // 100

    settings.KEEP_WARM_DAILY_CENTS = 9
    let_pass(COLD_AFTER_S)
    keep_warm()
    assert Budget.objects.get(tenant__name=KEEP_WARM).limit_nanos == 7 * USD // 100


def test_a_killed_model_is_not_pinged(shop: Shop, vendor: Any) -> None:
    KillSwitch.objects.create(scope=KillScope.MODEL, model=shop.fleet.small, reason="test")

    keep_warm()

    assert dispatches() == []
    assert not vendor.ledger.entries


def test_a_vendor_that_fails_is_not_asked_again_at_once(shop: Shop) -> None:
    shop.fleet.provider.base_url = "http://127.0.0.1:9/v1"
    shop.fleet.provider.save()

    assert keep_warm() == 1
    assert keep_warm() == 0

    (dispatch,) = dispatches()
    assert dispatch["status"] == "failed"
    assert rows("SELECT 1 FROM fleet_warmth WHERE last_used_at IS NOT NULL") == []


def test_a_model_that_embeds_is_asked_for_a_vector(shop: Shop, vendor: SandboxServer) -> None:
    Model.objects.filter(pk=shop.fleet.small.pk).update(
        capabilities=[Capability.EMBEDDINGS], wire_name=EMBEDDING.name, max_output_tokens=1
    )

    keep_warm()

    (dispatch,) = dispatches()
    assert (dispatch["status"], dispatch["output_tokens"]) == ("succeeded", 0)
    assert [request.target for request in vendor.journal.requests] == ["/v1/embeddings"]


def test_the_output_limit_is_a_setting(shop: Shop, settings: Any) -> None:
    settings.KEEP_WARM_OUTPUT_TOKENS = 5

    keep_warm()

    (dispatch,) = dispatches()
    assert 1 < dispatch["output_tokens"] <= 5


def test_nobody_can_call_with_the_key_of_the_pings(shop: Shop) -> None:
    keep_warm()

    assert not ApiKey.objects.get(tenant__name=KEEP_WARM).enabled


def test_workers_that_run_at_once_send_one_ping(shop: Shop) -> None:
    def run(_: int) -> int:
        try:
            return keep_warm()
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as workers:
        assert sum(workers.map(run, range(4))) == 1

    assert len(dispatches()) == 1


def test_the_task_takes_arguments_of_another_version(shop: Shop) -> None:
    task(since_another_version="x")

    assert len(dispatches()) == 1
