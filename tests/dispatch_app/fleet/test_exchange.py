"""What several processes on one database come to know of the fleet."""

import random
import time
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from dispatch_app.fleet.histogram import Histogram, bucket_of, duration_of
from dispatch_app.fleet.picture import KEPT_SLOTS, slot_of
from dispatch_app.fleet.watched import hedge_query
from policies_app.routing.codes import FaultClass, HealthState, LatencyMeasure
from policies_app.routing.types import HEDGE_PERCENTILE, LatencyReading, TargetHealth
from tests.dispatch_app.fleet.processes import (
    LARGE,
    SMALL,
    cold_after,
    make_condition,
    make_report,
    make_snapshot,
    running_processes,
)

CONDITION = make_condition(above_ms=1_000, hysteresis_pct=20)
SIGNAL = CONDITION.signal


def execute(conninfo: str, statement: str, *parameters: object) -> list[tuple]:
    with psycopg.connect(conninfo, autocommit=True) as connection:
        cursor = connection.execute(statement, parameters)
        return cursor.fetchall() if cursor.description else []


def age_everything(conninfo: str, *, seconds: int) -> None:
    """Let the calls that were told have happened earlier."""
    execute(conninfo, "UPDATE fleet_latency SET slot = slot - %s", seconds // 10)


def let_a_round_pass(conninfo: str) -> None:
    execute(conninfo, "UPDATE fleet_signal SET round = round - 1")


async def test_all_processes_answer_from_the_calls_of_all(conninfo):
    chance = random.Random(7)
    durations = [[chance.randint(1, 60_000) for _ in range(200)] for _ in range(3)]
    async with running_processes(conninfo, 3) as processes:
        for process, seen in zip(processes, durations, strict=True):
            process.saw(*seen)

        for _ in range(2):
            for process in processes:
                await process.exchange()

        everything = Histogram.of(duration for seen in durations for duration in seen)
        expected = LatencyReading(value_ms=everything.percentile_ms(HEDGE_PERCENTILE), samples=600)
        readings = [process.fleet.current.latency[hedge_query("small")] for process in processes]
        assert readings == [expected] * 3


async def test_models_and_measures_are_kept_apart(conninfo):
    async with running_processes(conninfo, snapshot=make_snapshot(CONDITION)) as [process]:
        process.saw(100, 100)
        process.saw(900, candidate=LARGE)
        await process.exchange()

        latency = process.fleet.current.latency
        assert latency[hedge_query("small")] == LatencyReading(
            value_ms=duration_of(bucket_of(100)), samples=2
        )
        assert latency[hedge_query("large")].samples == 1
        assert latency[SIGNAL.query].samples == 2


async def test_what_was_told_survives_the_process_and_is_not_told_twice(conninfo):
    async with running_processes(conninfo) as [process]:
        process.saw(100, 200)
        for _ in range(3):
            await process.exchange()

    async with running_processes(conninfo) as [successor]:
        successor.saw(300)
        await successor.exchange()

        assert successor.fleet.current.latency[hedge_query("small")].samples == 3


async def test_what_could_not_be_told_is_told_later(conninfo):
    async with running_processes(conninfo) as [process]:
        process.saw(100)
        execute(
            conninfo,
            "SELECT pg_terminate_backend(%s)",
            process.connection.info.backend_pid,
        )
        with pytest.raises(psycopg.OperationalError):
            await process.exchange()
        process.saw(200)

        async with await psycopg.AsyncConnection.connect(conninfo, autocommit=True) as again:
            await process.holder.exchange(again)

        assert process.fleet.current.latency[hedge_query("small")].samples == 2


async def test_a_window_ends(conninfo):
    conditions = [make_condition(window_s=60), make_condition(window_s=3_600)]
    async with running_processes(conninfo, 2, snapshot=make_snapshot(*conditions)) as [one, _]:
        one.saw(100)
        await one.exchange()
        age_everything(conninfo, seconds=80)
        one.saw(200)
        await one.exchange()

    async with running_processes(conninfo, snapshot=make_snapshot(*conditions)) as [fresh]:
        samples = {
            query.window_s: reading.samples
            for query, reading in fresh.fleet.current.latency.items()
            if query.measure is LatencyMeasure.TOTAL
        }
        assert samples == {60: 1, 3_600: 2}


async def test_a_reading_fades_without_new_calls(conninfo):
    async with running_processes(conninfo, snapshot=make_snapshot(CONDITION)) as [process]:
        process.saw(100)
        await process.exchange()
        picture = process.fleet.picture

        picture.take([], last_used_at={}, read_at=picture.read_at + timedelta(seconds=50))
        await process.fleet.read_latencies(make_snapshot(CONDITION))
        assert SIGNAL.query in process.fleet.current.latency
        picture.take([], last_used_at={}, read_at=picture.read_at + timedelta(seconds=30))
        await process.fleet.read_latencies(make_snapshot(CONDITION))
        assert SIGNAL.query not in process.fleet.current.latency


async def test_calls_that_were_committed_after_their_slot_had_ended_count(conninfo):
    async with running_processes(conninfo, 2) as [one, late]:
        slot_before = slot_of(one.fleet.picture.read_at) - 1
        late.saw(100)
        await late.exchange()
        execute(conninfo, "UPDATE fleet_latency SET slot = %s", slot_before)

        await one.exchange()

        assert one.fleet.current.latency[hedge_query("small")].samples == 1


async def test_slots_that_no_window_reaches_are_deleted_and_forgotten(conninfo):
    async with running_processes(conninfo) as [process]:
        process.saw(100)
        await process.exchange()
        age_everything(conninfo, seconds=10 * (KEPT_SLOTS + 1))
        process.saw(100)
        process.holder._forget_due = time.monotonic()
        await process.exchange()

        (slots,) = execute(conninfo, "SELECT array_agg(DISTINCT slot) FROM fleet_latency")
        now = slot_of(datetime.now(UTC))
        assert all(now - 2 <= slot <= now for slot in slots[0])

        picture = process.fleet.picture
        picture.take([], last_used_at={}, read_at=picture.read_at + timedelta(seconds=10 * (KEPT_SLOTS + 2)))
        assert not picture._series


async def test_a_signal_holds_until_it_is_clearly_below_its_bound(conninfo):
    async with running_processes(conninfo, snapshot=make_snapshot(CONDITION)) as [process]:
        held = []
        for duration_ms in (950, 1_100, 950, 850, 700, 950):
            execute(conninfo, "DELETE FROM fleet_latency")
            let_a_round_pass(conninfo)
            process.fleet.picture._series.clear()
            process.saw(duration_ms)
            await process.exchange()
            held.append(SIGNAL in process.fleet.current.holding)

        assert held == [False, True, True, True, False, False]


async def test_a_signal_on_too_few_calls_does_not_hold(conninfo):
    condition = make_condition(above_ms=100, least_samples=3)
    async with running_processes(conninfo, snapshot=make_snapshot(condition)) as [process]:
        process.saw(500, 500)
        await process.exchange()
        assert not process.fleet.current.holding

        process.saw(500)
        await process.exchange()
        assert process.fleet.current.holding == {condition.signal}


async def test_who_comes_later_in_a_round_decides_nothing(conninfo):
    async with running_processes(conninfo, 2, snapshot=make_snapshot(CONDITION)) as [one, other]:
        one.saw(2_000)
        await one.exchange()
        await other.exchange()
        execute(conninfo, "UPDATE fleet_signal SET round = round + 10")
        execute(conninfo, "DELETE FROM fleet_latency")
        other.fleet.picture._series.clear()
        other.saw(10)
        await other.exchange()
        await one.exchange()

        assert [process.fleet.current.holding for process in (one, other)] == [{SIGNAL}, {SIGNAL}]

        execute(conninfo, "UPDATE fleet_signal SET round = 0")
        one.fleet.picture._series.clear()
        await one.exchange()
        await other.exchange()

        assert [process.fleet.current.holding for process in (one, other)] == [frozenset(), frozenset()]


async def test_a_fresh_process_takes_over_which_side_of_its_bound_a_signal_is_on(conninfo):
    snapshot = make_snapshot(CONDITION)
    async with running_processes(conninfo, snapshot=snapshot) as [process]:
        process.saw(1_100)
        await process.exchange()
    execute(conninfo, "DELETE FROM fleet_latency")

    async with running_processes(conninfo) as [somebody]:
        somebody.saw(900)
        await somebody.exchange()
    async with running_processes(conninfo, snapshot=snapshot) as [fresh]:
        assert fresh.fleet.current.holding == {SIGNAL}


async def test_a_watched_signal_is_kept_and_one_that_nobody_watches_is_forgotten(conninfo):
    other = make_condition(above_ms=5)
    async with running_processes(conninfo, snapshot=make_snapshot(CONDITION, other)) as [process]:
        process.saw(2_000)
        await process.exchange()
    execute(conninfo, "UPDATE fleet_signal SET watched_at = now() - interval '59 minutes'")

    async with running_processes(conninfo, snapshot=make_snapshot(CONDITION)) as [process]:
        process.holder._forget_due = time.monotonic()
        await process.exchange()
        execute(conninfo, "UPDATE fleet_signal SET watched_at = watched_at - interval '2 minutes'")
        process.holder._forget_due = time.monotonic()
        await process.exchange()

    assert len(execute(conninfo, "SELECT signal FROM fleet_signal")) == 1


async def test_a_model_used_by_one_process_is_warm_for_all(conninfo):
    snapshot = make_snapshot(catalogue=cold_after(300, penalty_ms=4_000))
    async with running_processes(conninfo, 2, snapshot=snapshot) as [one, other]:
        assert one.fleet.current.cold_penalty_ms == {"small": 4_000}

        one.saw(100)
        one.fleet.rebuild(snapshot)
        assert one.fleet.current.cold_penalty_ms == {}
        await one.exchange()
        await other.exchange()

        assert other.fleet.current.cold_penalty_ms == {}


async def test_a_model_goes_cold_by_the_passing_of_time(conninfo):
    moment = datetime.now(UTC)
    snapshot = make_snapshot(catalogue=cold_after(300))
    async with running_processes(conninfo, snapshot=snapshot, now=lambda: moment) as [process]:
        process.saw(100)
        await process.exchange()
        for passed_s, is_cold in ((299, False), (302, True)):
            moment = datetime.now(UTC) + timedelta(seconds=passed_s)
            process.fleet.rebuild(snapshot)
            assert ("small" in process.fleet.current.cold_penalty_ms) is is_cold


async def test_calls_that_got_no_sign_of_life_warm_nothing(conninfo):
    snapshot = make_snapshot(catalogue=cold_after(300))
    async with running_processes(conninfo, snapshot=snapshot) as [process]:
        process.fleet.report(SMALL.model, make_report(5, first_byte_ms=None, fault=FaultClass.UNREACHABLE))
        await process.exchange()

        assert "small" in process.fleet.current.cold_penalty_ms


async def test_a_model_that_declares_no_cold_start_is_never_cold(conninfo):
    async with running_processes(conninfo) as [process]:
        assert process.fleet.current.cold_penalty_ms == {}


async def test_a_cold_start_counts_towards_a_signal(conninfo):
    condition = make_condition(above_ms=1_000)
    snapshot = make_snapshot(condition, catalogue=cold_after(300, penalty_ms=4_000))
    moment = datetime.now(UTC)
    async with running_processes(conninfo, snapshot=snapshot, now=lambda: moment) as [process]:
        assert process.fleet.current.holding == {condition.signal}

        let_a_round_pass(conninfo)
        process.saw(100)
        await process.exchange()
        assert not process.fleet.current.holding

        let_a_round_pass(conninfo)
        moment += timedelta(seconds=301)
        await process.exchange()
        assert process.fleet.current.holding == {condition.signal}


async def test_breakers_show_at_once(conninfo):
    async with running_processes(conninfo) as [process]:
        assert not process.fleet.current.targets
        targets = process.fleet._targets
        targets.models = {"small": TargetHealth(state=HealthState.OPEN)}
        targets.degraded = frozenset({"vendor"})
        targets.changes += 1

        assert process.fleet.current.targets["small"].state is HealthState.OPEN
        assert process.fleet.current.degraded_providers == {"vendor"}
        process.fleet.rebuild(make_snapshot())
        assert process.fleet.current.targets["small"].state is HealthState.OPEN


async def test_quality_is_that_of_the_snapshot(conninfo):
    snapshot = make_snapshot(quality={("small", "triage"): 0.8})
    async with running_processes(conninfo, snapshot=snapshot) as [process]:
        assert process.fleet.current.quality == {("small", "triage"): 0.8}
