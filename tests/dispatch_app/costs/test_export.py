import csv
import io
from datetime import date

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import User
from django.db import connection
from django.test import AsyncClient, Client

from dispatch_app.costs.export import COLUMNS, guarded
from tests.dispatch_app.costs.ledger_rows import add_day
from tests.factories import make_key, make_model, make_policy, make_tenant

MARCH = date(2026, 3, 14)


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_a_text_that_a_spreadsheet_would_run_gets_an_apostrophe(start: str) -> None:
    assert guarded(f"{start}1+1") == f"'{start}1+1"


@pytest.mark.parametrize("cell", ["plain", "", "a=b", -5, 0])
def test_other_cells_stay_as_they_are(cell: str | int) -> None:
    assert guarded(cell) == cell


def read_csv(client: Client, tenant_name: str) -> list[dict[str, str]]:
    response = client.get(f"/costs/tenants/{tenant_name}/costs.csv?month=2026-03")
    assert response.status_code == 200
    body = b"".join(response.streaming_content).decode()
    assert body.endswith("\r\n")
    return list(csv.DictReader(io.StringIO(body, newline="")))


def test_every_row_of_the_month_is_exported_with_names_and_exact_amounts(finance: Client) -> None:
    tenant, model, policy = make_tenant("acme"), make_model("frontier"), make_policy("auto")
    key = make_key(tenant, label="crm").row
    add_day(
        tenant_id=tenant.pk, day=MARCH, api_key_id=key.pk, model_id=model.pk, policy_id=policy.pk,
        end_user='O"Neil, Ann\nsecond line', task="=HYPERLINK(1)", cost_nanos=1, baseline_cost_nanos=2_500_000_000,
        wasted_nanos=1,
    )  # fmt: skip
    add_day(tenant_id=tenant.pk, day=date(2026, 4, 1))
    add_day(tenant_id=tenant.pk + 1, day=MARCH)

    (row,) = read_csv(finance, "acme")

    assert row == {
        "day": "2026-03-14", "tenant": "acme", "api_key": "crm", "user": 'O"Neil, Ann\nsecond line',
        "task": "'=HYPERLINK(1)", "policy": "auto", "model": "frontier", "outcome": "succeeded", "dispatches": "1",
        "attempts": "1", "input_tokens": "100", "cached_input_tokens": "0", "cache_write_tokens": "0",
        "output_tokens": "50", "reasoning_tokens": "0", "cost_usd": "0.000000001", "baseline_cost_usd": "2.500000000",
        "wasted_usd": "0.000000001",
    }  # fmt: skip


def test_names_of_what_is_gone_give_way_to_ids(finance: Client) -> None:
    tenant = make_tenant("acme")
    add_day(tenant_id=tenant.pk, day=MARCH, api_key_id=77, model_id=88, policy_id=99)
    add_day(tenant_id=tenant.pk, day=MARCH, api_key_id=78)

    gone, none = read_csv(finance, "acme")

    assert (gone["api_key"], gone["model"], gone["policy"]) == ("Key 77", "Model 88", "Policy 99")
    assert (none["model"], none["policy"]) == ("", "")


def test_a_month_without_figures_is_a_head_alone(finance: Client) -> None:
    make_tenant("acme")
    response = finance.get("/costs/tenants/acme/costs.csv?month=2026-03")

    assert b"".join(response.streaming_content).decode() == ",".join(COLUMNS) + "\r\n"
    assert response.headers["Content-Type"] == "text/csv; charset=utf-8; header=present"
    assert response.headers["Content-Disposition"] == 'attachment; filename="acme-2026-03.csv"'


def add_days_of_users(tenant_id: int, *, count: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO rollup_day SELECT %s, %s, 1, 'user-' || n, '', 0, 0, 'succeeded', 1, 1, 0, 0, 0, 0, 0, 7, 0"
            "  FROM generate_series(1, %s) AS n",
            [tenant_id, MARCH, count],
        )


@pytest.mark.usefixtures("emptied_log")
def test_the_event_loop_gets_the_same_rows_in_parts(finance_user: User) -> None:
    tenant = make_tenant("acme")
    add_days_of_users(tenant.pk, count=1_203)

    async def download() -> list[bytes]:
        client = AsyncClient()
        await client.aforce_login(finance_user)
        response = await client.get("/costs/tenants/acme/costs.csv?month=2026-03")
        return [part async for part in response.streaming_content]

    parts = async_to_sync(download)()

    assert len(parts) == 4
    assert b"".join(parts).count(b"\r\n") == 1_204
