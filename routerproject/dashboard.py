"""The admin's first page: what serves, what is stopped, what waits to be published, what today costs."""

from typing import Any

from django.db.models import Sum
from django.http import HttpRequest
from django.utils import timezone

from dispatch_app.costs.formats import show_usd
from dispatch_app.models import RollupDay
from policies_app.admin.wording import draft_state
from policies_app.models import KillSwitch
from policies_app.roles import SEE_COSTS, SEE_PRICES
from policies_app.services.drafts import policies_with_drafts
from policies_app.services.kill_switches import acknowledgements, current_epoch
from policies_app.services.price_gaps import count_unpriced

_SHOWN = 8


def overview(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Add to the page's context what this person may see."""
    shown = _safety(request) | _fleet(request) | _routing(request) | _money(request)
    return context | {"title": "Overview"} | shown


def _safety(request: HttpRequest) -> dict[str, Any]:
    if not request.user.has_perm("policies_app.view_killswitch"):
        return {}
    switches = KillSwitch.objects.active().select_related(
        "provider", "model", "policy", "tenant", "api_key__tenant"
    )
    epoch = current_epoch()
    return {
        "switch_count": switches.count(),
        "switches": switches.order_by("-created_at")[:_SHOWN],
        "epoch": epoch,
        "serving": acknowledgements(epoch),
    }


def _fleet(request: HttpRequest) -> dict[str, Any]:
    return {"unpriced_count": count_unpriced()} if request.user.has_perm(SEE_PRICES) else {}


def _routing(request: HttpRequest) -> dict[str, Any]:
    if not request.user.has_perm("policies_app.view_policy"):
        return {}
    states = [
        (policy, *draft_state(policy)) for policy in policies_with_drafts().select_related("live_version")
    ]
    drafts = [{"policy": policy, "words": words} for policy, code, words in states if code != "same"]
    return {"draft_count": len(drafts), "drafts": drafts[:_SHOWN]}


def _money(request: HttpRequest) -> dict[str, Any]:
    if not request.user.has_perm(SEE_COSTS):
        return {}
    today = RollupDay.objects.filter(day=timezone.now().date())
    sums = today.aggregate(cost=Sum("cost_nanos"), dispatches=Sum("dispatches"))
    return {"spent_today": show_usd(int(sums["cost"] or 0)), "dispatches_today": int(sums["dispatches"] or 0)}
