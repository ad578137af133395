"""The admin's sidebar: what each person may see, grouped by what they come for."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest
from django.urls import reverse

from policies_app.roles import SEE_HEALTH, SEE_PRICES, SEE_RECONCILER
from policies_app.services.price_gaps import count_unpriced


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One entry: shown to whoever holds the permission (any member of staff, if there is none).

    `count` is how many rows of the page want something done about them: shown unless it is zero.
    """

    title: str
    icon: str
    url_name: str
    permission: str = ""
    count: Callable[[], int] | None = None


def _list_of(title: str, icon: str, model: str) -> Page:
    app, name = model.split(".")
    return Page(
        title=title, icon=icon, url_name=f"admin:{app}_{name}_changelist", permission=f"{app}.view_{name}"
    )


GROUPS: tuple[tuple[str, tuple[Page, ...]], ...] = (
    ("", (Page(title="Overview", icon="dashboard", url_name="admin:index"),)),
    (
        "Routing",
        (
            _list_of("Policies", "alt_route", "policies_app.policy"),
            _list_of("Rules", "rule", "policies_app.rule"),
            _list_of("Published versions", "history", "policies_app.policyversion"),
            _list_of("Judges", "gavel", "policies_app.judge"),
            _list_of("Quality scores", "grade", "policies_app.qualityscore"),
        ),
    ),
    (
        "Fleet",
        (
            _list_of("Models", "smart_toy", "policies_app.model"),
            _list_of("Prices", "sell", "policies_app.price"),
            Page(
                title="Prices to look at",
                icon="price_check",
                url_name="price-gaps",
                permission=SEE_PRICES,
                count=count_unpriced,
            ),
            _list_of("Providers", "dns", "policies_app.provider"),
            _list_of("Serving processes", "memory", "dispatch_app.servingprocess"),
        ),
    ),
    (
        "Safety",
        (
            Page(title="Health", icon="monitor_heart", url_name="health:page", permission=SEE_HEALTH),
            _list_of("Kill switches", "power_settings_new", "policies_app.killswitch"),
            _list_of("Alerts", "notifications", "dispatch_app.alert"),
            _list_of("Alert destinations", "outgoing_mail", "dispatch_app.alertdestination"),
        ),
    ),
    (
        "Tenants and money",
        (
            _list_of("Tenants", "apartment", "policies_app.tenant"),
            _list_of("API keys", "key", "policies_app.apikey"),
            _list_of("Budgets", "savings", "policies_app.budget"),
            _list_of("Budget raises", "trending_up", "policies_app.budgetraise"),
            _list_of("Budget balances", "account_balance_wallet", "dispatch_app.budgetbalance"),
            _list_of("Rate limits", "speed", "policies_app.ratelimit"),
            Page(
                title="Reconciliation", icon="balance", url_name="reconcile:page", permission=SEE_RECONCILER
            ),
        ),
    ),
    (
        "Log",
        (
            _list_of("Dispatches", "receipt_long", "dispatch_app.dispatch"),
            _list_of("Attempts", "conversion_path", "dispatch_app.attempt"),
            _list_of("Audit trail", "policy", "policies_app.auditentry"),
        ),
    ),
    (
        "Accounts",
        (
            _list_of("Users", "person", "auth.user"),
            _list_of("Groups", "group", "auth.group"),
        ),
    ),
)


def sidebar(request: HttpRequest) -> list[dict[str, Any]]:
    """The groups that have something for this person, in unfold's shape."""
    groups = ((title, list(_items(request, pages))) for title, pages in GROUPS)
    return [{"title": title, "separator": bool(title), "items": items} for title, items in groups if items]


def _items(request: HttpRequest, pages: tuple[Page, ...]) -> Iterator[dict[str, Any]]:
    for page in pages:
        if page.permission and not request.user.has_perm(page.permission):
            continue
        entry = {"title": page.title, "icon": page.icon, "link": reverse(page.url_name)}
        yield entry | _badge(page)


def _badge(page: Page) -> dict[str, Any]:
    count = page.count() if page.count else 0
    return {"badge": count, "badge_variant": "warning"} if count else {}
