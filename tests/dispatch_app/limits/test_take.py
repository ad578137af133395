"""The SQL function that decides, at moments of the tests' own, against a bucket in exact arithmetic."""

import json
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.types.json import Jsonb

START_S = 1_800_000_000.0
TAKE_SQL = "SELECT rate_limit_take(%s, %s, %s, %s)::text"


@dataclass(kw_only=True)
class Bucket:
    """Holds `most`, and is refilled evenly within a minute."""

    most: int
    used: Fraction = Fraction(0)
    seen_at: Fraction = field(default_factory=lambda: Fraction(START_S))

    def take(self, amount: int, *, at_s: float) -> bool:
        now = Fraction(at_s)
        self.used = max(Fraction(0), self.used - (now - self.seen_at) * self.most / 60)
        self.seen_at = now
        if self.used + amount > self.most:
            return False
        self.used += amount
        return True

    def is_close(self, amount: int) -> bool:
        """Whether rounding may decide: within half a unit, where `rate_limit_take` is tolerant."""
        return 0 < self.used + amount - self.most <= Fraction(51, 100)


class Database:
    def __init__(self, connection: psycopg.Connection) -> None:
        self._connection = connection

    def take(
        self, limits: list[dict[str, Any]], asks: list[dict[str, Any]], *, at_s: float, me: int = 1
    ) -> Any:
        told = [{"at_once": False, "held": 0, "credit": 0} | limit for limit in limits]
        found = self._connection.execute(TAKE_SQL, (me, Jsonb(told), Jsonb(asks), at_s)).fetchone()
        return json.loads(found[0])

    def forget(self) -> None:
        self._connection.execute("DELETE FROM rate_limit_level; DELETE FROM rate_limit_slot")


@pytest.fixture
def database(conninfo: str):
    with psycopg.connect(conninfo, autocommit=True) as connection:
        yield Database(connection)


def one(amount: int = 1) -> dict[str, Any]:
    return {"slots": [1], "amounts": [amount]}


steps = st.lists(
    st.tuples(
        st.one_of(st.just(0.0), st.floats(min_value=0.001, max_value=90)),
        st.lists(st.integers(min_value=1, max_value=120), min_size=1, max_size=6),
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(most=st.integers(min_value=1, max_value=100), steps=steps)
def test_it_decides_like_an_exact_bucket(database, most, steps):
    database.forget()
    bucket, at_s = Bucket(most=most), START_S
    for pause_s, wanted in steps:
        at_s += pause_s
        amounts = [min(amount, most) for amount in wanted]
        answers = database.take([{"id": 1, "most": most}], [one(amount) for amount in amounts], at_s=at_s)
        for amount, (did_fit, _) in zip(amounts, answers, strict=True):
            bucket.take(0, at_s=at_s)
            if bucket.is_close(amount):
                bucket.used += amount if did_fit else 0
            else:
                assert did_fit == bucket.take(amount, at_s=at_s)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    most=st.integers(min_value=1, max_value=50),
    pauses_s=st.lists(st.floats(min_value=0, max_value=5), min_size=20, max_size=60),
)
def test_in_no_span_of_time_is_more_taken_than_a_full_bucket_and_what_refills_it(database, most, pauses_s):
    database.forget()
    taken_at, at_s = [], START_S
    for pause_s in pauses_s:
        at_s += pause_s
        answers = database.take([{"id": 1, "most": most}], [one()] * 3, at_s=at_s)
        taken_at += [at_s for did_fit, _ in answers if did_fit]
    for first, since_s in enumerate(taken_at):
        for count, until_s in enumerate(taken_at[first:], start=1):
            assert count <= most + (until_s - since_s) * most / 60 + 0.51


def test_a_full_minute_may_come_at_once_and_not_one_more(database):
    answers = database.take([{"id": 1, "most": 7}], [one()] * 8, at_s=START_S)

    assert [did_fit for did_fit, _ in answers] == [True] * 7 + [False]


def test_whoever_takes_all_the_time_gets_what_the_limit_says(database):
    taken = 0
    for tick in range(1, 1_201):
        answers = database.take([{"id": 1, "most": 700}], [one()] * 3, at_s=START_S + tick * 0.1)
        taken += sum(did_fit for did_fit, _ in answers)

    assert taken == pytest.approx(700 + 2 * 700, abs=3)


def test_an_ask_that_one_limit_refuses_takes_nothing_of_the_others(database):
    limits = [{"id": 1, "most": 10}, {"id": 2, "most": 1}]
    both = {"slots": [1, 2], "amounts": [1, 1]}

    answers = database.take(limits, [both, both, one()], at_s=START_S)

    assert answers == [[True, [1, 1]], [False, [1, 1]], [True, [2]]]


def test_what_was_not_used_is_there_again_and_what_was_used_beyond_counts(database):
    limit = {"id": 1, "most": 100}
    database.take([limit], [one(80)], at_s=START_S)

    assert database.take([limit | {"credit": 70}], [one(0)], at_s=START_S) == [
        [True, [pytest.approx(10, abs=0.01)]]
    ]
    assert database.take([limit | {"credit": -150}], [one(0)], at_s=START_S) == [
        [False, [pytest.approx(160, abs=0.01)]]
    ]
    assert database.take([limit], [one(100)], at_s=START_S + 160 * 0.6 + 0.01)[0][0]


def test_more_credit_than_was_taken_makes_no_bucket_more_than_full(database):
    answers = database.take([{"id": 1, "most": 5, "credit": 1_000}], [one()] * 6, at_s=START_S)

    assert [did_fit for did_fit, _ in answers] == [True] * 5 + [False]


def test_an_edit_of_a_limit_keeps_the_share_that_is_used(database):
    database.take([{"id": 1, "most": 100}], [one(50)], at_s=START_S)

    assert database.take([{"id": 1, "most": 10}], [one(0)], at_s=START_S) == [
        [True, [pytest.approx(5, abs=0.01)]]
    ]
