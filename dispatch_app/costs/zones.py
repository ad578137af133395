"""Tenants' time zones."""

from datetime import UTC, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from policies_app.models import Tenant


def zone_of(tenant: Tenant) -> tzinfo:
    """The tenant's time zone; UTC if this machine does not know it."""
    try:
        return ZoneInfo(tenant.time_zone)
    except (ZoneInfoNotFoundError, ValueError):
        return UTC
