"""What the processes tell each other of the fleet, through the database and off the way of requests."""

from collections.abc import Iterable, Mapping

import psycopg

from dispatch_app.fleet.histogram import Histogram
from dispatch_app.fleet.observations import Observations
from dispatch_app.fleet.picture import KEPT_SLOTS, SLOT_S, SharedPicture, Slot
from policies_app.routing.codes import LatencyMeasure

ROUND_S = 2
"""Every process exchanges once in a round; rounds are counted by the database's clock."""

# One statement, in the order of the keys, so that two processes cannot deadlock.
TELL_SQL = """
WITH used AS (
    INSERT INTO fleet_warmth AS known (model_id, last_used_at)
    SELECT model_id, least(at, now()) FROM unnest(%(used_ids)s::bigint[], %(used_at)s::timestamptz[]) AS seen (model_id, at)
     ORDER BY model_id
        ON CONFLICT (model_id) DO UPDATE SET last_used_at = greatest(known.last_used_at, excluded.last_used_at)
)
INSERT INTO fleet_latency AS known (slot, model_id, measure, bucket, calls)
SELECT floor(extract(epoch FROM now()) / %(slot_s)s), model_id, measure, bucket, calls
  FROM unnest(%(model_ids)s::bigint[], %(measures)s::text[], %(buckets)s::smallint[], %(calls)s::bigint[])
    AS seen (model_id, measure, bucket, calls)
 ORDER BY model_id, measure, bucket
    ON CONFLICT (slot, model_id, measure, bucket) DO UPDATE SET calls = known.calls + excluded.calls
"""
NOW_SQL = "SELECT now(), floor(extract(epoch FROM now()) / %s)::bigint"
SLOTS_SQL = """
SELECT slot, model_id, measure, array_agg(bucket), array_agg(calls)
  FROM fleet_latency WHERE slot >= %s GROUP BY slot, model_id, measure ORDER BY slot
"""
WARMTH_SQL = "SELECT model_id, last_used_at FROM fleet_warmth WHERE last_used_at IS NOT NULL"
HOLDING_SQL = "SELECT signal FROM fleet_signal WHERE holds"
# Who comes first in a round decides; whoever comes later in it, perhaps with other figures, changes nothing.
DECIDE_SQL = """
INSERT INTO fleet_signal AS known (signal, holds, round, watched_at)
SELECT signal, holds, %(round)s, now() FROM unnest(%(signals)s::text[], %(holds)s::boolean[]) AS seen (signal, holds)
 ORDER BY signal
    ON CONFLICT (signal) DO UPDATE SET holds = excluded.holds, round = excluded.round, watched_at = now()
 WHERE known.round < excluded.round
"""
STILL_WATCHED_SQL = "UPDATE fleet_signal SET watched_at = now() WHERE signal = ANY(%s)"
FORGET_SQL = """
WITH unwatched AS (DELETE FROM fleet_signal WHERE watched_at < now() - interval '1 hour')
DELETE FROM fleet_latency WHERE slot < floor(extract(epoch FROM now()) / %(slot_s)s) - %(kept)s
"""


async def tell(connection: psycopg.AsyncConnection, seen: Observations) -> None:
    """Add what this process saw to what all know. Told again after a commit in doubt, it counts twice at worst."""
    if not seen.calls and not seen.last_used_at:
        return
    await connection.execute(
        TELL_SQL,
        {
            "slot_s": SLOT_S,
            "used_ids": list(seen.last_used_at),
            "used_at": list(seen.last_used_at.values()),
            "model_ids": [model_id for model_id, _, _ in seen.calls],
            "measures": [measure.value for _, measure, _ in seen.calls],
            "buckets": [bucket for _, _, bucket in seen.calls],
            "calls": list(seen.calls.values()),
        },
    )


async def read(connection: psycopg.AsyncConnection, picture: SharedPicture) -> int:
    """Bring `picture` up to date; answers the round in which this was."""
    now = await connection.execute(NOW_SQL, (ROUND_S,))
    ((read_at, number),) = await now.fetchall()
    slots = await connection.execute(SLOTS_SQL, (picture.first_changing_slot,))
    changed = [_slot(*row) async for row in slots]
    warmth = await connection.execute(WARMTH_SQL)
    picture.take(changed, last_used_at=dict(await warmth.fetchall()), read_at=read_at)
    picture.holding = await _holding(connection)
    return int(number)


async def decide(
    connection: psycopg.AsyncConnection, picture: SharedPicture, *, signals: Mapping[str, bool], number: int
) -> None:
    """Propose, in this round, which signals hold; `picture.holding` then has what all processes go by."""
    if not signals:
        return
    values = {"signals": list(signals), "holds": list(signals.values()), "round": number}
    await connection.execute(DECIDE_SQL, values)
    picture.holding = await _holding(connection)


async def forget(connection: psycopg.AsyncConnection, *, watched: Iterable[str]) -> None:
    """Delete what no window reaches any more, and signals that nobody has watched for an hour."""
    await connection.execute(STILL_WATCHED_SQL, (sorted(watched),))
    await connection.execute(FORGET_SQL, {"slot_s": SLOT_S, "kept": KEPT_SLOTS})


async def _holding(connection: psycopg.AsyncConnection) -> frozenset[str]:
    cursor = await connection.execute(HOLDING_SQL)
    return frozenset([signal async for (signal,) in cursor])


def _slot(number: int, model_id: int, measure: str, buckets: list[int], calls: list[int]) -> Slot:
    return Slot(
        number=number,
        series=(model_id, LatencyMeasure(measure)),
        calls=Histogram(counts=dict(zip(buckets, calls, strict=True))),
    )
