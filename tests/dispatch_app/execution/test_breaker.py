"""One target's breaker, step by step, on a clock of its own. Chance never adds anything unless a test says so."""

from dataclasses import dataclass, field
from random import Random

import pytest

from dispatch_app.execution.breaker import (
    CONSECUTIVE_FAILURES,
    JITTER,
    MOST_COOLDOWN_S,
    MOST_EJECTION_S,
    PROBE_LEASE_S,
    Breaker,
    Cause,
)
from dispatch_app.execution.ports import TargetReport
from policies_app.routing.codes import FaultClass, HealthState
from policies_app.routing.types import Candidate
from tests.dispatch_app.routing_values import make_candidate

START = 1_000.0


class NoChance(Random):
    def random(self) -> float:
        return 0.0


@dataclass
class Target:
    """A breaker with the time that it is now."""

    breaker: Breaker = field(default_factory=lambda: Breaker(random=NoChance()))
    now: float = START

    def ends(
        self,
        fault: FaultClass | None = None,
        *,
        times: int = 1,
        total_ms: int = 0,
        retry_after_s: int | None = None,
        first_byte_ms: int | None = None,
        candidate: Candidate | None = None,
    ) -> None:
        """Attempts end, all now."""
        report = TargetReport(
            fault=fault,
            retry_after_s=retry_after_s,
            first_byte_ms=first_byte_ms,
            total_ms=total_ms,
            output_tokens=0,
        )
        for _ in range(times):
            self.breaker.note(report, asker=candidate or make_candidate(), now=self.now)

    def passes(self, seconds: float) -> None:
        self.now += seconds

    def admits(self, candidate: Candidate | None = None) -> bool:
        return self.breaker.admit(candidate or make_candidate(), now=self.now)

    @property
    def state(self) -> HealthState:
        return self.breaker.state(self.now)

    @property
    def seconds_left(self) -> float | None:
        until = self.breaker.status(self.now).until
        return None if until is None else round(until - self.now, 6)


@pytest.fixture
def target() -> Target:
    return Target()


COUNTED = (
    FaultClass.SERVER_ERROR,
    FaultClass.FIRST_BYTE_TIMEOUT,
    FaultClass.IDLE_TIMEOUT,
    FaultClass.TRUNCATED,
    FaultClass.STREAM_ERROR,
    FaultClass.INVALID_REPLY,
    FaultClass.REDIRECTED,
    FaultClass.UNREACHABLE,
)
NOT_COUNTED = (
    FaultClass.BAD_REQUEST,
    FaultClass.CLIENT_DISCONNECTED,
    FaultClass.SUPERSEDED,
    FaultClass.EXPIRED,
)


def test_a_new_target_takes_traffic(target: Target) -> None:
    assert target.state is HealthState.HEALTHY
    assert target.admits()
    assert target.admits()


@pytest.mark.parametrize("fault", COUNTED)
def test_five_failures_in_a_row_open_it(target: Target, fault: FaultClass) -> None:
    target.ends(times=50)

    target.ends(fault, times=4)
    assert target.state is HealthState.HEALTHY

    target.ends(fault)
    assert target.state is HealthState.OPEN
    assert target.seconds_left == 5.0
    assert not target.admits()


@pytest.mark.parametrize("fault", NOT_COUNTED)
def test_what_callers_did_never_counts(target: Target, fault: FaultClass) -> None:
    target.ends(fault, times=1_000)

    assert target.state is HealthState.HEALTHY
    assert target.breaker.status(target.now).calls == 0


@pytest.mark.parametrize("fault", NOT_COUNTED)
def test_what_callers_did_does_not_end_a_row_of_failures(target: Target, fault: FaultClass) -> None:
    target.ends(FaultClass.SERVER_ERROR, times=4)
    target.ends(fault)
    target.ends(FaultClass.SERVER_ERROR)

    assert target.state is HealthState.OPEN


def test_an_answer_ends_a_row_of_failures(target: Target) -> None:
    for _ in range(2):
        target.ends(FaultClass.SERVER_ERROR, times=4)
        target.ends(times=5)

    assert target.state is HealthState.HEALTHY


def test_every_fault_has_its_effect(target: Target) -> None:
    for fault in FaultClass:
        target.ends(fault)


@pytest.mark.parametrize(
    ("answers", "failures", "state"),
    [
        (5, 4, HealthState.HEALTHY),  # nine calls are too few
        (5, 5, HealthState.OPEN),  # half of ten
        (6, 5, HealthState.HEALTHY),  # less than half
        (5, 6, HealthState.OPEN),
    ],
)
def test_half_of_at_least_ten_calls_open_it(
    target: Target, answers: int, failures: int, state: HealthState
) -> None:
    for _ in range(max(answers, failures)):
        if answers:
            target.ends()
            answers -= 1
        if failures:
            target.ends(FaultClass.SERVER_ERROR)
            failures -= 1

    assert target.state is state


def test_only_the_last_thirty_seconds_count(target: Target) -> None:
    for _ in range(4):
        target.ends(FaultClass.SERVER_ERROR)
        target.ends()
    target.passes(30)

    for _ in range(4):
        target.ends(FaultClass.SERVER_ERROR)
        target.ends()

    assert target.state is HealthState.HEALTHY
    target.ends(FaultClass.SERVER_ERROR, times=2)
    assert target.state is HealthState.OPEN


def test_what_was_not_reached_and_what_the_vendor_did_are_counted_apart(target: Target) -> None:
    for _ in range(4):
        target.ends(FaultClass.UNREACHABLE)
        target.ends(FaultClass.SERVER_ERROR)

    assert target.state is HealthState.HEALTHY  # eight failures in a row, but of two kinds
    target.ends(FaultClass.SERVER_ERROR)
    assert target.state is HealthState.OPEN


def test_a_vendor_that_fails_was_reached(target: Target) -> None:
    """What goes wrong on the way there comes in a row only if nothing gets through."""
    for _ in range(3):
        target.ends(FaultClass.UNREACHABLE, times=2)
        target.ends(FaultClass.SERVER_ERROR)

    assert target.state is HealthState.HEALTHY


@pytest.mark.parametrize(
    ("total_ms", "first_byte_ms", "state"),
    [
        (200, None, HealthState.HEALTHY),  # the caller was in a hurry
        (9_999, None, HealthState.HEALTHY),
        (10_000, None, HealthState.OPEN),  # silent for long enough
        (60_000, 300, HealthState.HEALTHY),  # it was answering, at length
    ],
)
def test_a_passed_deadline_blames_only_who_was_silent_for_long(
    target: Target, total_ms: int, first_byte_ms: int | None, state: HealthState
) -> None:
    target.ends(FaultClass.DEADLINE_EXCEEDED, times=5, total_ms=total_ms, first_byte_ms=first_byte_ms)

    assert target.state is state


def test_a_refused_credential_opens_it_at_once(target: Target) -> None:
    target.ends(times=100)
    target.ends(FaultClass.CREDENTIAL_REFUSED)

    assert target.state is HealthState.OPEN
    assert target.seconds_left == 60.0
    status = target.breaker.status(target.now)
    assert status.cause is Cause.CREDENTIAL
    assert status.cause.needs_attention


def test_credentials_refused_at_the_same_time_are_one_piece_of_news(target: Target) -> None:
    target.ends(FaultClass.CREDENTIAL_REFUSED, times=40)

    assert target.seconds_left == 60.0
    assert target.breaker.ejections(target.now) == 1


def open_it(target: Target) -> None:
    target.ends(FaultClass.SERVER_ERROR, times=CONSECUTIVE_FAILURES)
    assert target.state is HealthState.OPEN


def let_ejection_pass(target: Target) -> None:
    assert target.seconds_left is not None
    target.passes(target.seconds_left)
    assert target.state is HealthState.HALF_OPEN


def test_after_its_ejection_one_attempt_at_a_time_probes_it(target: Target) -> None:
    open_it(target)
    target.passes(4.999)
    assert target.state is HealthState.OPEN
    target.passes(0.001)

    assert target.state is HealthState.HALF_OPEN
    assert target.admits()
    assert not target.admits()
    assert target.breaker.status(target.now).is_being_probed


def test_a_probe_that_answers_closes_it(target: Target) -> None:
    open_it(target)
    let_ejection_pass(target)
    probe = make_candidate()
    target.admits(probe)
    target.passes(1)

    target.ends(candidate=probe, total_ms=1_000)

    assert target.state is HealthState.HEALTHY
    assert target.admits()
    assert target.admits()
    target.ends(FaultClass.SERVER_ERROR, times=4)  # what was before is forgotten
    assert target.state is HealthState.HEALTHY


def test_a_probe_that_fails_opens_it_for_longer(target: Target) -> None:
    open_it(target)
    for ejection in (2, 3, 4):
        let_ejection_pass(target)
        probe = make_candidate()
        assert target.admits(probe)
        target.ends(FaultClass.SERVER_ERROR, candidate=probe)
        assert target.state is HealthState.OPEN
        assert target.seconds_left == 5.0 * ejection


def test_no_ejection_lasts_longer_than_five_minutes(target: Target) -> None:
    open_it(target)
    for _ in range(100):
        let_ejection_pass(target)
        target.ends(FaultClass.SERVER_ERROR)

    assert target.seconds_left == MOST_EJECTION_S == 300.0


def test_a_credential_that_stays_refused_is_tried_every_five_minutes(target: Target) -> None:
    waits = []
    for _ in range(7):
        target.ends(FaultClass.CREDENTIAL_REFUSED)
        assert target.seconds_left is not None
        waits.append(target.seconds_left)
        let_ejection_pass(target)

    assert waits == [60, 120, 180, 240, 300, 300, 300]


@pytest.mark.parametrize("fault", NOT_COUNTED)
def test_a_probe_that_says_nothing_gives_its_place_back(target: Target, fault: FaultClass) -> None:
    open_it(target)
    let_ejection_pass(target)
    probe = make_candidate()
    target.admits(probe)

    target.ends(fault, candidate=probe)

    assert target.state is HealthState.HALF_OPEN
    assert target.admits()


def test_another_attempt_does_not_give_the_probe_s_place_back(target: Target) -> None:
    open_it(target)
    let_ejection_pass(target)
    target.admits(make_candidate())

    target.ends(FaultClass.CLIENT_DISCONNECTED, candidate=make_candidate())

    assert not target.admits()


def test_a_probe_that_is_never_heard_of_is_given_up(target: Target) -> None:
    open_it(target)
    let_ejection_pass(target)
    target.admits()
    target.passes(PROBE_LEASE_S)

    assert target.admits()


def test_a_last_resort_that_answers_takes_it_back_at_once(target: Target) -> None:
    open_it(target)
    target.passes(2)

    target.ends(total_ms=1_500)

    assert target.state is HealthState.HEALTHY


def test_a_last_resort_that_fails_ejects_it_no_further(target: Target) -> None:
    open_it(target)
    target.passes(2)

    target.ends(FaultClass.SERVER_ERROR, times=100, total_ms=1_500)

    assert target.seconds_left == 3.0
    assert target.breaker.ejections(target.now) == 1


@pytest.mark.parametrize("fault", [None, FaultClass.SERVER_ERROR])
def test_attempts_from_before_the_ejection_decide_nothing(target: Target, fault: FaultClass | None) -> None:
    open_it(target)
    let_ejection_pass(target)

    target.ends(fault, total_ms=5_500)

    assert target.state is HealthState.HALF_OPEN


@pytest.mark.parametrize(
    "fault", [FaultClass.FIRST_BYTE_TIMEOUT, FaultClass.CREDENTIAL_REFUSED, FaultClass.QUOTA_EXHAUSTED]
)
def test_attempts_from_before_it_healed_do_not_eject_it_again(target: Target, fault: FaultClass) -> None:
    open_it(target)
    let_ejection_pass(target)
    target.ends()
    target.passes(3)

    target.ends(fault, times=20, total_ms=30_000)

    assert target.state is HealthState.HEALTHY


def test_ejections_are_forgotten_while_it_is_healthy(target: Target) -> None:
    open_it(target)
    for _ in range(3):
        let_ejection_pass(target)
        target.ends(FaultClass.SERVER_ERROR)
    let_ejection_pass(target)
    target.ends()
    assert target.breaker.ejections(target.now) == 4

    target.passes(65)
    assert target.breaker.ejections(target.now) == 2
    open_it(target)
    assert target.seconds_left == 15.0

    let_ejection_pass(target)
    target.ends()
    target.passes(1_000)
    open_it(target)
    assert target.seconds_left == 5.0


def test_a_rate_limit_is_waited_out_as_long_as_the_vendor_says(target: Target) -> None:
    target.ends(FaultClass.RATE_LIMITED, retry_after_s=7)

    assert target.state is HealthState.COOLING
    assert target.seconds_left == 7.0
    assert not target.admits()
    target.passes(7)
    assert target.state is HealthState.HEALTHY  # no failure: nothing to prove
    assert target.admits()
    assert target.admits()


def test_rate_limits_are_no_failures(target: Target) -> None:
    target.ends(FaultClass.RATE_LIMITED, times=1_000, retry_after_s=1)
    target.passes(1)

    assert target.state is HealthState.HEALTHY
    assert target.breaker.status(target.now).failures == 0


def test_a_vendor_may_ask_for_five_minutes_at_most(target: Target) -> None:
    target.ends(FaultClass.RATE_LIMITED, retry_after_s=86_400)

    assert target.seconds_left == MOST_COOLDOWN_S == 300.0


def test_a_later_shorter_cooldown_shortens_nothing(target: Target) -> None:
    target.ends(FaultClass.RATE_LIMITED, retry_after_s=60)
    target.passes(1)

    target.ends(FaultClass.RATE_LIMITED, retry_after_s=2, total_ms=500)
    target.ends(FaultClass.RATE_LIMITED, total_ms=500)

    assert target.seconds_left == 59.0


def test_a_later_longer_cooldown_counts(target: Target) -> None:
    target.ends(FaultClass.RATE_LIMITED, retry_after_s=2)
    target.passes(1)

    target.ends(FaultClass.RATE_LIMITED, retry_after_s=30, total_ms=1_500)

    assert target.seconds_left == 30.0


def test_without_a_stated_time_each_further_limit_doubles_the_wait(target: Target) -> None:
    waits = []
    for _ in range(11):
        target.ends(FaultClass.RATE_LIMITED)
        assert target.seconds_left is not None
        waits.append(target.seconds_left)
        target.passes(target.seconds_left)

    assert waits == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]


def test_an_answer_makes_the_next_wait_short_again(target: Target) -> None:
    for _ in range(5):
        target.ends(FaultClass.RATE_LIMITED)
        target.passes(target.seconds_left or 0)
    target.ends()

    target.ends(FaultClass.RATE_LIMITED)

    assert target.seconds_left == 1.0


def test_limits_that_come_back_together_double_nothing(target: Target) -> None:
    target.ends(FaultClass.RATE_LIMITED)
    target.passes(0.1)
    target.ends(FaultClass.RATE_LIMITED, times=40, total_ms=500)

    assert target.seconds_left == 1.0


def test_a_limit_of_no_seconds_is_no_statement(target: Target) -> None:
    target.ends(FaultClass.RATE_LIMITED, retry_after_s=0)

    assert target.seconds_left == 1.0


def test_answers_that_were_on_their_way_do_not_end_a_cooldown(target: Target) -> None:
    target.ends(FaultClass.RATE_LIMITED, retry_after_s=20)
    target.ends(times=5)

    assert target.state is HealthState.COOLING


def test_want_of_credit_cools_long_needs_attention_and_has_to_prove_itself(target: Target) -> None:
    target.ends(FaultClass.QUOTA_EXHAUSTED)

    status = target.breaker.status(target.now)
    assert target.state is HealthState.COOLING
    assert target.seconds_left == 300.0
    assert status.cause is Cause.QUOTA
    assert status.cause.needs_attention
    target.passes(300)
    assert target.state is HealthState.HALF_OPEN
    assert target.admits()
    assert not target.admits()


def test_an_answer_shows_that_there_is_credit_again(target: Target) -> None:
    target.ends(FaultClass.QUOTA_EXHAUSTED)
    target.passes(20)

    target.ends(total_ms=900)

    assert target.state is HealthState.HEALTHY


def test_a_rate_limit_does_not_hide_the_want_of_credit(target: Target) -> None:
    target.ends(FaultClass.QUOTA_EXHAUSTED)
    target.passes(200)
    target.ends(FaultClass.RATE_LIMITED, retry_after_s=250)

    assert target.breaker.status(target.now).cause is Cause.QUOTA


def test_an_ejection_within_a_cooldown_lasts_as_long_as_either(target: Target) -> None:
    target.ends(FaultClass.RATE_LIMITED, retry_after_s=20)
    target.ends(FaultClass.SERVER_ERROR, times=5)

    assert target.state is HealthState.COOLING
    target.passes(20)
    assert target.state is HealthState.HALF_OPEN


def test_chance_adds_at_most_a_tenth() -> None:
    waits = set()
    for seed in range(200):
        target = Target(breaker=Breaker(random=Random(seed)))
        target.ends(FaultClass.RATE_LIMITED, retry_after_s=100)
        waits.add(target.seconds_left)

    assert all(100 <= wait <= 100 * (1 + JITTER) for wait in waits if wait is not None)
    assert len(waits) > 150


def test_what_another_process_tells_holds_until_it_says_otherwise(target: Target) -> None:
    target.breaker.learn(cause=Cause.QUOTA, now=target.now, until=target.now + 100)

    status = target.breaker.status(target.now)
    assert status.state is HealthState.COOLING
    assert status.is_learned
    assert not target.admits()
    assert target.breaker.to_share(target.now) is None  # or two processes would tell each other for ever

    target.breaker.unlearn(target.now)
    assert target.state is HealthState.HEALTHY


@pytest.mark.parametrize(
    ("fault", "retry_after_s", "cause"),
    [
        (FaultClass.RATE_LIMITED, 60, Cause.RATE_LIMIT),
        (FaultClass.RATE_LIMITED, 10, None),  # over before others would know
        (FaultClass.QUOTA_EXHAUSTED, None, Cause.QUOTA),
        (FaultClass.CREDENTIAL_REFUSED, None, Cause.CREDENTIAL),
        (FaultClass.SERVER_ERROR, None, None),  # others may see it differently
    ],
)
def test_what_concerns_every_process_is_shared(
    target: Target, fault: FaultClass, retry_after_s: int | None, cause: Cause | None
) -> None:
    target.ends(fault, times=5, retry_after_s=retry_after_s)

    shared = target.breaker.to_share(target.now)
    assert (shared and shared[0]) == cause


def test_what_may_be_tried_sooner_is_less_bad() -> None:
    def badness(fault: FaultClass, *, retry_after_s: int | None = None) -> float:
        target = Target()
        target.ends(fault, times=5, retry_after_s=retry_after_s)
        return target.breaker.badness()

    order = [
        badness(FaultClass.RATE_LIMITED, retry_after_s=2),
        badness(FaultClass.SERVER_ERROR),
        badness(FaultClass.RATE_LIMITED, retry_after_s=200),
        badness(FaultClass.CREDENTIAL_REFUSED),
        badness(FaultClass.QUOTA_EXHAUSTED),
    ]
    assert order == sorted(order)
    assert len(set(order)) == len(order)
