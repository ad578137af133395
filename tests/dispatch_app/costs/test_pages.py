from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from psycopg.types.json import Jsonb

from dispatch_app.costs.dispatches import PAGE_SIZE
from policies_app.models import PolicyVersion
from policies_app.routing.codes import BudgetAction, BudgetScope
from policies_app.services.budget_raises import raise_budget
from tests.dispatch_app.costs.ledger_rows import (
    add_attempt,
    add_balance,
    add_day,
    add_dispatch,
    add_latency,
    month_start,
    now,
    today,
)
from tests.factories import USD, make_budget, make_key, make_model, make_policy, make_price, make_tenant

UNKNOWN = "01a20590-fd28-7cfa-a6bd-72553c356b4b"


class _Text(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []

    def handle_data(self, data: str) -> None:
        self.parts.append(data)


def text_of(html: bytes) -> str:
    """What a page says, with every run of space as one."""
    parser = _Text()
    parser.feed(html.decode())
    return " ".join(" ".join(parser.parts).split())


def read(client: Client, path: str) -> str:
    response = client.get(path)
    assert response.status_code == 200, path
    return text_of(response.content)


def rows_of(client: Client, path: str) -> list[str]:
    """The rows of the page's first table, without its head."""
    html = client.get(path).content.split(b"<tbody>")[1].split(b"</tbody>")[0]
    return [text_of(row) for row in html.split(b"</tr>")[:-1]]


PAGES = (
    "/costs/",
    "/costs/tenants/acme/",
    "/costs/tenants/acme/dispatches/",
    "/costs/tenants/acme/costs.csv",
    f"/costs/dispatches/{UNKNOWN}/",
)


@pytest.mark.parametrize("path", PAGES)
def test_a_stranger_is_sent_to_the_login_page(client: Client, db: None, path: str) -> None:
    response = client.get(path)

    assert response.status_code == 302
    assert response.headers["Location"] == f"/login/?next={path}"


@pytest.mark.parametrize("path", PAGES)
def test_somebody_without_the_permission_is_told_so(client: Client, db: None, path: str) -> None:
    client.force_login(User.objects.create_user("otto", is_staff=True))

    response = client.get(path)

    assert response.status_code == 403
    assert "You are signed in as otto , who may not see this page." in text_of(response.content)


def test_a_superuser_sees_the_cost_pages(admin_client: Client) -> None:
    assert admin_client.get("/costs/").status_code == 200


def test_signing_in_leads_to_the_costs_and_signing_out_back(client: Client, finance_user: User) -> None:
    finance_user.set_password("secret-of-fiona")
    finance_user.save()
    wrong = client.post("/login/", {"username": "fiona", "password": "wrong"})
    assert "do not match" in text_of(wrong.content)

    right = client.post(
        "/login/", {"username": "fiona", "password": "secret-of-fiona", "next": "/costs/?month=2026-03"}
    )
    assert right.headers["Location"] == "/costs/?month=2026-03"

    assert client.get("/").headers["Location"] == "/costs/"
    assert client.post("/logout/").headers["Location"] == "/login/"


def test_the_root_leads_ops_to_the_admin(client: Client, db: None) -> None:
    client.force_login(User.objects.create_user("otto", is_staff=True))

    assert client.get("/").headers["Location"] == "/admin/"


def test_pages_load_nothing_but_this_sites_files(finance: Client) -> None:
    make_tenant("acme")

    for path in ("/costs/", "/costs/tenants/acme/", "/login/"):
        response = finance.get(path)
        policy = response.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert b"style=" not in response.content
        assert b"<script>" not in response.content
    assert "no-store" in finance.get("/costs/").headers["Cache-Control"]


@pytest.mark.parametrize(
    "path",
    [
        "/costs/?month=2026-13",
        "/costs/?month=soon",
        "/costs/tenants/nobody/",
        "/costs/tenants/acme/?month=9999-12",
        "/costs/tenants/acme/dispatches/?day=2026-02-30",
        "/costs/tenants/acme/dispatches/?day=9999-12-31",
        "/costs/tenants/acme/dispatches/?before=x",
        "/costs/tenants/acme/dispatches/?before=2026-03-01T00:00:00_0",
        f"/costs/dispatches/{UNKNOWN}/",
    ],
)
def test_an_address_of_nothing_is_not_found(finance: Client, path: str) -> None:
    make_tenant("acme")

    response = finance.get(path)

    assert response.status_code == 404
    assert "There is nothing here" in text_of(response.content)


def test_a_tenants_spend_stands_against_its_budget(finance: Client) -> None:
    tenant = make_tenant("acme")
    make_tenant("globex")
    budget = make_budget(tenant, limit_nanos=10 * USD)
    add_balance(
        budget_id=budget.pk,
        period_start=month_start(),
        granted_nanos=10 * USD,
        settled_nanos=4 * USD,
        reserved_nanos=USD,
    )
    add_day(tenant_id=tenant.pk, cost_nanos=4 * USD, dispatches=8)
    add_day(tenant_id=tenant.pk, cost_nanos=0, dispatches=2, outcome="failed")

    acme, globex = rows_of(finance, "/costs/")

    assert "50 % of $10.00" in acme
    assert acme.startswith("acme $4.00")
    assert "$4.00 $0.00 10 20 %" in acme
    assert globex == "globex $0.00 no budget $0.00 $0.00 0 \u2013 \u2013"


def test_what_signalbox_itself_caused_is_told_apart(finance: Client) -> None:
    tenant = make_tenant("acme")
    add_day(tenant_id=tenant.pk, cost_nanos=4 * USD, wasted_nanos=USD)

    assert "Caused by Signalbox $1.00 25 %" in read(finance, "/costs/tenants/acme/")


def test_savings_count_only_policies_with_a_baseline(finance: Client) -> None:
    tenant = make_tenant("acme")
    add_day(tenant_id=tenant.pk, policy_id=1, cost_nanos=2 * USD, baseline_cost_nanos=8 * USD)
    add_day(tenant_id=tenant.pk, policy_id=1, outcome="continued", dispatches=0, cost_nanos=1 * USD)
    add_day(tenant_id=tenant.pk, policy_id=2, cost_nanos=50 * USD)

    (row,) = rows_of(finance, "/costs/")

    assert row.endswith("$5.00 62 %")
    assert "Saved against baseline $5.00 62 %" in read(finance, "/costs/tenants/acme/")


def test_the_table_sorts_by_its_heads(finance: Client) -> None:
    for name, cost in (("beta", 3), ("alpha", 1), ("gamma", 2)):
        add_day(tenant_id=make_tenant(name).pk, cost_nanos=cost * USD)

    def order(sort: str) -> list[str]:
        return [row.split()[0] for row in rows_of(finance, f"/costs/?sort={sort}")]

    assert order("") == order("-spend") == order("no-such-column") == ["beta", "gamma", "alpha"]
    assert order("spend") == ["alpha", "gamma", "beta"]
    assert order("tenant") == ["alpha", "beta", "gamma"]
    html = finance.get("/costs/?sort=-spend").content.decode()
    assert 'class="col-spend" aria-sort="descending"><a href="?month=' in html
    assert "sort=spend" in html
    for column in ("budget", "today", "yesterday", "dispatches", "failures", "savings"):
        assert len(order(f"-{column}")) == 3


def test_today_is_the_tenants_own(finance: Client) -> None:
    far_east = make_tenant("kiribati", time_zone="Pacific/Kiritimati")
    today_there = (now() + timedelta(hours=14)).date()
    add_day(tenant_id=far_east.pk, day=today_there, cost_nanos=3 * USD)
    add_day(tenant_id=far_east.pk, day=today_there - timedelta(days=1), cost_nanos=5 * USD)

    (row,) = rows_of(finance, "/costs/")

    assert "$3.00 $5.00" in row


def test_a_month_breaks_down_by_model_policy_task_and_user(finance: Client) -> None:
    tenant, model, policy = make_tenant("acme"), make_model("frontier"), make_policy("auto")
    add_day(
        tenant_id=tenant.pk,
        model_id=model.pk,
        policy_id=policy.pk,
        task="code",
        end_user="ann",
        cost_nanos=3 * USD,
    )
    add_day(tenant_id=tenant.pk, cost_nanos=USD, outcome="refused")
    add_latency(tenant_id=tenant.pk, bucket=40, dispatches=90)
    add_latency(tenant_id=tenant.pk, bucket=60, dispatches=10)

    page = read(finance, "/costs/tenants/acme/")

    assert "By model" in page
    for name in ("frontier", "auto", "code", "ann"):
        assert f"{name} $3.00 75 % 1 0 % 100 50" in page
    for name in ("No model called", "Model named by the caller", "No task named", "No user named"):
        assert f"{name} $1.00 25 %" in page
    assert "Failed 0 % 1 refused" in page
    assert "Latency, median / p95 1.12 s / 35.73 s" in page


def test_users_beyond_the_fiftieth_are_added_up(finance: Client) -> None:
    tenant = make_tenant("acme")
    for number in range(53):
        add_day(tenant_id=tenant.pk, end_user=f"user-{number:02}", cost_nanos=(100 - number) * 1_000_000)

    page = read(finance, "/costs/tenants/acme/")

    assert "user-49 " in page
    assert "user-50" not in page
    assert "All others $0.147 3.7 % 3 0 %" in page


def test_the_chart_and_its_table_tell_the_same(finance: Client) -> None:
    tenant, model = make_tenant("acme"), make_model("frontier")
    add_day(tenant_id=tenant.pk, model_id=model.pk, day=today().replace(day=3), cost_nanos=2 * USD)

    html = finance.get("/costs/tenants/acme/").content.decode()

    assert f"<title>3 {today():%B}: $2.00</title>" in html
    assert 'class="series-1" x="214.0" y="0.0" width="72" height="1000.0"' in html
    assert f"{today().replace(day=3):%a} 3 {today():%B} $2.00 $2.00" in text_of(html.encode())


def test_budgets_show_what_is_settled_reserved_and_left(finance: Client) -> None:
    tenant = make_tenant("acme")
    cap = make_budget(tenant, name="cap", limit_nanos=10 * USD)
    add_balance(
        budget_id=cap.pk, period_start=month_start(), granted_nanos=10 * USD, settled_nanos=6 * USD, reserved_nanos=3 * USD,
        overage_nanos=USD // 2,
    )  # fmt: skip
    each = make_budget(
        tenant, name="each", limit_nanos=USD, scope=BudgetScope.END_USER, action=BudgetAction.DOWNGRADE
    )
    for number in range(7):
        add_balance(
            budget_id=each.pk, subject=f"user-{number}", period_start=month_start(), granted_nanos=USD,
            settled_nanos=number * USD // 10,
        )  # fmt: skip
    make_budget(tenant, name="untouched", limit_nanos=7 * USD)

    page = read(finance, "/costs/tenants/acme/")

    assert "cap $10.00 a month $6.50 settled $3.00 reserved $0.50 left $0.50 above reservations" in page
    assert "user-6 $0.60 user-5 $0.50 user-4 $0.40 user-3 $0.30 user-2 $0.20" in page
    assert "user-1" not in page
    assert "most used shown" in page
    assert "untouched $7.00 a month $0.00 settled $0.00 reserved $7.00 left" in page


def test_a_budget_shows_its_raises_while_they_run_and_in_the_past_what_was_granted(finance: Client) -> None:
    tenant = make_tenant("acme")
    budget = make_budget(tenant, name="cap", limit_nanos=10 * USD)
    raise_budget(budget=budget, amount_nanos=5 * USD, reason="fair", author_name="ann")
    add_balance(
        budget_id=budget.pk, period_start=month_start(), granted_nanos=10 * USD, settled_nanos=6 * USD
    )
    past = (month_start() - timedelta(days=1)).replace(day=1)
    add_balance(budget_id=budget.pk, period_start=past, granted_nanos=12 * USD, settled_nanos=11 * USD)

    now = read(finance, "/costs/tenants/acme/")
    then = read(finance, f"/costs/tenants/acme/?month={past:%Y-%m}")

    assert "cap $15.00 a month, raised from $10.00 $6.00 settled $0.00 reserved $9.00 left" in now
    assert "cap $12.00 a month $11.00 settled $0.00 reserved $1.00 left" in then


def test_the_budget_of_a_tag_counts_from_its_own_day(finance: Client) -> None:
    make_budget(
        make_tenant("acme"),
        name="apollo",
        limit_nanos=USD,
        scope=BudgetScope.TAG,
        tag="project=apollo",
        month_begins_on=9,
    )

    page = read(finance, "/costs/tenants/acme/")

    assert "apollo $1.00 a month from day 9 on" in page
    assert "Tag “project=apollo”, since 9 " in page


def test_times_are_the_tenants_own_and_say_so(finance: Client) -> None:
    tenant = make_tenant("acme", time_zone="Asia/Kolkata")
    at = datetime(2026, 3, 10, 20, 0, tzinfo=UTC)
    create_partition(at)
    add_dispatch(tenant_id=tenant.pk, created_at=at)

    page = read(finance, "/costs/tenants/acme/?month=2026-03")

    assert "March 2026, times in Asia/Kolkata (UTC+0530)" in page
    assert "11 Mar, 01:30:00" in page
    assert "11 Mar, 01:30:00" in read(finance, "/costs/tenants/acme/dispatches/?day=2026-03-11")
    assert "No dispatch of this day" in read(finance, "/costs/tenants/acme/dispatches/?day=2026-03-10")


def create_partition(at: datetime) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT create_log_partitions(%s, 1)", [at.date()])


def test_dispatches_are_filtered_by_status_model_task_and_user(finance: Client) -> None:
    tenant, model = make_tenant("acme"), make_model("frontier")
    add_dispatch(tenant_id=tenant.pk, status="failed", task="failing")
    add_dispatch(tenant_id=tenant.pk, model_id=model.pk, task="by-model")
    add_dispatch(tenant_id=tenant.pk, task="by-task", end_user="ann")
    add_dispatch(tenant_id=tenant.pk + 1, task="of-another-tenant", end_user="ann")

    def tasks(query: str) -> set[str]:
        page = read(finance, f"/costs/tenants/acme/dispatches/?{query}")
        return {
            task for task in ("failing", "by-model", "by-task", "of-another-tenant") if f" {task} " in page
        }

    assert tasks("") == {"failing", "by-model", "by-task"}
    assert tasks("status=failed") == {"failing"}
    assert tasks("model=frontier") == {"by-model"}
    assert tasks("task=by-task") == {"by-task"}
    assert tasks("user=ann&task=by-task") == {"by-task"}
    assert tasks("user=%00") == set()


def test_dispatches_are_filtered_by_strategy_and_by_whether_their_answer_passed(finance: Client) -> None:
    tenant = make_tenant("acme")
    add_dispatch(tenant_id=tenant.pk, strategy="cascade", validated=True, task="passed")
    add_dispatch(tenant_id=tenant.pk, strategy="cascade", validated=False, task="failing")
    add_dispatch(tenant_id=tenant.pk, strategy="single", task="unchecked")

    def tasks(query: str) -> set[str]:
        page = read(finance, f"/costs/tenants/acme/dispatches/?{query}")
        return {task for task in ("passed", "failing", "unchecked") if f" {task} " in page}

    assert tasks("strategy=cascade") == {"passed", "failing"}
    assert tasks("validated=yes") == {"passed"}
    assert tasks("validated=no") == {"failing"}
    assert tasks("strategy=single&validated=no") == set()
    assert tasks("validated=perhaps") == {"passed", "failing", "unchecked"}


def test_what_went_to_attempts_beside_the_answer_stands_beside_the_cost(finance: Client) -> None:
    tenant, small, large = make_tenant("acme"), make_model("small"), make_model("large")
    unsure = {
        "validator": "not_refused",
        "passed": False,
        "expected": "the answer is no refusal",
        "actual": "",
    }
    dispatch_id = add_dispatch(
        tenant_id=tenant.pk, strategy="cascade", attempts=2, answered_by=2, cost_nanos=5_000, validated=True
    )
    add_attempt(
        dispatch_id=dispatch_id,
        tenant_id=tenant.pk,
        model_id=small.pk,
        cost_nanos=2_000,
        validation=Jsonb([unsure]),
    )
    add_attempt(
        dispatch_id=dispatch_id,
        tenant_id=tenant.pk,
        model_id=large.pk,
        position=2,
        role="escalation",
        cost_nanos=3_000,
        validation=Jsonb([unsure | {"passed": True}]),
    )
    add_dispatch(tenant_id=tenant.pk, cost_nanos=7_000)
    add_day(tenant_id=tenant.pk, cost_nanos=10_000)
    add_day(tenant_id=tenant.pk, cost_nanos=2_500, dispatches=0, outcome="continued")

    listed = read(finance, "/costs/tenants/acme/dispatches/")
    page = read(finance, f"/costs/dispatches/{dispatch_id}/")
    month = read(finance, "/costs/tenants/acme/")

    assert "$0.000002 $0.000005" in listed
    assert "– $0.000007" in listed
    assert "Beside the answer $0.000002 " in page
    assert "it was expected that the answer is no refusal. So it was escalated to large" in page
    assert "$0.000002 of $0.000005 went to attempts that did not give the answer." in page
    assert "large escalation, gave the answer" in page
    assert "Beside the answers $0.0000025 20 %" in month


def test_pages_of_dispatches_neither_miss_nor_repeat_one(finance: Client) -> None:
    tenant = make_tenant("acme")
    # Three to an instant: the id decides among them.
    for number in range(PAGE_SIZE + 13):
        add_dispatch(
            tenant_id=tenant.pk,
            created_at=now() - timedelta(microseconds=number // 3),
            task=f"task-{number:03}",
        )
    path = "/costs/tenants/acme/dispatches/"
    month = (now() - timedelta(seconds=1)).strftime("%Y-%m")

    first = finance.get(path, {"month": month})
    older = first.content.decode().split('rel="next" href="')[1].split('"')[0].replace("&amp;", "&")
    second = finance.get(path + older)

    def tasks(html: bytes) -> list[str]:
        return [word for word in text_of(html).split() if word.startswith("task-")]

    assert len(tasks(first.content)) == PAGE_SIZE
    assert sorted(tasks(first.content) + tasks(second.content)) == [
        f"task-{number:03}" for number in range(PAGE_SIZE + 13)
    ]
    assert b'rel="next"' not in second.content
    assert b"Newest" in second.content


def test_a_dispatch_tells_why_what_happened_and_what_it_cost(finance: Client) -> None:
    tenant, policy = make_tenant("acme"), make_policy("auto")
    small, mid = make_model("small", input_nanos=None), make_model("mid", input_nanos=None)
    price = make_price(mid, input_nanos=USD, output_nanos=2 * USD)
    PolicyVersion.objects.create(
        policy=policy, number=4, content_hash="", schema_version=1, author_name="ann",
        document={"rules": [{"name": "vip-only"}, {"name": "long-input"}, {"name": "default"}]},
    )  # fmt: skip
    reason = {
        "words": "Rule 'default' matched.",
        "failed": ["tenant", "input_tokens"],
        "dropped": [{"model": "frontier", "reason": "lacks_capability", "detail": "vision"}],
    }
    dispatch_id = add_dispatch(
        tenant_id=tenant.pk, api_key_id=make_key(tenant, label="crm").row.pk, policy_id=policy.pk, policy_version=4,
        rule="default", reason=reason, model_id=mid.pk, attempts=2, cost_nanos=1_500, baseline_cost_nanos=9_000, has_idempotency_key=True,
        tags={"team": "<b>ops</b>"}, total_ms=1_000,
    )  # fmt: skip
    add_attempt(
        dispatch_id=dispatch_id, tenant_id=tenant.pk, model_id=small.pk, price_id=0, fault="rate_limited", wire_status=429,
        cost_nanos=0, latency_ms=250, reserved_nanos=2_000,
    )  # fmt: skip
    add_attempt(
        dispatch_id=dispatch_id, tenant_id=tenant.pk, model_id=mid.pk, price_id=price.pk, position=2, role="fallback",
        start_offset_ms=250, latency_ms=750, first_byte_ms=100, cost_nanos=1_500, reserved_nanos=4_000,
    )  # fmt: skip

    response = finance.get(f"/costs/dispatches/{dispatch_id}/")
    page, html = text_of(response.content), response.content.decode()

    assert "Dispatch succeeded" in page
    assert "Cost $0.0000015" in page
    assert "Reserved at most $0.000006" in page
    assert "Saved against baseline $0.0000075" in page
    assert "vip-only it is for other tenants" in page
    assert "long-input the input was outside its range" in page
    assert "frontier lacks vision" in page
    assert "small primary rate limited 250 ms" in page
    assert 'x="250.0" width="750.0"' in html
    assert "2. mid $1.00 $0.25 $1.00 $2.00 $2.00 1 Jan 2020" in page
    assert "Price row 0 is no longer in the catalogue." in page
    assert "auto v4" in page
    assert "Idempotency key yes" in page
    assert "<b>ops</b>" not in html
    assert "&lt;b&gt;ops&lt;/b&gt;" in html


def test_a_dispatch_that_called_no_model_and_lost_its_policy_still_has_a_page(finance: Client) -> None:
    tenant = make_tenant("acme")
    dispatch_id = add_dispatch(
        tenant_id=tenant.pk, status="refused", error_code="insufficient_quota", attempts=0, cost_nanos=0,
        reason={"words": "No.", "failed": ["task", "of_a_later_version"],
                "dropped": [{"model": "x", "reason": "of_a_later_version", "detail": "y"}]},
    )  # fmt: skip

    page = read(finance, f"/costs/dispatches/{dispatch_id}/")

    assert "Dispatch refused insufficient quota" in page
    assert "No model was called." in page
    assert "Rule 1 its task did not match Rule 2 of_a_later_version did not hold" in page
    assert "x of_a_later_version y" in page


def test_a_dispatch_of_a_tenant_that_is_gone_is_not_found(finance: Client) -> None:
    dispatch_id = add_dispatch(tenant_id=4_711)

    assert finance.get(f"/costs/dispatches/{dispatch_id}/").status_code == 404


def test_the_pages_say_how_far_the_figures_go(finance: Client) -> None:
    make_tenant("acme")
    assert f"Figures up to {datetime.now(UTC):%H:}" in read(finance, "/costs/")

    with connection.cursor() as cursor:
        cursor.execute("UPDATE rollup_watermark SET figures_until = '2026-03-10 09:41:07Z'")
        cursor.execute(
            "INSERT INTO rollup_delta SELECT n, now(), 1, 1, '', '', 1, 1, 'succeeded', 1, 1, 1, 1, 1, 1, 1, 1, 1, 1"
            " FROM generate_series(1, 2) AS n".replace(
                "INTO rollup_delta", "INTO rollup_delta OVERRIDING SYSTEM VALUE"
            )
        )

    assert "Figures up to 09:41:07 UTC; 2 events pending" in read(finance, "/costs/")


def test_a_page_asks_the_database_as_often_for_much_as_for_little(finance: Client) -> None:
    tenant = make_tenant("acme")
    make_budget(tenant)
    fill(tenant.pk, range(1))
    dispatch_id = add_dispatch(tenant_id=tenant.pk)
    add_attempt(dispatch_id=dispatch_id)
    paths = (
        "/costs/", "/costs/tenants/acme/", "/costs/tenants/acme/dispatches/", f"/costs/dispatches/{dispatch_id}/",
    )  # fmt: skip
    little = [count_queries(finance, path) for path in paths]

    for number in range(5):
        make_budget(make_tenant(f"other-{number}"))
        make_budget(tenant, name=f"more-{number}")
        add_attempt(dispatch_id=dispatch_id, position=number + 2)
        add_dispatch(tenant_id=tenant.pk)
    fill(tenant.pk, range(1, 40))

    assert [count_queries(finance, path) for path in paths] == little
    assert max(little) <= 25


def fill(tenant_id: int, numbers: range) -> None:
    for number in numbers:
        add_day(
            tenant_id=tenant_id, model_id=number, policy_id=number, task=f"t{number}", end_user=f"u{number}"
        )


def count_queries(client: Client, path: str) -> int:
    with CaptureQueriesContext(
        connection,
    ) as queries:
        assert client.get(path).status_code == 200
    return len(queries)
