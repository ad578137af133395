"""What clients were told, what the log says, what budgets hold and what finance sees are one and the same sum."""

import pytest

from dispatch_app.models import RollupMonth
from dispatch_app.rollups.drain import drain_deltas, recompute_dirty
from dispatch_app.rollups.reconcile import compare
from policies_app.models import Budget
from sandbox.server import SandboxServer
from tests.acceptance.callers import call_at_once
from tests.running_servers import RunningGateway, attempt_rows, dispatch_rows, open_shop


@pytest.mark.processes
def test_log_budgets_rollups_and_the_vendors_bill_agree_after_a_drain(
    gateway: RunningGateway, vendor: SandboxServer
) -> None:
    shop = open_shop(vendor)
    Budget.objects.create(tenant=shop.tenant, name="cap", limit_nanos=10**15)
    gateway.catch_up()
    vendor.script("503", model="sandbox-small", times=10)
    vendor.script("missing_usage", model="sandbox-mid", times=1)

    told = call_at_once([gateway], shop.key, callers=60)
    drain_deltas()
    recompute_dirty()

    logged_nanos = sum(row["cost_nanos"] for row in attempt_rows())
    assert [answer.status for answer in told] == [200] * 60
    assert not compare().differences
    assert sum(row.cost_nanos for row in RollupMonth.objects.all()) == logged_nanos
    assert sum(row["cost_nanos"] for row in dispatch_rows()) == logged_nanos
    assert sum(row.dispatches for row in RollupMonth.objects.all()) == 60
    exact_nanos = sum(row["cost_nanos"] for row in attempt_rows() if not row["estimated"])
    assert exact_nanos <= vendor.ledger.total_nanos <= logged_nanos
