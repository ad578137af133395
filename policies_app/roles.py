"""The groups that every installation has, and what their members may do.

Ops staff decide where requests go and may stop them; what tenants spend is not theirs to see. Finance staff see
everything that bears on cost, and set budgets; they cannot change the routing.
"""

from collections.abc import Iterable, Iterator
from itertools import chain

OPS = "ops"
FINANCE = "finance"
SEE_COSTS = "dispatch_app.view_costs"
"""Who holds this permission may see what tenants spend."""
SEE_HEALTH = "dispatch_app.view_targethealth"
"""Who holds this permission may see how targets fare."""
SEE_PRICES = "policies_app.view_price"
"""Who holds this permission may see what models cost, and which ones lack a price."""
SEE_RECONCILER = "dispatch_app.view_reconcilerun"
"""Who holds this permission may see whether log, budgets and rollups agree."""
RUN_RECONCILER = "dispatch_app.add_reconcilerun"
"""Who holds this permission may have them compared at once."""


def _each(verbs: Iterable[str], models: Iterable[str], *, app: str = "policies_app") -> Iterator[str]:
    models = tuple(models)
    return (f"{app}.{verb}_{model}" for verb in verbs for model in models)


_CONTROL_MODELS = (
    "apikey",
    "auditentry",
    "budget",
    "budgetraise",
    "condition",
    "credential",
    "judge",
    "judgeversion",
    "killswitch",
    "model",
    "policy",
    "policyversion",
    "price",
    "provider",
    "qualityscore",
    "ratelimit",
    "rule",
    "step",
    "tenant",
    "validator",
)

PERMISSIONS: dict[str, frozenset[str]] = {
    OPS: frozenset(
        chain(
            _each(("view",), _CONTROL_MODELS),
            _each(("add", "change"), ("policy", "rule", "condition", "step", "validator", "judge")),
            _each(("add", "change"), ("provider", "credential", "model", "qualityscore")),
            _each(("add", "change"), ("tenant", "apikey", "ratelimit")),
            _each(("delete",), ("rule", "condition", "step", "validator", "credential", "qualityscore")),
            _each(("add",), ("price", "killswitch", "judgeversion")),
            ("policies_app.publish_policy", "policies_app.operate_kill_switch"),
            _each(("view",), ("dispatch", "attempt", "servingprocess", "targethealth"), app="dispatch_app"),
            _each(("view",), ("alert", "alertdelivery"), app="dispatch_app"),
            _each(("view", "add", "change", "delete"), ("alertdestination",), app="dispatch_app"),
            (SEE_RECONCILER, RUN_RECONCILER),
        )
    ),
    FINANCE: frozenset(
        chain(
            _each(("view",), _CONTROL_MODELS),
            _each(("add", "change"), ("budget",)),
            ("policies_app.change_budget_limit", "dispatch_app.view_costs"),
            _each(("view",), ("dispatch", "attempt", "budgetbalance"), app="dispatch_app"),
            _each(("view",), ("alert", "alertdelivery", "alertdestination"), app="dispatch_app"),
            (SEE_RECONCILER, RUN_RECONCILER),
        )
    ),
}
"""By group: permissions as `app.codename`."""


def install_roles(**_: object) -> None:
    """Bring both groups up to date after a migrate. Members and other groups are left alone."""
    from django.contrib.auth.models import Group, Permission

    known = {
        f"{permission.content_type.app_label}.{permission.codename}": permission
        for permission in Permission.objects.select_related("content_type")
    }
    for name, wanted in PERMISSIONS.items():
        group, _created = Group.objects.get_or_create(name=name)
        # A partial migrate has not made all permissions yet; the rest of it comes here again.
        group.permissions.set(known[code] for code in wanted & known.keys())
