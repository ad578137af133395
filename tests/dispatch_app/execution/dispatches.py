"""A dispatch by itself, between whatever a test has for the world outside."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import count
from typing import Any
from uuid import UUID

from dispatch_app.execution.canonical import Request
from dispatch_app.execution.dispatcher import Dispatch
from dispatch_app.execution.hedge_budget import HedgeBudget
from dispatch_app.execution.order import Order, Ports
from dispatch_app.execution.ports import DispatchRecord, Ledger, Upstream
from dispatch_app.execution.retry_budget import RetryBudget
from dispatch_app.gateway.services import SystemClock
from policies_app.routing.types import RoutePlan
from tests.dispatch_app.execution.health import ScriptedHealth
from tests.dispatch_app.routing_values import make_facts


def make_dispatch(
    plan: RoutePlan,
    *,
    request: Request,
    ledger: Ledger,
    upstream: Upstream,
    order: Mapping[str, Any] | None = None,
    ports: Mapping[str, Any] | None = None,
) -> Dispatch:
    """A dispatch that is received now. `order` and `ports` have what is to be another than usual."""
    now, numbers = asyncio.get_running_loop().time(), count(1)
    usual_order = {
        "record": make_record(strategy=plan.strategy, stream=request.stream),
        "facts": make_facts(),
        "budgets": (),
        "baseline": None,
        "received_at": now,
        "deadline_at": now + plan.deadline_ms / 1000,
    }
    usual_ports = {
        "clock": SystemClock(),
        "new_id": lambda: UUID(int=next(numbers)),
        "retries": RetryBudget(),
        "hedges": HedgeBudget(),
        "health": ScriptedHealth(),
    }
    return Dispatch(
        order=Order(**{"plan": plan, "request": request, **usual_order, **(order or {})}),
        ports=Ports(**{"ledger": ledger, "upstream": upstream, **usual_ports, **(ports or {})}),
    )


def make_record(**changes: Any) -> DispatchRecord:
    values = {
        "id": UUID(int=0), "created_at": datetime.now(UTC), "tenant_id": 1, "api_key_id": 1, "end_user": "", "task": "",
        "tags": {}, "requested_model": "auto", "policy_id": 1, "policy_version": 1, "rule": "default", "strategy": None,
        "reason": {}, "stream": False,
    }  # fmt: skip
    return DispatchRecord(**(values | changes))


def retries_left(number: int) -> RetryBudget:
    """A budget of so many retries, for ever."""
    budget = RetryBudget()
    budget._left_in_window, budget._window_started_at = number, float("inf")
    return budget
