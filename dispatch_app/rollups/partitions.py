"""Day partitions of the log: created ahead, dropped when they are past their retention and their figures are kept.

Days are UTC's.
"""

import logging
from datetime import UTC, date, datetime, time, timedelta

from django.db import connection
from psycopg import sql

from dispatch_app.alerts.kinds import AlertKind
from dispatch_app.alerts.raising import raise_alert
from dispatch_app.rollups.statements import Row, fetch, fetch_one

logger = logging.getLogger(__name__)

DAYS_AHEAD = 14
DAYS_AHEAD_WARNING = 7

ONE_DAY = timedelta(days=1)


def create_partitions(*, today: date) -> int:
    """Create what is missing from yesterday to `DAYS_AHEAD` days ahead; answers how many tables that was.

    Warns if less than `DAYS_AHEAD_WARNING` days were left: the upkeep must have stood still.
    """
    days_left = count_days_ahead(today=today)
    if days_left < DAYS_AHEAD_WARNING:
        logger.warning(
            "The log had partitions for %s days ahead only; has the upkeep stood still?", days_left
        )
        raise_alert(
            kind=AlertKind.PARTITIONS,
            key=f"days_ahead:{today}",
            tenant_id=None,
            title=f"The log had partitions for {days_left} days ahead only",
            details={"days_left": days_left, "days_wanted": DAYS_AHEAD},
        )
    values = {"first_day": today - ONE_DAY, "days": DAYS_AHEAD + 2}
    return int(fetch_one("create_partitions", values)["created"])


def count_days_ahead(*, today: date) -> int:
    """How many days after `today` have their partitions, without a gap; -1 if not even today has."""
    last_day = fetch_one("days_ahead", {"today": today})["last_day"]
    return -1 if last_day is None else (last_day - today).days


def drop_old_partitions(*, today: date, retention_days: int) -> list[str]:
    """Detach and drop the days before the last `retention_days`; answers the names of the dropped tables.

    A day with an open row, or with deltas that the rollups have not added, stays until the next time. Detaching waits for
    running statements without holding up new ones, which PostgreSQL does outside of a transaction only.

    :raises ValueError: if less than a day is to be kept.
    """
    if retention_days < 1:
        raise ValueError("The log is kept for one day at least.")
    first_kept = today - timedelta(days=retention_days)
    old = fetch("partitions_before", {"first_kept": first_kept})
    closed_days = {day for day in {partition["day"] for partition in old} if _is_closed(day)}
    return [_drop(partition) for partition in old if partition["day"] in closed_days]


def _is_closed(day: date) -> bool:
    start = datetime.combine(day, time.min, tzinfo=UTC)
    return bool(fetch_one("is_day_closed", {"start": start, "end": start + ONE_DAY})["is_closed"])


def _drop(partition: Row) -> str:
    names = {name: sql.Identifier(partition[name]) for name in ("name", "log_table")}
    with connection.cursor() as cursor:
        if partition["is_attached"]:
            # An earlier run may have been stopped between the two halves of detaching.
            how = sql.SQL("FINALIZE" if partition["is_half_detached"] else "CONCURRENTLY")
            detach = sql.SQL("ALTER TABLE {log_table} DETACH PARTITION {name} {how}")
            cursor.execute(detach.format(**names, how=how))
        cursor.execute(sql.SQL("DROP TABLE {name}").format(**names))
    return str(partition["name"])
