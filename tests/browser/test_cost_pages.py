import csv
from calendar import monthrange
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from uuid import UUID

import pytest
from django.contrib.auth.models import Group, User
from django.db import connection
from playwright.sync_api import Page, expect

from policies_app.models import Tenant
from policies_app.roles import FINANCE
from tests.browser.conftest import DESKTOP, PHONE, Visitor, assert_fits_the_width
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

PASSWORD = "a-password-of-finance"
UNMANAGED = (
    "dispatch, attempt, budget_balance, rollup_delta, rollup_hour, rollup_day, rollup_month, rollup_latency"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    tenant: Tenant
    dispatch_id: UUID


@pytest.fixture
def finance_user(transactional_db: None) -> User:
    user = User.objects.create_user("fiona", password=PASSWORD)
    user.groups.add(Group.objects.get(name=FINANCE))
    return user


@pytest.fixture
def books(transactional_db: None) -> Iterator[Books]:
    """A tenant with a month of spend, budgets, and a dispatch that failed over; names as long as names get."""
    tenant = make_tenant("acme", display_name="Acme Logistics and Warehousing International")
    policy, key = make_policy("auto"), make_key(tenant, label="crm")
    models = [make_model(name) for name in ("small", "mid", "frontier-with-a-long-name-2026-preview")]
    make_price(models[0], input_nanos=USD, output_nanos=USD, effective_from=month_start())
    budget = make_budget(tenant, limit_nanos=10 * USD)
    add_balance(
        budget_id=budget.pk, period_start=month_start(), granted_nanos=10 * USD, settled_nanos=9 * USD
    )
    for day in range(1, 29):
        for place, model in enumerate(models, start=1):
            add_day(
                tenant_id=tenant.pk, day=today().replace(day=day), model_id=model.pk, policy_id=policy.pk,
                api_key_id=key.row.pk, task="summaries", end_user=f"user-{day}@a-customer-of-ours.example",
                cost_nanos=day * place * 1_234_567, baseline_cost_nanos=day * 10_000_000,
            )  # fmt: skip
    add_latency(tenant_id=tenant.pk, bucket=40, dispatches=100)
    dispatch_id = add_dispatch(
        tenant_id=tenant.pk, api_key_id=key.row.pk, policy_id=policy.pk, model_id=models[1].pk, attempts=2,
        task="summaries", end_user="user-1@a-customer-of-ours.example", rule="default",
        reason={"words": "Rule 'default' of policy auto v1 matched, because it has no conditions.", "failed": ["task"]},
    )  # fmt: skip
    add_attempt(dispatch_id=dispatch_id, model_id=models[0].pk, fault="rate_limited", latency_ms=200)
    add_attempt(
        dispatch_id=dispatch_id, model_id=models[1].pk, position=2, role="fallback", start_offset_ms=200
    )
    yield Books(tenant=tenant, dispatch_id=dispatch_id)
    with connection.cursor() as cursor:
        cursor.execute(f"TRUNCATE {UNMANAGED}")


def test_finance_signs_in_reads_a_month_opens_a_dispatch_and_downloads_the_figures(
    open_page: Callable[..., Page], finance_user: User, books: Books
) -> None:
    page = open_page("/")
    page.get_by_label("User name").fill(finance_user.username)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()

    page.get_by_role("link", name=books.tenant.display_name).click()
    expect(page.get_by_role("heading", level=1)).to_have_text(books.tenant.display_name)
    expect(page.get_by_text("$9.00 settled")).to_be_visible()
    expect(page.get_by_role("img", name="Spend by day, stacked by model")).to_be_visible()

    with page.expect_download() as download:
        page.get_by_role("link", name="Download CSV").click()
    with download.value.path().open(newline="", encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == 28 * 3

    page.get_by_role("region", name="Dispatches").get_by_role("link").first.click()
    expect(page.get_by_text(str(books.dispatch_id))).to_be_visible()
    expect(page.get_by_text("Rule 'default' of policy auto v1 matched")).to_be_visible()
    expect(page.locator(".attempt-bar")).to_have_count(2)

    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")


@pytest.mark.parametrize("color_scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_no_page_is_wider_than_its_window(
    visitor: Visitor, finance_user: User, books: Books, viewport: tuple[int, int], color_scheme: str
) -> None:
    visitor.sign_in(finance_user)
    page = visitor.open_page("/login/", viewport=viewport, color_scheme=color_scheme)  # type: ignore[arg-type]

    for path in (
        "/login/",
        "/costs/",
        "/costs/tenants/acme/",
        "/costs/tenants/acme/dispatches/?task=summaries",
        f"/costs/dispatches/{books.dispatch_id}/",
    ):
        page.goto(path)
        assert_fits_the_width(page)


def test_a_day_of_the_chart_tells_its_figures_and_leads_to_its_dispatches(
    visitor: Visitor, finance_user: User, books: Books
) -> None:
    visitor.sign_in(finance_user)
    page = visitor.open_page("/costs/tenants/acme/")

    page.locator(".day").nth(now().day - 1).hover()
    expect(page.locator(".tip")).to_contain_text("frontier-with-a-long-name-2026-preview")

    page.locator(".day").nth(now().day - 1).click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Dispatches")
    assert f"?day={now():%Y-%m-%d}" in page.url


def test_choosing_a_month_shows_it_at_once(visitor: Visitor, finance_user: User, books: Books) -> None:
    visitor.sign_in(finance_user)
    page = visitor.open_page("/costs/tenants/acme/")

    page.get_by_label("Month", exact=True).select_option(index=1)

    expect(page.get_by_text("Nothing was spent in this month.")).to_be_visible()


def test_everything_works_without_javascript(visitor: Visitor, finance_user: User, books: Books) -> None:
    visitor.sign_in(finance_user)
    page = visitor.open_page("/costs/", javascript=False)

    page.get_by_label("Month", exact=True).select_option(index=1)
    page.get_by_role("button", name="Show").click()
    expect(page.get_by_role("cell", name="$0.00").first).to_be_visible()

    page.goto("/costs/tenants/acme/")
    page.get_by_text("The same numbers as a table").click()
    head_and_days = 1 + monthrange(today().year, today().month)[1]
    rows = page.get_by_role("region", name="Spend by day and model").get_by_role("row")
    expect(rows).to_have_count(head_and_days)
