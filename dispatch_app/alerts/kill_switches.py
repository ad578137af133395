"""Alerts about kill switches that were thrown or lifted: whoever is on duty should not have to find out."""

from datetime import timedelta

from django.utils import timezone

from dispatch_app.alerts.kinds import AlertKind
from dispatch_app.alerts.raising import raise_alert
from policies_app.models import KillSwitch

LOOKS_BACK = timedelta(hours=1)
"""So long may Celery be away without anybody missing one."""


def alert_about_kill_switches() -> None:
    """Tell the installation of each switch that was thrown, and of each that was lifted, once."""
    since = timezone.now() - LOOKS_BACK
    switches = KillSwitch.objects.select_related("provider", "model", "policy", "tenant", "api_key__tenant")
    for switch in switches.filter(created_at__gt=since):
        _tell(switch, "Stopped", by=switch.author_name, key=f"thrown:{switch.pk}")
    for switch in switches.filter(lifted_at__gt=since):
        _tell(switch, "No longer stopped", by=switch.lifted_by_name, key=f"lifted:{switch.pk}")


def _tell(switch: KillSwitch, deed: str, *, by: str, key: str) -> None:
    raise_alert(
        kind=AlertKind.KILL_SWITCH,
        key=key,
        tenant_id=None,
        title=f"{deed}: {switch}",
        details={
            "by": by,
            "reason": switch.reason,
            "thrown_at": switch.created_at,
            "expires_at": switch.expires_at,
        },
    )
